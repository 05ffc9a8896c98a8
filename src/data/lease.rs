//! Leases: of several processes on one store, one at a time does a piece of work, and another takes
//! over soon after the holder has died.
//!
//! A lease is a row or a document with its holder and when it ends. It is taken only when there is work,
//! renewed while there is more, released at an orderly stop, and left to expire otherwise: a shop with
//! nothing to do writes nothing. Leases save doing work twice; they do not make it right. A holder that was
//! paused wakes up believing that it still holds, and clocks of two machines differ. So whatever is
//! done under a lease must be harmless when done twice: the inbox drops events it has seen, a group's
//! position moves only from where it was read, a delivery is claimed before it is sent.

use super::POLL;
use crate::kernel::error::StoreError;
use async_trait::async_trait;
use std::time::{Duration, Instant};

/// How long a lease holds after its last renewal: a dead holder is replaced after this at the latest.
const TERM: Duration = Duration::from_secs(2);
/// How long the holder relies on its last renewal. The rest of the term is for one round of work.
const RENEW: Duration = Duration::from_millis(700);

/// Whether this process holds a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// This process held the lease before, and has renewed it.
    Held,
    /// Newly acquired: another process may have processed what was read before.
    Acquired,
    /// Another process holds the lease; retry after [`POLL`].
    HeldElsewhere,
}

/// Where leases are kept. Each method is atomic.
#[async_trait(?Send)]
pub trait LeaseStore {
    /// Renews the lease of this holder, or takes one that no other holder has any more.
    async fn acquire(&self, name: &'static str, holder: &str, term: Duration) -> Result<LeaseState, StoreError>;
    /// Deletes the lease if it is this holder's.
    async fn delete(&self, name: &'static str, holder: &str) -> Result<(), StoreError>;
}

/// One process's side of a lease, in the store that the work is about.
pub struct Lease {
    store: Box<dyn LeaseStore>,
    name: &'static str,
    holder: String,
    term: Duration,
    /// The last answer, and how long it is relied on.
    pub(super) known: Option<(LeaseState, Instant)>,
}

impl Lease {
    /// Not held yet.
    pub fn new(store: impl LeaseStore + 'static, name: &'static str) -> Self {
        Self { store: Box::new(store), name, holder: uuid::Uuid::new_v4().to_string(), term: TERM, known: None }
    }

    /// The same with another term: tests hold a lease for longer than a slow machine takes.
    pub fn lasting(self, term: Duration) -> Self {
        Self { term, ..self }
    }

    /// Acquires or renews the lease. Called before each round of work.
    pub async fn hold(&mut self) -> Result<LeaseState, StoreError> {
        // both clocks go on while a process is paused
        let asked = Instant::now();
        match self.known {
            Some((LeaseState::HeldElsewhere, until)) if asked < until => return Ok(LeaseState::HeldElsewhere),
            Some((_, until)) if asked < until => return Ok(LeaseState::Held),
            _ => self.known = None,
        }
        let state = self.store.acquire(self.name, &self.holder, self.term).await?;
        self.known = Some((state, asked + if state == LeaseState::HeldElsewhere { POLL } else { RENEW }));
        Ok(state)
    }

    /// Releases the lease, so that another process need not wait until it expires.
    pub async fn release(&mut self) {
        if !matches!(self.known.take(), Some((LeaseState::Held | LeaseState::Acquired, _))) {
            return;
        }
        if let Err(cause) = self.store.delete(self.name, &self.holder).await {
            tracing::info!(%cause, name = self.name, "a lease was not released; it will expire");
        }
    }
}
