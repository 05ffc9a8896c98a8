//! A read-only connection that sees one snapshot of a database.

use crate::kernel::error::StoreError;
use diesel::Connection;
use diesel::connection::SimpleConnection;
use diesel::sqlite::SqliteConnection;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Never creates or changes the database, and does not check its schema.
pub fn snapshot(path: &Path) -> Result<SqliteConnection, StoreError> {
    let unavailable = |cause: String| StoreError::Unavailable { store: path.display().to_string(), cause };
    if !path.is_file() {
        return Err(unavailable("there is no such file".into()));
    }
    // SQLite would write a header into an empty file
    if let Some(problem) = header_problem(path).map_err(|cause| unavailable(cause.to_string()))? {
        return Err(unavailable(problem.into()));
    }
    let mut conn = SqliteConnection::establish(&path.to_string_lossy()).map_err(|cause| unavailable(cause.to_string()))?;
    // the first read fixes the snapshot
    conn.batch_execute(
        "PRAGMA busy_timeout = 5000; PRAGMA cache_size = -4000; PRAGMA query_only = ON; BEGIN DEFERRED; SELECT count(*) FROM sqlite_schema",
    )
    .map_err(|cause| unavailable(cause.to_string()))?;
    Ok(conn)
}

/// Why the file is no database; reads only its first bytes.
pub(super) fn header_problem(path: &Path) -> io::Result<Option<&'static str>> {
    let mut header = Vec::new();
    File::open(path)?.take(16).read_to_end(&mut header)?;
    Ok(match header.as_slice() {
        b"SQLite format 3\0" => None,
        [] => Some("the file is empty"),
        _ => Some("file is not a database"),
    })
}
