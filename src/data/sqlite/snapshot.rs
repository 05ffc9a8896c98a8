//! A read-only connection that sees one snapshot of a database.

use super::connection::connect;
use crate::kernel::error::StoreError;
use diesel::connection::SimpleConnection;
use diesel::sqlite::SqliteConnection;
use std::path::Path;

/// Never creates or changes the database, and does not check its schema.
pub fn snapshot(path: &Path) -> Result<SqliteConnection, StoreError> {
    if !path.is_file() {
        return Err(StoreError::Unavailable { store: path.display().to_string(), cause: "there is no such file".into() });
    }
    let mut conn = connect(path)?;
    conn.batch_execute("PRAGMA query_only = ON; BEGIN DEFERRED")?;
    Ok(conn)
}
