//! Relays: carry what waits in an outbox to the bus, whatever the outbox is made of.

use crate::platform::store::{GATHER, POLL, StoreError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Pause after the store or the bus was away.
const AWAY: Duration = Duration::from_secs(1);

/// What a look at an outbox came to.
pub enum Carried {
    /// All that there was.
    All,
    /// A batch, and there may be more.
    More,
    /// Nothing: another process does it.
    ByAnother,
}

/// Carries batch after batch until told to stop; then empties the outbox once more. `committed` waits for the
/// next commit of this process, from its call on.
pub async fn relay<W: Future<Output = ()>>(
    store: &str,
    committed: impl Fn() -> W,
    mut carry: impl AsyncFnMut() -> Result<Carried, StoreError>,
    stop: CancellationToken,
) {
    loop {
        let committed = committed();
        let (pause, ours) = match carry().await {
            Ok(Carried::More) => continue,
            Ok(_) if stop.is_cancelled() => return,
            Ok(Carried::All) => (POLL, true),
            Ok(Carried::ByAnother) => (POLL, false),
            Err(cause) => {
                tracing::warn!(%cause, store, "outbox not carried; will try again");
                if stop.is_cancelled() {
                    return;
                }
                (AWAY, false)
            }
        };
        tokio::select! {
            () = async { committed.await; tokio::time::sleep(GATHER).await }, if ours => {}
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
}
