//! Distributed tracing with OpenTelemetry spans.
//!
//! Every call has a [`Trace`] (see [`crate::rpc::context`]), whose id is in logs, responses and errors. Sampled traces
//! are also recorded: a [`Span`] wraps a `tracing` span, which tracing-opentelemetry converts to an OpenTelemetry
//! span. A trace that is not sampled creates no span.
//!
//! | span | kind | name |
//! | --- | --- | --- |
//! | an incoming request | server | method and route |
//! | an attempt of a call to a peer, or of the gateway's call to a service | client | method and route |
//! | a call to a module in the same process | internal | module and operation |
//! | a transaction of a store | client | the summary of its statements: `INSERT orders` |
//! | an event sent from the outbox to the bus | producer | `send` and the topic |
//! | an event that a consumer applies | consumer | `process` and the topic |
//! | an attempt to send a mail or webhook | client | `send email`, `POST webhook` |
//!
//! Names and attributes follow OpenTelemetry's semantic conventions 1.37; others start with `tradepost.`. No
//! attribute contains personal data: no addresses, names, query strings, bind values or bodies.

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

/// Settings that can change at runtime.
pub const RELOADABLE_KEYS: &[&str] = &["telemetry.sample", "telemetry.sample_first", "telemetry.propagation"];

/// Applies sampling and propagation settings.
pub fn set(settings: &Telemetry) -> Result<(), OutOfRange> {
    if !(0.0..=1.0).contains(&settings.sample) {
        return Err(OutOfRange::new("telemetry.sample", settings.sample, "a share from 0 to 1"));
    }
    // without an exporter nothing is recorded
    let (share, first) = if settings.is_enabled() { (settings.sample, settings.sample_first) } else { (0.0, 0) };
    sampling::set(share, first);
    propagation::set(&settings.propagation);
    Ok(())
}

pub use ids::Trace;
pub use opentelemetry::Value;
pub use span::{Kind, Span, TARGET, current, in_current_span, store_span};
