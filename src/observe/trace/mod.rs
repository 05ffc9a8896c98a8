//! Tracing: what one request brought about, in all processes that took part, as OpenTelemetry's spans.
//!
//! Every call has a [`Trace`] (see [`crate::rpc::context`]), whose id is in logs, answers and errors. Those that
//! are sampled are recorded as well: a [`Span`] is a span of `tracing`, which tracing-opentelemetry makes one of
//! OpenTelemetry's. What is not sampled costs no span.
//!
//! | span | kind | name |
//! | --- | --- | --- |
//! | a request that comes in | server | method and route |
//! | an attempt at a call to a peer, and the gateway's to a service | client | method and route |
//! | a call to a module of the same process | internal | module and operation |
//! | a transaction of a store | client | its statements in short: `INSERT orders` |
//! | an event on its way from the outbox to the bus | producer | `send` and the topic |
//! | an event that is applied | consumer | `process` and the topic |
//! | an attempt at a mail or webhook | client | `send email`, `POST webhook` |
//!
//! Names and attributes are those of OpenTelemetry's semantic conventions 1.37 where they have one, else
//! `tradepost.*`. No attribute tells of a person: neither addresses nor names nor query strings, no values of
//! statements, no bodies.

pub mod export;
mod ids;
pub mod propagation;
pub mod sampling;
mod span;
#[cfg(feature = "store")]
pub mod statements;
pub mod waterfall;

use crate::kernel::error::OutOfRange;
use crate::settings::Telemetry;

/// What may change while it runs.
pub const CHANGEABLE: &[&str] = &["telemetry.sample", "telemetry.sample_first", "telemetry.propagation"];

/// From now on as these settings say.
pub fn set(settings: &Telemetry) -> Result<(), OutOfRange> {
    if !(0.0..=1.0).contains(&settings.sample) {
        return Err(OutOfRange::new("telemetry.sample", settings.sample, "a share from 0 to 1"));
    }
    // what nobody takes need not be recorded
    let (share, first) = if settings.is_watched() { (settings.sample, settings.sample_first) } else { (0.0, 0) };
    sampling::set(share, first);
    propagation::set(&settings.propagation);
    Ok(())
}

pub use ids::Trace;
pub use opentelemetry::Value;
pub use span::{Kind, Span, TARGET, current, inherit, on_store};
