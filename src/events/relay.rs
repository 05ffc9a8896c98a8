//! Background work that follows commits, done by one process at a time under a lease: publishing outboxes to the bus,
//! settling reservations. Independent of the backend.

use crate::data::{COALESCE_WINDOW, Lease, LeaseState, POLL_INTERVAL};
use crate::events::bus;
use crate::events::bus::Bus;
use crate::events::event::Event;
use crate::kernel::error::StoreError;
use std::error::Error;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Pause after an error: the store, the bus or a peer was unavailable.
const ERROR_BACKOFF: Duration = Duration::from_secs(1);

/// Result of one round.
enum Round {
    Done,
    /// There may be more work.
    More,
    HeldElsewhere,
}

/// Reads and processes batches until `stop` is cancelled, then until no batch is left. `committed` waits for the next commit
/// of this process after the call. `read` returns `None` if there is no work; `work` returns whether there may be more.
///
/// `work` must be idempotent: it is repeated after a crash, and by another process if this one is paused under its lease.
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
        let (pause, wake_on_commit) = match round(&mut lease, &read, &work).await {
            Ok(Round::More) => continue,
            Ok(_) if stop.is_cancelled() => break,
            Ok(Round::Done) => (POLL_INTERVAL, true),
            Ok(Round::HeldElsewhere) => (POLL_INTERVAL, false),
            Err(cause) => {
                failed(cause);
                if stop.is_cancelled() {
                    break;
                }
                (ERROR_BACKOFF, false)
            }
        };
        tokio::select! {
            // after an error a commit is no reason to retry earlier
            () = async { committed.await; tokio::time::sleep(COALESCE_WINDOW).await }, if wake_on_commit => {}
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
    match lease.acquire_or_renew().await? {
        LeaseState::Held => Ok(if work(batch).await? { Round::More } else { Round::Done }),
        // the batch was read before this process held the lease
        LeaseState::Acquired => Ok(Round::More),
        LeaseState::HeldElsewhere => Ok(Round::HeldElsewhere),
    }
}

/// Publishes the events of these outbox entries, in order. Returns the entries that the bus can never accept, with the
/// reason: an entry that is no event, or one too large for its topic.
pub async fn publish<T: Clone>(
    bus: &dyn Bus,
    entries: impl IntoIterator<Item = T>,
    event: impl Fn(&T) -> Result<Event, Box<dyn Error>>,
) -> Result<Vec<(T, String)>, StoreError> {
    let (mut published, mut events, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries {
        match event(&entry) {
            Ok(event) => {
                published.push(entry);
                events.push(event);
            }
            Err(cause) => refused.push((entry, format!("this is no event: {cause}"))),
        }
    }
    if !events.is_empty() {
        let rejected = bus::publish(bus, events).await?;
        refused.extend(rejected.into_iter().filter_map(|(index, error)| Some((published.get(index)?.clone(), error))));
    }
    Ok(refused)
}
