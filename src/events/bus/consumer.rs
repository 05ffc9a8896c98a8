//! Consumers of events.

use crate::events::event::{Event, InvalidEventData};
use crate::kernel::error::StoreError;
use async_trait::async_trait;

/// Why a consumer did not apply an event.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A store or server is unavailable; the bus retries until it is back.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The event is invalid for this consumer; it becomes a dead letter.
    #[error("{0}")]
    Rejected(String),
}

impl From<InvalidEventData> for ApplyError {
    fn from(error: InvalidEventData) -> Self {
        Self::Rejected(error.to_string())
    }
}

/// Applies the events of some topics. Must be idempotent: see [`crate::events::sqlite::inbox`].
#[async_trait(?Send)]
pub trait Consumer: Send + Sync {
    /// The consumer group: each group receives every event.
    fn group(&self) -> &'static str;
    fn topics(&self) -> &'static [&'static str];
    /// Applies all of these in one transaction, or none.
    async fn apply(&self, events: &[Event]) -> Result<(), ApplyError>;
}
