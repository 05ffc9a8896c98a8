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

/// Parts of the messages of a store that was busy, was full, or stopped a statement.
const TRANSIENT: [&str; 8] = [
    "locked",
    "disk",
    "try restarting transaction",
    "Query execution was interrupted",
    // MySQL and MariaDB: 1021, 1114, 1026, 1030
    "Disk full",
    "is full",
    "No space left on device",
    "Got error 28",
];

/// Whether the store was busy, was full, or stopped a statement: not every code path can retry such an error itself.
/// Classified by message text: diesel drops SQLite's codes (SQLITE_BUSY, SQLITE_LOCKED, SQLITE_FULL, SQLITE_IOERR), and
/// diesel-async MySQL's (1213, 1205, 1317, 3024). For that reason MySQL sessions use English messages.
fn is_transient(message: &str) -> bool {
    TRANSIENT.iter().any(|text| message.contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disk_of_any_store_is_unavailable() {
        for message in [
            "database or disk is full",
            "Disk full (/var/lib/mysql/#sql); waiting for someone to free some space... (errno: 28 \"No space left on device\")",
            "The table 'orders' is full",
            "Error writing file './binlog.000002' (OS errno 28 - No space left on device)",
            "Got error 28 from storage engine",
        ] {
            let error = DieselError::DatabaseError(DatabaseErrorKind::Unknown, Box::new(message.to_string()));
            assert!(matches!(StoreError::from(error), StoreError::Unavailable { .. }), "{message}");
        }
        let other = DieselError::DatabaseError(DatabaseErrorKind::Unknown, Box::new("no such table: t".to_string()));
        assert!(matches!(StoreError::from(other), StoreError::Internal(_)));
    }
}
