//! Metrics of a database's queue and connections.

use super::backend::Conn;
use crate::kernel::error::StartError;
use crate::observe::metrics;
use crate::observe::metrics::Pool;
use diesel_async::pooled_connection::deadpool;
use prometheus::Registry;
use std::sync::Arc;

/// Returns the current state of a pool.
pub(super) type PoolStats = Arc<dyn Fn() -> Pool + Send + Sync>;

/// Holds the pool weakly: metrics do not keep its connections open.
pub(super) fn pool_stats(pool: &deadpool::Pool<Conn>) -> PoolStats {
    let pool = pool.weak();
    Arc::new(move || {
        let Some(pool) = pool.upgrade() else { return Pool::default() };
        let now = pool.status();
        Pool { idle: now.available, in_use: now.size.saturating_sub(now.available), max: now.max_size, waiting: now.waiting }
    })
}

/// Registers the number of queued transactions as `<store>-transactions`, the state of the connections, and the permits for
/// lists as `<store>-lists`.
pub(super) fn register(
    registry: &Registry,
    store: &str,
    queue_capacity: usize,
    queue_depth: impl Fn() -> usize + Send + Sync + 'static,
    connections: PoolStats,
    lists: impl Fn() -> Pool + Send + Sync + 'static,
) -> Result<(), StartError> {
    metrics::queue(registry, &format!("{store}-transactions"), queue_capacity, queue_depth)?;
    metrics::pool(registry, store, move || connections())?;
    metrics::pool(registry, &format!("{store}-lists"), lists)
}
