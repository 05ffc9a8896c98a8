//! A read-only connection that sees one snapshot of a database.

use super::corruption::open_error;
use crate::kernel::error::StoreError;
use diesel::Connection;
use diesel::connection::SimpleConnection;
use diesel::sqlite::SqliteConnection;
use std::path::Path;

/// Never creates or changes the database, and does not check its schema.
pub fn snapshot(path: &Path) -> Result<SqliteConnection, StoreError> {
    let store = || path.display().to_string();
    if !path.is_file() {
        return Err(StoreError::Unavailable { store: store(), cause: "there is no such file".into() });
    }
    // SQLite would write a header into an empty file. Its size only: to open and close the file here would end the locks that
    // this process has on it
    if std::fs::metadata(path).map_err(|cause| open_error(path, &cause))?.len() == 0 {
        return Err(StoreError::Corrupt { store: store(), cause: "the file is empty".into() });
    }
    let mut conn = SqliteConnection::establish(&path.to_string_lossy()).map_err(|cause| open_error(path, &cause))?;
    // the first read fixes the snapshot
    conn.batch_execute(
        "PRAGMA busy_timeout = 5000; PRAGMA cache_size = -4000; PRAGMA query_only = ON; BEGIN DEFERRED; SELECT count(*) FROM sqlite_schema",
    )
    .map_err(|cause| open_error(path, &cause))?;
    Ok(conn)
}
