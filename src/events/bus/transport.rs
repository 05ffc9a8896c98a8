//! The bus as publishers and consumers use it, whatever carries the events.

use super::consumer::Consumer;
use super::dead_letter::DeadLetter;
use crate::events::event::Event;
use crate::kernel::error::{StartError, StoreError};
use async_trait::async_trait;
use prometheus::Registry;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A bus that does not accept events.
#[derive(Debug, thiserror::Error)]
pub enum BusDown {
    /// The text is shown in the public health response. `advice`: for the operator, if known.
    #[error("unreachable{}; events wait in their outboxes", .advice.map(|advice| format!(": {advice}")).unwrap_or_default())]
    Unreachable { advice: Option<&'static str> },
    /// The file of the embedded bus is lost or damaged: events that were delivered to it may be gone.
    #[error(transparent)]
    OutOfService(StoreError),
}

#[async_trait(?Send)]
pub trait Bus: Send + Sync {
    /// Publishes these events durably, in this order. Returns the index and the reason of each event that the bus refuses
    /// permanently.
    async fn publish(&self, events: Vec<Event>) -> Result<Vec<(usize, String)>, StoreError>;
    /// Delivers events to a consumer until `stop` is cancelled.
    async fn consume(&self, consumer: Arc<dyn Consumer>, stop: CancellationToken);
    /// The oldest dead letters of all groups.
    async fn dead_letters(&self, limit: i64) -> Result<Vec<DeadLetter>, StoreError>;
    /// Number of dead letters of a group.
    async fn count_dead_letters(&self, group: &str) -> Result<i64, StoreError>;
    /// Delivers a dead letter to its consumer again; `false` if there is none with this id.
    async fn replay(&self, id: i64) -> Result<bool, StoreError>;
    /// Number of events on a group's topics that the group has not processed yet.
    async fn lag(&self, group: &str) -> Result<i64, StoreError>;
    /// OpenTelemetry's `messaging.system`.
    fn messaging_system(&self) -> &'static str;
    /// Registers the metrics of the parts of the bus that are in this process.
    fn register_metrics(&self, _registry: &Registry) -> Result<(), StartError> {
        Ok(())
    }
    /// Whether the bus accepts events.
    async fn check_health(&self) -> Result<(), BusDown> {
        Ok(())
    }
}
