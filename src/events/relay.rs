//! Work that follows from commits, and that one process at a time does: outboxes are carried to the bus, and
//! reservations settled, whatever the store is made of.

use crate::data::{COALESCE_WINDOW, Lease, LeaseState, POLL};
use crate::events::bus;
use crate::events::bus::Bus;
use crate::events::event::Event;
use crate::kernel::error::StoreError;
use std::error::Error;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Pause after an error: the store, the bus or a peer was away.
const AWAY: Duration = Duration::from_secs(1);

/// Result of one round.
enum Round {
    /// Nothing is left.
    Done,
    /// There may be more.
    More,
    /// Another process holds the lease.
    ByAnother,
}

/// Reads a batch and works on it, round after round, until `stop` is cancelled; then until nothing is left. `committed`
/// waits for the next commit of this process after the call. `read` returns `None` where there is nothing to
/// do; `work` returns whether there may be more.
///
/// `work` may be repeated: after a crash, and by another process when this one was paused under its lease.
pub async fn run<B, E: From<StoreError>, W: Future<Output = ()>>(
    mut lease: Lease,
    committed: impl Fn() -> W,
    read: impl AsyncFn() -> Result<Option<B>, E>,
    work: impl AsyncFn(B) -> Result<bool, E>,
    failed: impl Fn(E),
    stop: CancellationToken,
) {
    loop {
        let committed = committed();
        let (pause, ours) = match round(&mut lease, &read, &work).await {
            Ok(Round::More) => continue,
            Ok(_) if stop.is_cancelled() => break,
            Ok(Round::Done) => (POLL, true),
            Ok(Round::ByAnother) => (POLL, false),
            Err(cause) => {
                failed(cause);
                if stop.is_cancelled() {
                    break;
                }
                (AWAY, false)
            }
        };
        tokio::select! {
            // after an error, more commits are no reason to try again sooner
            () = async { committed.await; tokio::time::sleep(COALESCE_WINDOW).await }, if ours => {}
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
    lease.release().await;
}

async fn round<B, E: From<StoreError>>(
    lease: &mut Lease,
    read: &impl AsyncFn() -> Result<Option<B>, E>,
    work: &impl AsyncFn(B) -> Result<bool, E>,
) -> Result<Round, E> {
    let Some(batch) = read().await? else { return Ok(Round::Done) };
    match lease.hold().await? {
        LeaseState::Held => Ok(if work(batch).await? { Round::More } else { Round::Done }),
        // the batch was read before the lease was ours
        LeaseState::Acquired => Ok(Round::More),
        LeaseState::HeldElsewhere => Ok(Round::ByAnother),
    }
}

/// Publishes the events of these entries of an outbox, in order. Returns the entries that the bus will never
/// take, with the reason: an entry that is no event, or one too large for its topic.
pub async fn publish<T: Clone>(
    bus: &dyn Bus,
    entries: impl IntoIterator<Item = T>,
    event: impl Fn(&T) -> Result<Event, Box<dyn Error>>,
) -> Result<Vec<(T, String)>, StoreError> {
    let (mut sent, mut events, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries {
        match event(&entry) {
            Ok(event) => {
                sent.push(entry);
                events.push(event);
            }
            Err(cause) => refused.push((entry, format!("this is no event: {cause}"))),
        }
    }
    if !events.is_empty() {
        let unfit = bus::publish(bus, events).await?;
        refused.extend(unfit.into_iter().filter_map(|(place, error)| Some((sent.get(place)?.clone(), error))));
    }
    Ok(refused)
}
