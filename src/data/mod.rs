//! Stores: one folder per backend, and what the backends share.

#[cfg(any(feature = "sqlite", feature = "mysql"))]
mod cached_query;
#[cfg(feature = "store")]
pub mod credential_renewal;
#[cfg(feature = "store")]
mod error;
mod intervals;
mod lease;
#[cfg(any(feature = "sqlite", feature = "mysql"))]
mod list_positions;
#[cfg(feature = "mongodb")]
pub mod mongodb;
#[cfg(feature = "mysql")]
pub mod mysql;
#[cfg(any(feature = "sqlite", feature = "mysql"))]
mod permits;
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
pub use intervals::{COALESCE_WINDOW, POLL_INTERVAL};
pub use lease::{Lease, LeaseState, LeaseStore};
#[cfg(any(feature = "sqlite", feature = "mysql"))]
pub use list_positions::{IdList, ListPositions, Slice};
#[cfg(any(feature = "sqlite", feature = "mysql"))]
pub use snapshot::{RowStream, Snapshot, SnapshotRow, in_key_order};
#[cfg(feature = "store")]
pub use sql::{SqlDb, SqlStore};
