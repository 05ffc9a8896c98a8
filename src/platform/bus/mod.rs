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

use crate::platform::event::Event;
use crate::platform::host::StartError;
use crate::platform::store::StoreError;
use async_trait::async_trait;
use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};
use serde::Serialize;
use serde_json::value::RawValue;
pub use spans::publish;
use std::sync::Arc;
use std::time::Duration;
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

/// Takes events of some topics. Applying one twice must be harmless: see [`crate::platform::inbox`].
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

/// What an outbox could never hand to the bus: kept beside it, in the same store.
#[async_trait(?Send)]
pub trait Refused: Send + Sync {
    /// Whose outbox: a module's name.
    fn store(&self) -> &'static str;
    /// The oldest of these events; `group` is the module's name.
    async fn list(&self, limit: i64) -> Result<Vec<DeadLetter>, StoreError>;
    /// Puts one into the outbox again; `false` where there is none of this id.
    async fn again(&self, id: i64) -> Result<bool, StoreError>;
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
    /// Gives a dead letter to its consumer again; `false` where there is none of this id.
    async fn replay(&self, id: i64) -> Result<bool, StoreError>;
    /// Events published and not yet taken by a group.
    async fn lag(&self, group: &str) -> Result<i64, StoreError>;
    /// Its name among messaging systems, for traces.
    fn system(&self) -> &'static str;
    /// Whether it can be reached; otherwise what to say of it, to anybody who asks for health.
    async fn state(&self) -> Result<(), String> {
        Ok(())
    }
}

/// How often the lag is looked at.
const LOOK: Duration = Duration::from_secs(10);

/// `tradepost_bus_lag`: events published and not yet taken, by group.
pub fn lag_gauge(metrics: &Registry) -> Result<IntGaugeVec, StartError> {
    let gauge = IntGaugeVec::new(Opts::new("tradepost_bus_lag", "Events published and not yet taken by this group."), &["group"]);
    let gauge = gauge.map_err(|cause| StartError(cause.to_string()))?;
    metrics.register(Box::new(gauge.clone())).map_err(|cause| StartError(cause.to_string()))?;
    Ok(gauge)
}

/// Shows how far a group is behind, until told to stop. While that is not known, the last known counts.
pub async fn show_lag(bus: Arc<dyn Bus>, group: &'static str, gauge: IntGauge, stop: CancellationToken) {
    loop {
        match bus.lag(group).await {
            Ok(lag) => gauge.set(lag),
            Err(cause) => tracing::debug!(%cause, group, "the lag is not known"),
        }
        if stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
            return;
        }
    }
}

/// A dead letter's event as it was buried, which may be no event, and no JSON either.
#[cfg(any(feature = "store", feature = "kafka", feature = "mongodb"))]
pub fn raw(body: String) -> Result<Box<RawValue>, StoreError> {
    RawValue::from_string(body.clone()).or_else(|_| serde_json::value::to_raw_value(&body)).map_err(|e| StoreError::Broken(e.to_string()))
}
