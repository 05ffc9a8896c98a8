//! MySQL and MariaDB, through diesel-async: no C library.
//!
//! Each database has a worker thread that drives its connections, and each transaction is a task there. So a cancelled
//! caller leaves no open transaction on a connection that others use next, and a connection outlives the HTTP worker that
//! first needed it.
//!
//! A transaction that the server rejects because of a conflict is retried as a whole. So is one whose connection breaks
//! before its commit, on another connection. If the connection breaks during the commit, the outcome is unknown: the
//! caller gets [`StoreError::Unavailable`](crate::kernel::error::StoreError::Unavailable).

mod backend;
mod connect_options;
mod connections;
mod credentials;
mod db;
mod dialect;
mod error;
mod error_observer;
mod gauges;
#[allow(clippy::duplicate_mod, reason = "compiled once per backend")]
#[path = "../sql_lease.rs"]
mod lease;
mod schema;
mod snapshot;
#[cfg(test)]
mod tests;
mod worker;

pub use backend::{Backend, Conn};
pub use connect_options::MySqlUrlError;
pub use db::Db;
pub use dialect::inserted_ids;
#[allow(unused_imports, reason = "the modules compiled in determine which macros are used")]
pub(crate) use dialect::*;
pub use schema::{Blocking, revert};
pub(super) use snapshot::snapshot;
