//! Spans of events, by OpenTelemetry's conventions for messaging.
//!
//! An event's `traceparent` names the span that wrote it, and from its publication on the span of the send: the parent
//! and the link of consumer spans. If a batch of events is applied together, the work is in the trace of the first event
//! that is sampled.

use super::transport::Bus;
use crate::events::event::Event;
use crate::kernel::error::StoreError;
use crate::observe::trace::{Kind, Span, Trace};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The span that an event follows from, if it is sampled.
fn parent_trace(event: &Event) -> Option<Trace> {
    event.traceparent.as_deref().and_then(Trace::parse).filter(|trace| trace.sampled)
}

fn span(event: &Event, kind: Kind, operation: &'static str, system: &'static str) -> Option<Span> {
    let span = Span::child(parent_trace(event)?, kind, || format!("{operation} {}", event.topic()));
    span.set("messaging.system", system);
    span.set("messaging.destination.name", event.topic().to_string());
    span.set("messaging.operation.name", operation);
    span.set("messaging.operation.type", operation);
    span.set("messaging.message.id", event.id.to_string());
    span.set("tradepost.event.type", event.kind.clone());
    Some(span)
}

/// Publishing to an unavailable bus is retried continually: after the first failure no spans until it succeeds.
static PUBLISH_FAILING: AtomicBool = AtomicBool::new(false);

/// The same for consumers whose store is unavailable.
#[cfg(any(feature = "sqlite", feature = "kafka"))]
static APPLY_FAILING: AtomicBool = AtomicBool::new(false);

#[cfg(any(feature = "sqlite", feature = "kafka"))]
pub(super) fn record_applied(success: bool) {
    APPLY_FAILING.store(!success, Relaxed);
}

/// Publishes events with one span each; see [`Bus::publish`].
pub async fn publish(bus: &dyn Bus, mut events: Vec<Event>) -> Result<Vec<(usize, String)>, StoreError> {
    let mut spans = Vec::new();
    let traced = if PUBLISH_FAILING.load(Relaxed) { 0 } else { events.len() };
    for (index, event) in events.iter_mut().enumerate().take(traced) {
        if let Some(span) = span(event, Kind::Producer, "send", bus.messaging_system()) {
            event.traceparent = Some(span.trace().header());
            spans.push((index, span));
        }
    }
    let outcome = bus.publish(events).await;
    match &outcome {
        Err(_) => {
            PUBLISH_FAILING.store(true, Relaxed);
            spans.iter().for_each(|(_, span)| span.fail("bus unavailable"));
        }
        Ok(refused) => {
            PUBLISH_FAILING.store(false, Relaxed);
            let span_of = |index| spans.iter().find(|(at, _)| *at == index);
            refused.iter().filter_map(|(index, _)| span_of(*index)).for_each(|(_, span)| span.fail("refused"));
        }
    }
    outcome
}

/// Starts a span for each sampled event; returns the spans with the events' indexes. Each span becomes its event's parent.
#[cfg(any(feature = "sqlite", feature = "kafka"))]
pub(super) fn start_apply(events: &mut [Event], group: &'static str, system: &'static str) -> Vec<(usize, Span)> {
    let mut spans = Vec::new();
    if APPLY_FAILING.load(Relaxed) {
        return spans;
    }
    for (index, event) in events.iter_mut().enumerate() {
        let Some(sent) = parent_trace(event) else { continue };
        let Some(span) = span(event, Kind::Consumer, "process", system) else { continue };
        span.link(sent);
        span.set("messaging.consumer.group.name", group);
        event.traceparent = Some(span.trace().header());
        spans.push((index, span));
    }
    spans
}
