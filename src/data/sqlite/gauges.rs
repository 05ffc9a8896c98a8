//! Metrics of a database's writer and readers.

use crate::kernel::error::StartError;
use crate::observe::metrics;
use crate::observe::metrics::Pool;
use prometheus::Registry;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Registers the depth of the writer's queue as `<store>-writer`, and the state of the readers.
pub(super) fn register(
    registry: &Registry,
    store: &str,
    queue_capacity: usize,
    queue_depth: impl Fn() -> usize + Send + Sync + 'static,
    readers: impl Fn() -> Pool + Send + Sync + 'static,
) -> Result<(), StartError> {
    metrics::queue(registry, &format!("{store}-writer"), queue_capacity, queue_depth)?;
    metrics::pool(registry, store, readers)
}

/// Counts one waiting caller until it is dropped, also if the caller is cancelled.
pub(super) struct WaitGuard<'a>(&'a AtomicUsize);

impl<'a> WaitGuard<'a> {
    pub(super) fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for WaitGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
