//! Waiting for SQLite's write lock while another process has it.

use backon::{BlockingRetryable, ConstantBuilder};
use diesel::QueryResult;
use std::time::{Duration, Instant};

/// How long to wait for another process's transaction.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// SQLite's own busy handler pauses up to 100 ms, and would hardly ever catch a busy writer between two transactions.
pub(super) const LOCK_POLL_INTERVAL: Duration = Duration::from_micros(500);

/// Retries while another process has the lock, for at most [`LOCK_TIMEOUT`].
pub(super) fn retry_while_locked(attempt: impl FnMut() -> QueryResult<()>) -> QueryResult<()> {
    retry_until_deadline(Instant::now() + LOCK_TIMEOUT, attempt)
}

/// Retries while another process has the lock.
pub(super) fn retry_until_deadline(deadline: Instant, attempt: impl FnMut() -> QueryResult<()>) -> QueryResult<()> {
    let backoff = ConstantBuilder::new().with_delay(LOCK_POLL_INTERVAL).without_max_times();
    attempt.retry(backoff).sleep(std::thread::sleep).when(|cause| is_locked(cause) && Instant::now() < deadline).call()
}

/// Whether another connection has the lock (SQLITE_BUSY, SQLITE_LOCKED). Classified by message text, which SQLite does
/// not translate: diesel keeps the codes of constraints only, and reading the code from the connection needs `unsafe`.
pub(super) fn is_locked(cause: &diesel::result::Error) -> bool {
    matches!(cause, diesel::result::Error::DatabaseError(_, info) if info.message().contains("locked"))
}
