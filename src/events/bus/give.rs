//! Giving events to a consumer, the same on every bus: together, and singly where one does not fit, so that
//! it harms no other.

use super::{ApplyError, Consumer, spans};
use crate::events::event::Event;
use crate::kernel::error::StoreError;

/// Attempts at an event that its consumer calls unfit, before it is buried.
const ATTEMPTS: u32 = 3;

/// Gives a consumer what lies on the bus; answers what to bury, by its place among these, and why: what the
/// consumer cannot take, and what is no event at all. An error means that something is away: nothing was
/// decided, and all of it is given again.
pub(super) async fn give(
    consumer: &dyn Consumer,
    system: &'static str,
    found: Vec<Result<Event, impl std::fmt::Display>>,
) -> Result<Vec<(usize, String)>, StoreError> {
    let (mut places, mut events, mut buried) = (Vec::with_capacity(found.len()), Vec::with_capacity(found.len()), Vec::new());
    for (place, one) in found.into_iter().enumerate() {
        match one {
            Ok(event) => {
                places.push(place);
                events.push(event);
            }
            Err(cause) => buried.push((place, format!("this is no event: {cause}"))),
        }
    }
    if events.is_empty() {
        return Ok(buried);
    }
    let spans = spans::applying(&mut events, consumer.group(), system);
    let applied = match spans.first() {
        Some((_, span)) => span.scope(consumer.apply(&events)).await,
        None => consumer.apply(&events).await,
    };
    spans::applied(!matches!(applied, Err(ApplyError::Store(_))));
    match applied {
        Ok(()) => {}
        Err(ApplyError::Store(cause)) => {
            spans.iter().for_each(|(_, span)| span.fail("store away"));
            return Err(cause);
        }
        Err(ApplyError::Unfit(_)) => {
            for (at, (place, event)) in places.into_iter().zip(&events).enumerate() {
                let span = spans.iter().find(|(of, _)| *of == at).map(|(_, span)| span);
                let error = match span {
                    Some(span) => span.scope(singly(consumer, event)).await?,
                    None => singly(consumer, event).await?,
                };
                if let Some(error) = error {
                    span.inspect(|span| span.fail("unfit"));
                    buried.push((place, error));
                }
            }
        }
    }
    Ok(buried)
}

/// Why it cannot be applied, where that is so.
async fn singly(consumer: &dyn Consumer, event: &Event) -> Result<Option<String>, StoreError> {
    let mut attempt = 1;
    loop {
        match consumer.apply(std::slice::from_ref(event)).await {
            Ok(()) => return Ok(None),
            Err(ApplyError::Store(cause)) => return Err(cause),
            Err(ApplyError::Unfit(_)) if attempt < ATTEMPTS => attempt += 1,
            Err(ApplyError::Unfit(error)) => return Ok(Some(error)),
        }
    }
}
