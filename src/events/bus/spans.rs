//! Events in traces, by OpenTelemetry's conventions for messaging spans.
//!
//! An event's `traceparent` is of the step that it was written in, until it is sent: then of its sending, which is
//! what consumers follow from and point at. Where several are applied together, what is done for all of them is
//! seen in the trace of the first that is recorded.

use super::Bus;
use crate::events::event::Event;
use crate::kernel::error::StoreError;
use crate::observe::trace::{Kind, Span, Trace};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The step that an event follows from, where that is recorded.
fn origin(event: &Event) -> Option<Trace> {
    event.traceparent.as_deref().and_then(Trace::parse).filter(|trace| trace.sampled)
}

fn span(event: &Event, kind: Kind, does: &'static str, system: &'static str) -> Option<Span> {
    let span = Span::child(origin(event)?, kind, || format!("{does} {}", event.topic()));
    span.set("messaging.system", system);
    span.set("messaging.destination.name", event.topic().to_string());
    span.set("messaging.operation.name", does);
    span.set("messaging.operation.type", does);
    span.set("messaging.message.id", event.id.to_string());
    span.set("tradepost.event.type", event.kind.clone());
    Some(span)
}

/// A bus that is away is asked again and again: what fails is recorded once, and no more until it works.
static AWAY: AtomicBool = AtomicBool::new(false);

/// So does a consumer whose store is away.
#[cfg(any(feature = "sqlite", feature = "kafka"))]
static STUCK: AtomicBool = AtomicBool::new(false);

/// Takes note of whether events could be applied.
#[cfg(any(feature = "sqlite", feature = "kafka"))]
pub(super) fn applied(done: bool) {
    STUCK.store(!done, Relaxed);
}

/// Publishes events that have waited in an outbox; see [`Bus::publish`].
pub async fn publish(bus: &dyn Bus, mut events: Vec<Event>) -> Result<Vec<(usize, String)>, StoreError> {
    let mut spans = Vec::new();
    let seen = if AWAY.load(Relaxed) { 0 } else { events.len() };
    for (place, event) in events.iter_mut().enumerate().take(seen) {
        if let Some(span) = span(event, Kind::Producer, "send", bus.system()) {
            event.traceparent = Some(span.trace().header());
            spans.push((place, span));
        }
    }
    let outcome = bus.publish(events).await;
    match &outcome {
        Err(_) => {
            AWAY.store(true, Relaxed);
            spans.iter().for_each(|(_, span)| span.fail("bus away"));
        }
        Ok(refused) => {
            AWAY.store(false, Relaxed);
            let of = |place| spans.iter().find(|(at, _)| *at == place);
            refused.iter().filter_map(|(place, _)| of(*place)).for_each(|(_, span)| span.fail("refused"));
        }
    }
    outcome
}

/// Spans for the applying of these events, by their places; what follows from an event follows from its span now.
#[cfg(any(feature = "sqlite", feature = "kafka"))]
pub(super) fn applying(events: &mut [Event], group: &'static str, system: &'static str) -> Vec<(usize, Span)> {
    let mut spans = Vec::new();
    if STUCK.load(Relaxed) {
        return spans;
    }
    for (place, event) in events.iter_mut().enumerate() {
        let Some(sent) = origin(event) else { continue };
        let Some(span) = span(event, Kind::Consumer, "process", system) else { continue };
        span.link(sent);
        span.set("messaging.consumer.group.name", group);
        event.traceparent = Some(span.trace().header());
        spans.push((place, span));
    }
    spans
}
