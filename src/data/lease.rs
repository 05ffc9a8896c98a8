//! Leases: of several processes on one store, one at a time does a piece of work, and another takes over soon after the
//! holder has died.
//!
//! A lease is a row or a document with its holder and its expiry time. A process acquires it only when there is work,
//! renews it while there is more, releases it at an orderly stop, and otherwise lets it expire: an idle shop writes
//! nothing. A lease avoids duplicate work; it does not exclude it. A paused holder resumes and still assumes that it
//! holds the lease, and the clocks of two machines differ. So work under a lease must be idempotent: the inbox drops
//! events already applied, a group's position moves only from the value that was read, a delivery is claimed before it
//! is sent.

use super::intervals::POLL_INTERVAL;
use crate::kernel::error::StoreError;
use async_trait::async_trait;
use std::time::{Duration, Instant};

/// Validity of a lease after its last renewal: a dead holder is replaced after at most this time.
const DEFAULT_TERM: Duration = Duration::from_secs(2);
/// Age at which the holder renews. The rest of the term is left for one round of work.
const RENEW_AFTER: Duration = Duration::from_millis(700);

/// Whether this process holds a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// This process held the lease before, and has renewed it.
    Held,
    /// Newly acquired: another process may have processed the batch that was read before.
    Acquired,
    /// Another process holds the lease; retry after [`POLL_INTERVAL`].
    HeldElsewhere,
}

/// Storage of leases. Each method is atomic.
#[async_trait(?Send)]
pub trait LeaseStore {
    /// Renews the lease if this holder has it; acquires it if it is free or expired.
    async fn acquire(&self, name: &'static str, holder: &str, term: Duration) -> Result<LeaseState, StoreError>;
    /// Deletes the lease if this holder has it.
    async fn delete(&self, name: &'static str, holder: &str) -> Result<(), StoreError>;
}

/// One process's handle on a lease, in the same store as the data that the work changes.
pub struct Lease {
    store: Box<dyn LeaseStore>,
    name: &'static str,
    holder: String,
    term: Duration,
    /// The last result, and when it must be refreshed.
    pub(super) cached: Option<(LeaseState, Instant)>,
}

impl Lease {
    pub fn new(store: impl LeaseStore + 'static, name: &'static str) -> Self {
        Self { store: Box::new(store), name, holder: uuid::Uuid::new_v4().to_string(), term: DEFAULT_TERM, cached: None }
    }

    /// Sets the term. Tests use one longer than a slow machine needs.
    pub fn with_term(self, term: Duration) -> Self {
        Self { term, ..self }
    }

    /// Acquires or renews the lease; to be called before each round of work. Most calls use the cached result.
    pub async fn acquire_or_renew(&mut self) -> Result<LeaseState, StoreError> {
        // taken before the request: neither the monotonic nor the wall clock stops while a process is paused
        let requested_at = Instant::now();
        match self.cached {
            Some((LeaseState::HeldElsewhere, refresh_at)) if requested_at < refresh_at => return Ok(LeaseState::HeldElsewhere),
            Some((_, refresh_at)) if requested_at < refresh_at => return Ok(LeaseState::Held),
            _ => self.cached = None,
        }
        let state = self.store.acquire(self.name, &self.holder, self.term).await?;
        self.cached = Some((state, requested_at + if state == LeaseState::HeldElsewhere { POLL_INTERVAL } else { RENEW_AFTER }));
        Ok(state)
    }

    /// Releases the lease, so that another process does not wait for its expiry.
    pub async fn release(&mut self) {
        if !matches!(self.cached.take(), Some((LeaseState::Held | LeaseState::Acquired, _))) {
            return;
        }
        if let Err(cause) = self.store.delete(self.name, &self.holder).await {
            tracing::info!(%cause, name = self.name, "lease not released; it will expire");
        }
    }
}
