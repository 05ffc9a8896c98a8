//! Errors of the SQL backends as [`StoreError`].

#[cfg(feature = "sqlite")]
use super::sqlite::corruption;
use crate::kernel::error::StoreError;
use diesel::result::{DatabaseErrorKind, Error as DieselError};

impl From<DieselError> for StoreError {
    fn from(error: DieselError) -> Self {
        match error {
            DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, info) => StoreError::DuplicateKey(info.message().to_string()),
            DieselError::DatabaseError(DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand, info) => {
                StoreError::Unavailable { store: "sql".into(), cause: info.message().to_string() }
            }
            #[cfg(feature = "sqlite")]
            DieselError::DatabaseError(_, info) if corruption::is_corruption(info.message()) => {
                corruption::report(info.message());
                StoreError::Corrupt { store: "sqlite".into(), cause: info.message().to_string() }
            }
            DieselError::DatabaseError(_, info) if is_transient(info.message()) => {
                StoreError::Unavailable { store: "sql".into(), cause: info.message().to_string() }
            }
            other => StoreError::Internal(other.to_string()),
        }
    }
}

/// Whether the store was busy or stopped a statement: not every code path can retry such an error itself.
/// Classified by message text: diesel drops SQLite's codes (SQLITE_BUSY, SQLITE_LOCKED, SQLITE_FULL, SQLITE_IOERR), and
/// diesel-async MySQL's (1213, 1205, 1317, 3024). For that reason MySQL sessions use English messages.
fn is_transient(message: &str) -> bool {
    ["locked", "disk", "try restarting transaction", "Query execution was interrupted"].iter().any(|text| message.contains(text))
}
