//! Connections to a SQLite file.

use super::corruption::open_error;
use super::lock_wait::retry_while_locked;
use crate::kernel::error::StoreError;
use crate::observe::trace::statements;
use diesel::connection::{InstrumentationEvent, SimpleConnection};
use diesel::sqlite::{Sqlite, SqliteConnection};
use diesel::{Connection, QueryResult};
use diesel_async::sync_connection_wrapper::{SpawnBlocking, SyncConnectionWrapper};
use futures_util::future::BoxFuture;
use std::error::Error;
use std::path::Path;

/// The connection that repositories use.
pub type Conn = SyncConnectionWrapper<SqliteConnection, Inline>;
pub type Backend = Sqlite;

/// Runs statements on the calling thread instead of a blocking pool.
pub struct Inline;

impl SpawnBlocking for Inline {
    fn spawn_blocking<'a, R>(&mut self, task: impl FnOnce() -> R + Send + 'static) -> BoxFuture<'a, Result<R, Box<dyn Error + Send + Sync>>>
    where
        R: Send + 'static,
    {
        let result = task();
        Box::pin(std::future::ready(Ok(result)))
    }

    fn get_runtime() -> Self {
        Inline
    }
}

pub(super) fn connect(path: &Path) -> Result<SqliteConnection, StoreError> {
    let mut conn = SqliteConnection::establish(&path.to_string_lossy()).map_err(|e| open_error(path, &e))?;
    conn.set_instrumentation(|event: InstrumentationEvent<'_>| statements::on_event(&event));
    // SQLite's busy handler does not apply when two processes switch a file to WAL at the same time
    retry_while_locked(|| conn.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL;"))
        .map_err(|e| open_error(path, &e))?;
    conn.batch_execute("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 4000; PRAGMA cache_size = -4000;")
        .map_err(|e| open_error(path, &e))?;
    Ok(conn)
}

pub(super) fn execute(conn: &mut Conn, sql: &'static str) -> QueryResult<()> {
    futures_util::FutureExt::now_or_never(conn.spawn_blocking(move |c: &mut SqliteConnection| c.batch_execute(sql)))
        .unwrap_or(Err(diesel::result::Error::BrokenTransactionManager))
}

/// Begins a write transaction once no other process has one.
pub(super) fn begin(conn: &mut Conn) -> QueryResult<()> {
    retry_while_locked(|| execute(conn, "BEGIN IMMEDIATE"))
}
