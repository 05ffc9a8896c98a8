//! Metrics of a database's writer and readers.

use crate::kernel::error::StartError;
use crate::observe::metrics;
use crate::observe::metrics::Pool;
use prometheus::Registry;

/// Registers the depth of the writer's queue as `<store>-writer`, the state of the readers, and the permits for lists as
/// `<store>-lists`.
pub(super) fn register(
    registry: &Registry,
    store: &str,
    queue_capacity: usize,
    queue_depth: impl Fn() -> usize + Send + Sync + 'static,
    readers: impl Fn() -> Pool + Send + Sync + 'static,
    lists: impl Fn() -> Pool + Send + Sync + 'static,
) -> Result<(), StartError> {
    metrics::queue(registry, &format!("{store}-writer"), queue_capacity, queue_depth)?;
    metrics::pool(registry, store, readers)?;
    metrics::pool(registry, &format!("{store}-lists"), lists)
}
