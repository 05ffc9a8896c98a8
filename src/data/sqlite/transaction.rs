//! Running a request's work on a connection: alone, in a savepoint, or on a snapshot.

use super::connection::{Conn, execute};
use crate::kernel::error::StoreError;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub(super) fn in_savepoint<T, E: From<StoreError>>(conn: &mut Conn, work: &impl AsyncFn(&mut Conn) -> Result<T, E>) -> Result<T, E> {
    execute(conn, "SAVEPOINT request").map_err(|e| E::from(e.into()))?;
    let result = run(conn, work);
    let end = if result.is_ok() { "RELEASE request" } else { "ROLLBACK TO request; RELEASE request" };
    match execute(conn, end) {
        Ok(()) => result,
        Err(cause) => result.and(Err(E::from(cause.into()))),
    }
}

pub(super) fn in_snapshot<T, E: From<StoreError>>(conn: &mut Conn, work: &impl AsyncFn(&mut Conn) -> Result<T, E>) -> Result<T, E> {
    execute(conn, "BEGIN DEFERRED").map_err(|e| E::from(e.into()))?;
    let result = run(conn, work);
    execute(conn, "ROLLBACK").map_err(|e| E::from(e.into()))?;
    result
}

pub(super) fn run<T, E: From<StoreError>>(conn: &mut Conn, work: &impl AsyncFn(&mut Conn) -> Result<T, E>) -> Result<T, E> {
    // a panic in one request must not stop the writer thread, and with it all writes
    let outcome = catch_unwind(AssertUnwindSafe(|| futures_util::FutureExt::now_or_never(work(conn))));
    match outcome {
        Ok(Some(result)) => result,
        Ok(None) => Err(E::from(StoreError::Internal("a transaction waited for something other than its connection".into()))),
        Err(_) => Err(E::from(StoreError::Internal("a transaction panicked".into()))),
    }
}
