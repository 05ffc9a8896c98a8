//! What every store shares, whatever its backend.

#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(feature = "store")]
pub mod types;

use crate::platform::problem::Problem;
#[cfg(feature = "store")]
use diesel::result::{DatabaseErrorKind, Error as DieselError};

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached or is too busy; a repetition makes sense.
    #[error("the {store} store is not available: {cause}")]
    Unavailable {
        /// Which one.
        store: String,
        /// What it said.
        cause: String,
    },
    /// A unique key is taken.
    #[error("a unique key is taken: {0}")]
    Taken(String),
    /// A defect of ours, or a damaged store.
    #[error("store: {0}")]
    Broken(String),
}

#[cfg(feature = "store")]
impl From<DieselError> for StoreError {
    fn from(error: DieselError) -> Self {
        match error {
            DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, info) => StoreError::Taken(info.message().to_string()),
            DieselError::DatabaseError(DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand, info) => {
                StoreError::Unavailable { store: "sql".into(), cause: info.message().to_string() }
            }
            DieselError::DatabaseError(_, info) if info.message().contains("locked") || info.message().contains("disk") => {
                StoreError::Unavailable { store: "sql".into(), cause: info.message().to_string() }
            }
            other => StoreError::Broken(other.to_string()),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable { store, cause } => {
                tracing::error!(store, cause, "store not available");
                Problem::unavailable("the store is not available right now")
            }
            other => Problem::internal(other),
        }
    }
}
