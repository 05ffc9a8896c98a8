//! The embedded store: SQLite with one writer that commits many requests in one transaction.
//!
//! A commit that a client may rely on costs an fsync (`synchronous=FULL`). One fsync per request would bound the shop by
//! the disk. So requests that arrive while a transaction is being written go into the next one together, and every reply
//! is sent after the commit that made it durable. If a request of a group fails, the group is rolled back and run again
//! with one savepoint per request, so that only the failed request is undone: savepoints cost every request, and failures
//! are rare.
//!
//! Repositories are written against diesel-async's traits, so that the same code serves MySQL. Here those futures are
//! always ready: [`Inline`] runs each statement on the calling thread.

mod connection;
#[cfg(feature = "all-in-one")]
pub mod copy;
pub mod corruption;
pub mod database_set;
mod db;
mod dialect;
mod fair_queue;
mod file_guard;
mod gauges;
#[cfg(feature = "all-in-one")]
pub mod inspect;
#[path = "sql_lease.rs"]
mod lease;
mod lock_wait;
mod snapshot;
mod transaction;
mod writer;

#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod lease_tests;
#[cfg(test)]
mod tests;

pub use connection::{Backend, Conn, Inline};
pub use db::Db;
#[allow(unused_imports, reason = "the modules compiled in determine which macros are used")]
pub(crate) use dialect::*;
pub(super) use snapshot::snapshot;
