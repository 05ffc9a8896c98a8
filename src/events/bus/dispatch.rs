//! Delivery of a batch of events to a consumer, for every bus: together, and one by one if the consumer rejects one, so
//! that it does not block the others.

use super::consumer::{ApplyError, Consumer};
use super::spans;
use crate::events::event::Event;
use crate::kernel::error::StoreError;

/// Attempts at an event that its consumer rejects, before it becomes a dead letter.
const ATTEMPTS: u32 = 3;

/// Delivers a batch to a consumer. Returns index and reason of each entry to dead-letter: events that the consumer
/// rejects, and entries that are no events. After an error nothing is decided: the caller delivers the batch again.
pub(super) async fn dispatch(
    consumer: &dyn Consumer,
    system: &'static str,
    entries: Vec<Result<Event, impl std::fmt::Display>>,
) -> Result<Vec<(usize, String)>, StoreError> {
    let (mut indexes, mut events, mut rejected) = (Vec::with_capacity(entries.len()), Vec::with_capacity(entries.len()), Vec::new());
    for (index, entry) in entries.into_iter().enumerate() {
        match entry {
            Ok(event) => {
                indexes.push(index);
                events.push(event);
            }
            Err(cause) => rejected.push((index, format!("this is no event: {cause}"))),
        }
    }
    if events.is_empty() {
        return Ok(rejected);
    }
    let spans = spans::start_apply(&mut events, consumer.group(), system);
    let applied = match spans.first() {
        Some((_, span)) => span.scope(consumer.apply(&events)).await,
        None => consumer.apply(&events).await,
    };
    spans::record_applied(!matches!(applied, Err(ApplyError::Store(_))));
    match applied {
        Ok(()) => {}
        Err(ApplyError::Store(cause)) => {
            spans.iter().for_each(|(_, span)| span.fail("store unavailable"));
            return Err(cause);
        }
        Err(ApplyError::Rejected(_)) => {
            for (position, (index, event)) in indexes.into_iter().zip(&events).enumerate() {
                let span = spans.iter().find(|(of, _)| *of == position).map(|(_, span)| span);
                let error = match span {
                    Some(span) => span.scope(apply_alone(consumer, event)).await?,
                    None => apply_alone(consumer, event).await?,
                };
                if let Some(error) = error {
                    span.inspect(|span| span.fail("unfit"));
                    rejected.push((index, error));
                }
            }
        }
    }
    Ok(rejected)
}

/// Returns the reason if the consumer rejects the event.
async fn apply_alone(consumer: &dyn Consumer, event: &Event) -> Result<Option<String>, StoreError> {
    let mut attempt = 1;
    loop {
        match consumer.apply(std::slice::from_ref(event)).await {
            Ok(()) => return Ok(None),
            Err(ApplyError::Store(cause)) => return Err(cause),
            Err(ApplyError::Rejected(_)) if attempt < ATTEMPTS => attempt += 1,
            Err(ApplyError::Rejected(error)) => return Ok(Some(error)),
        }
    }
}
