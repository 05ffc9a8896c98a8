//! The bus: carries events from outboxes to consumers, at least once, in order per subject.
//!
//! What a consumer cannot take after its attempts becomes a dead letter: kept, shown, replayable.

#[cfg(any(feature = "sqlite", feature = "kafka"))]
mod give;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "sqlite")]
pub mod local;
mod spans;

use crate::events::event::{Event, UnfitEvent};
use crate::kernel::error::StartError;
use crate::kernel::error::StoreError;
use crate::observe::metrics;
use async_trait::async_trait;
use prometheus::{IntGaugeVec, Registry};
use serde::Serialize;
use serde_json::value::RawValue;
pub use spans::publish;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Why a consumer did not take an event.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Something it needs is away; tried again until it is back.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It will never fit; a dead letter.
    #[error("{0}")]
    Unfit(String),
}

impl From<UnfitEvent> for ApplyError {
    fn from(error: UnfitEvent) -> Self {
        Self::Unfit(error.to_string())
    }
}

/// Takes events of some topics. Applying one twice must be harmless: see [`crate::events::sqlite::inbox`].
#[async_trait(?Send)]
pub trait Consumer: Send + Sync {
    /// Name of the group: each group gets every event once.
    fn group(&self) -> &'static str;
    /// Topics it reads.
    fn topics(&self) -> &'static [&'static str];
    /// Applies all of these in one transaction, or none.
    async fn apply(&self, events: &[Event]) -> Result<(), ApplyError>;
}

/// An event that a consumer could not take.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// Its number among the dead letters.
    pub id: i64,
    /// Whose.
    pub group: String,
    /// Why.
    pub error: String,
    /// When, RFC 3339.
    pub at: String,
    /// The event itself; as a string what is no JSON.
    pub event: Box<RawValue>,
}

/// What an outbox has still to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Events that wait to be carried.
    pub waiting: i64,
    /// When the oldest of them was written, in milliseconds since 1970.
    pub oldest: Option<i64>,
    /// Events set aside, as the bus can never take them.
    pub refused: i64,
}

/// A module's outbox, in the store that its events are about: events that wait to be carried to the bus, and
/// those that the bus refused for good.
#[async_trait(?Send)]
pub trait Outbox: Send + Sync {
    /// The owning module's name.
    fn module(&self) -> &'static str;
    /// How many events wait.
    async fn waiting(&self) -> Result<i64, StoreError>;
    /// Relays events to the bus until `stop` is cancelled, then drains the outbox. Of several processes on the store,
    /// only the holder of the lease relays.
    async fn relay(&self, bus: Arc<dyn Bus>, stop: CancellationToken);
    /// The oldest refused events; `group` is the module's name.
    async fn refused(&self, limit: i64) -> Result<Vec<DeadLetter>, StoreError>;
    /// How much waits, and how much was refused.
    async fn backlog(&self) -> Result<Backlog, StoreError>;
    /// Makes a refused event wait again; `false` where there is none of this id.
    async fn again(&self, id: i64) -> Result<bool, StoreError>;
}

/// A bus that cannot be reached. The text is shown in the public health response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("away{}; events wait in their outboxes", .advice.map(|advice| format!(": {advice}")).unwrap_or_default())]
pub struct BusDown {
    /// What to do about it, as far as is known.
    pub advice: Option<&'static str>,
}

/// A bus.
#[async_trait(?Send)]
pub trait Bus: Send + Sync {
    /// Makes these durable on the bus, in this order, but for those that it can never take: answers these, by
    /// their place, and why.
    async fn publish(&self, events: Vec<Event>) -> Result<Vec<(usize, String)>, StoreError>;
    /// Feeds a consumer until told to stop.
    async fn consume(&self, consumer: Arc<dyn Consumer>, stop: CancellationToken);
    /// The oldest dead letters of all groups.
    async fn dead_letters(&self, limit: i64) -> Result<Vec<DeadLetter>, StoreError>;
    /// How many dead letters of a group there are.
    async fn dead_letters_of(&self, group: &str) -> Result<i64, StoreError>;
    /// Gives a dead letter to its consumer again; `false` where there is none of this id.
    async fn replay(&self, id: i64) -> Result<bool, StoreError>;
    /// Events of its topics that are published and not yet taken by a group.
    async fn lag(&self, group: &str) -> Result<i64, StoreError>;
    /// Its name among messaging systems, for traces.
    fn system(&self) -> &'static str;
    /// Shows how busy it is, where it has something of the process to show.
    fn measured(&self, _registry: &Registry) -> Result<(), StartError> {
        Ok(())
    }
    /// Whether it can be reached; otherwise what to say of it, to anybody who asks for health.
    async fn state(&self) -> Result<(), BusDown> {
        Ok(())
    }
}

/// What is shown of the groups and the outboxes of this process.
pub struct Gauges {
    lag: IntGaugeVec,
    letters: IntGaugeVec,
    waiting: IntGaugeVec,
    oldest: IntGaugeVec,
    refused: IntGaugeVec,
}

impl Gauges {
    /// Kept in this registry.
    pub fn new(registry: &Registry) -> Result<Self, StartError> {
        let gauges = |name: &str, help: &str, label: &str| metrics::gauges(registry, name, help, &[label]);
        Ok(Self {
            lag: gauges("tradepost_bus_lag", "Events published and not yet taken by this group.", "group")?,
            letters: gauges("tradepost_dead_letters", "Dead letters of this group that stand.", "group")?,
            waiting: gauges("tradepost_outbox_events", "Events that wait to be carried to the bus.", "module")?,
            oldest: gauges("tradepost_outbox_oldest_seconds", "Age of the oldest event that waits; 0 where none does.", "module")?,
            refused: gauges("tradepost_outbox_refused", "Events set aside, as the bus can never take them.", "module")?,
        })
    }

    /// Shows what an outbox holds, until told to stop.
    pub async fn watch_outbox(&self, outbox: Arc<dyn Outbox>, stop: CancellationToken) {
        let module = [outbox.module()];
        metrics::keep_fresh("outbox", stop, async || {
            let backlog = outbox.backlog().await?;
            // not before it is known: none at all is not the same as 0
            self.waiting.with_label_values(&module).set(backlog.waiting);
            self.oldest.with_label_values(&module).set(metrics::age_seconds(backlog.oldest));
            self.refused.with_label_values(&module).set(backlog.refused);
            Ok(())
        })
        .await;
    }

    /// Shows how far a group is behind and what it could not take, until told to stop.
    pub async fn watch_group(&self, bus: Arc<dyn Bus>, group: &'static str, stop: CancellationToken) {
        metrics::keep_fresh("bus", stop, async || {
            // on Kafka the lag is not known until the group reads here; the letters are
            let (behind, standing) = (bus.lag(group).await, bus.dead_letters_of(group).await);
            self.letters.with_label_values(&[group]).set(standing?);
            self.lag.with_label_values(&[group]).set(behind?);
            Ok(())
        })
        .await;
    }
}

/// A dead letter's event as it was buried, which may be no event, and no JSON either.
#[cfg(any(feature = "store", feature = "kafka", feature = "mongodb"))]
pub fn raw(body: String) -> Result<Box<RawValue>, StoreError> {
    RawValue::from_string(body.clone()).or_else(|_| serde_json::value::to_raw_value(&body)).map_err(|e| StoreError::Broken(e.to_string()))
}
