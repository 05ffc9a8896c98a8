//! What is shown of a database's writer and readers.

use super::{Db, Inner, MAX_QUEUE, READERS};
use crate::kernel::error::StartError;
use crate::observe::metrics;
use crate::observe::metrics::Pool;
use prometheus::Registry;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

impl Db {
    /// Shows how many writes wait for the writer, as the queue `<store>-writer`, and how busy the readers are.
    /// `store` is the module's name. Who looks keeps no database open.
    pub fn measured(&self, store: &str, registry: &Registry) -> Result<(), StartError> {
        let (written, read) = (Arc::downgrade(&self.0), Arc::downgrade(&self.0));
        let depth = move || written.upgrade().map_or(0, |db| db.queue.max_capacity() - db.queue.capacity());
        metrics::queue(registry, &format!("{store}-writer"), MAX_QUEUE, depth)?;
        metrics::pool(registry, store, move || read.upgrade().map_or_else(Pool::default, |db| db.readers()))
    }
}

impl Inner {
    fn readers(&self) -> Pool {
        let idle = self.idle_readers.lock().len();
        let in_use = READERS.saturating_sub(self.reader_permits.available_permits());
        Pool { idle, in_use, max: READERS, waiting: self.waiting.load(Ordering::Relaxed) }
    }
}

/// Counts one who waits, for as long as it lives: also where they give up.
pub(super) struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    pub(super) fn counted(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
