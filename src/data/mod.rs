//! What every store shares, whatever its backend.

#[cfg(any(feature = "sqlite", feature = "mysql"))]
mod cached_query;
mod lease;
#[cfg(feature = "mongodb")]
pub mod mongodb;
#[cfg(feature = "mysql")]
pub mod mysql;
#[cfg(feature = "store")]
pub mod renewal;
#[cfg(any(feature = "sqlite", feature = "mysql"))]
mod snapshot;
#[cfg(feature = "store")]
mod sql;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(feature = "store")]
pub mod types;

#[cfg(any(feature = "sqlite", feature = "mysql"))]
pub use cached_query::{CachedQuery, MAX_PREPARED_LIST_LEN};
pub use lease::{Lease, LeaseState, LeaseStore};
#[cfg(any(feature = "sqlite", feature = "mysql"))]
pub use snapshot::{Row, Snapshot};
#[cfg(feature = "store")]
pub use sql::{SqlDb, SqlStore};

#[cfg(feature = "store")]
use crate::kernel::error::StoreError;
#[cfg(feature = "store")]
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use std::time::Duration;

/// How long what follows a commit waits for more to follow: work of many commits, one commit for it.
/// Whatever carries on behind the requests waits this long, or it would compete with them for every fsync.
pub const COALESCE_WINDOW: Duration = Duration::from_millis(10);

/// How long a commit of this process is waited for where another process may write, too.
pub const POLL: Duration = Duration::from_millis(250);

#[cfg(feature = "store")]
impl From<DieselError> for StoreError {
    fn from(error: DieselError) -> Self {
        match error {
            DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, info) => StoreError::Taken(info.message().to_string()),
            DieselError::DatabaseError(DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand, info) => {
                StoreError::Unavailable { store: "sql".into(), cause: info.message().to_string() }
            }
            DieselError::DatabaseError(_, info) if is_of_the_moment(info.message()) => {
                StoreError::Unavailable { store: "sql".into(), cause: info.message().to_string() }
            }
            other => StoreError::Broken(other.to_string()),
        }
    }
}

/// What a store says when it was busy, or stopped a statement; not all of it comes by a way where it could be repeated.
/// Classified by message text: diesel drops SQLite's codes (SQLITE_BUSY, SQLITE_LOCKED, SQLITE_FULL, SQLITE_IOERR), and
/// diesel-async MySQL's (1213, 1205, 1317, 3024). MySQL's sessions speak English for that reason.
#[cfg(feature = "store")]
fn is_of_the_moment(said: &str) -> bool {
    ["locked", "disk", "try restarting transaction", "Query execution was interrupted"].iter().any(|words| said.contains(words))
}
