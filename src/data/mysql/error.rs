//! Errors of connections and statements, and what they mean for a transaction.

use diesel::result::Error as DieselError;
use diesel_async::pooled_connection::deadpool::PoolError;

/// Why a connection attempt failed.
pub(super) struct ConnectError {
    /// The error, with advice if known.
    pub(super) cause: String,
    /// The server did not answer, so a retry makes sense. False if it answered and refused.
    pub(super) retryable: bool,
    /// The server refuses our credentials.
    pub(super) denied: bool,
}

/// Why there is no connection for a transaction.
#[derive(Debug, thiserror::Error)]
pub(super) enum AcquireError {
    #[error("{0}")]
    Pool(#[source] PoolError),
    /// All are in use.
    #[error("none of {connections} connections was free in time")]
    Busy { connections: usize },
}

/// What a failed statement means for its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorClass {
    /// A deadlock or a lock timeout: retry the transaction.
    Conflict,
    /// The connection is broken or unusable.
    Lost,
    /// The server stopped the statement.
    Stopped,
}

impl ErrorClass {
    /// Classified by message text: diesel-async drops the server's codes (deadlock 1213, lock wait 1205, MariaDB's 1020),
    /// and puts prefixes of its own before errors that are not the server's.
    pub(super) fn of(error: &DieselError) -> Option<Self> {
        let DieselError::DatabaseError(_, info) = error else { return None };
        let text = info.message();
        let starts_with_any = |prefixes: &[&str]| prefixes.iter().any(|prefix| text.starts_with(prefix));
        if text.contains("try restarting transaction") || starts_with_any(&["Record has changed since last read"]) {
            Some(ErrorClass::Conflict)
        } else if starts_with_any(&[
            "Input/output error",
            "Driver error",
            "Other error",
            "Server shutdown in progress",
            "Connection was killed",
        ]) || text.contains("read-only option")
        {
            Some(ErrorClass::Lost)
        } else if starts_with_any(&["Query execution was interrupted"]) {
            Some(ErrorClass::Stopped)
        } else {
            None
        }
    }
}

/// Why one attempt at a transaction failed.
pub(super) enum AttemptError<E> {
    /// The work returned an error.
    Work(E),
    /// BEGIN, COMMIT or ROLLBACK failed.
    Sql(DieselError),
    /// Retry the transaction.
    Retryable(String),
    /// Do not retry: the outcome is final or unknown.
    Final(String),
}
