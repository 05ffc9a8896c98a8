//! Permits for concurrent reads of a store.
//!
//! Lists and searches read much, and clients send many of them. They have permits of their own, so that a look-up of the
//! order path never waits for a list.

use crate::observe::metrics::Pool;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

pub(super) struct Permits {
    semaphore: Arc<Semaphore>,
    max: usize,
    /// Number of callers that wait for a permit.
    waiting: AtomicUsize,
}

impl Permits {
    pub(super) fn new(max: usize) -> Self {
        Self { semaphore: Arc::new(Semaphore::new(max)), max, waiting: AtomicUsize::new(0) }
    }

    /// Waits for a permit, first come, first served. The work must own it: it runs to its end even if the caller is
    /// cancelled.
    pub(super) async fn acquire(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        let _waiting = WaitGuard::new(&self.waiting);
        self.semaphore.clone().acquire_owned().await
    }

    /// For metrics; `idle` is the number of free connections, or of free permits.
    pub(super) fn pool(&self, idle: Option<usize>) -> Pool {
        let free = self.semaphore.available_permits();
        let in_use = self.max.saturating_sub(free);
        Pool { idle: idle.unwrap_or(free), in_use, max: self.max, waiting: self.waiting.load(Ordering::Relaxed) }
    }
}

/// Counts one waiting caller until it is dropped, also if the caller is cancelled.
struct WaitGuard<'a>(&'a AtomicUsize);

impl<'a> WaitGuard<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for WaitGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
