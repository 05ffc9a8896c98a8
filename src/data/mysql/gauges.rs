//! What is shown of a database's queue and connections.

use super::{Conn, Db, MAX_QUEUE};
use crate::kernel::error::StartError;
use crate::observe::metrics;
use crate::observe::metrics::Pool;
use diesel_async::pooled_connection::deadpool;
use prometheus::Registry;
use std::sync::Arc;

/// Looks at a pool of connections.
pub(super) type Look = Arc<dyn Fn() -> Pool + Send + Sync>;

/// At this one; who looks keeps it alive no longer.
pub(super) fn look(pool: &deadpool::Pool<Conn>) -> Look {
    let pool = pool.weak();
    Arc::new(move || {
        let Some(pool) = pool.upgrade() else { return Pool::default() };
        let now = pool.status();
        Pool { idle: now.available, in_use: now.size.saturating_sub(now.available), max: now.max_size, waiting: now.waiting }
    })
}

impl Db {
    /// Shows how many transactions wait to be begun, as the queue `<store>-transactions`, and how busy the
    /// connections are. `store` is the module's name. Who looks keeps no connection open.
    pub fn measured(&self, store: &str, registry: &Registry) -> Result<(), StartError> {
        let (queued, lent) = (Arc::downgrade(&self.0), self.0.lent.clone());
        let depth = move || queued.upgrade().map_or(0, |db| db.jobs.max_capacity() - db.jobs.capacity());
        metrics::queue(registry, &format!("{store}-transactions"), MAX_QUEUE, depth)?;
        metrics::pool(registry, store, move || lent())
    }
}
