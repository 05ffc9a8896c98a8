//! The bus: carries events from outboxes to consumers, at least once, in order per subject.
//!
//! An event that its consumer rejects repeatedly becomes a dead letter, which is stored, shown and replayable.

mod consumer;
mod dead_letter;
#[cfg(any(feature = "sqlite", feature = "kafka"))]
mod dispatch;
mod gauges;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "sqlite")]
pub mod local;
mod outbox;
mod spans;
mod transport;

pub use consumer::{ApplyError, Consumer};
pub use dead_letter::DeadLetter;
#[cfg(any(feature = "store", feature = "kafka", feature = "mongodb"))]
pub use dead_letter::raw_json_or_string;
pub use gauges::BusMetrics;
pub use outbox::{Backlog, Outbox};
pub use spans::publish;
pub use transport::{Bus, BusDown};
