//! MongoDB, through the official driver.
//!
//! Each database has a thread on which the driver, its connections and every operation run. So an operation completes
//! even if its caller is cancelled, and a connection outlives the HTTP worker that first needed it.
//!
//! There are no transactions, and none are needed: a change is one update of one document, which also holds the change's
//! event (see [`outbox`](crate::events::mongodb::outbox)). That works on a single server and on a replica set. Writes use
//! write concern `majority` with journal, reads use read concern `majority`: no result or event can be lost by the
//! election of another primary. After a broken connection the driver retries reads, and writes on a replica set.

mod connect;
mod db;
mod driver_thread;
mod error;
mod lease;
mod schema;

pub use db::Db;
pub use schema::Index;
