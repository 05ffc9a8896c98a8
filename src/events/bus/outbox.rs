//! A module's outbox, whatever its store.

use super::dead_letter::DeadLetter;
use super::transport::Bus;
use crate::kernel::error::StoreError;
use async_trait::async_trait;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Events not published yet.
    pub pending: i64,
    /// When the oldest of them was written, in milliseconds since 1970.
    pub oldest_ms: Option<i64>,
    /// Events that the bus refused permanently.
    pub refused: i64,
}

/// A module's outbox, in the same store as the data that its events report: events not published yet, and events that
/// the bus refused permanently.
#[async_trait(?Send)]
pub trait Outbox: Send + Sync {
    fn module(&self) -> &'static str;
    /// Number of events not published yet.
    async fn pending(&self) -> Result<i64, StoreError>;
    /// Relays events to the bus until `stop` is cancelled, then drains the outbox. Of several processes on the store,
    /// only the holder of the lease relays.
    async fn relay(&self, bus: Arc<dyn Bus>, stop: CancellationToken);
    /// The oldest refused events; `group` is the module's name.
    async fn refused(&self, limit: i64) -> Result<Vec<DeadLetter>, StoreError>;
    async fn backlog(&self) -> Result<Backlog, StoreError>;
    /// Puts a refused event back into the outbox; `false` if there is none with this id.
    async fn requeue(&self, id: i64) -> Result<bool, StoreError>;
}
