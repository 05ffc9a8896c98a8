//! What runs behind the order path: orders left PENDING are driven to their end, and what was
//! decided is settled with inventory, in bulk.

use super::placing::OrderPath;
use super::store::Settle;
use crate::platform::cx::Cx;
use crate::platform::problem::TypedError;
use crate::platform::store::{GATHER, Held, POLL, StoreError, Turn};
use crate::platform::trace::{Kind, Span};
use crate::shop::inventory::api::{InventoryError, SettleInput};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const BUDGET: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_millis(500);
/// Forgetting old idempotency keys is no hurry.
const SWEEP_ROUNDS: u64 = 600;

/// Takes up PENDING orders whose lease has run out, until told to stop.
pub(super) async fn run(path: Arc<OrderPath>, idempotency_hours: u64, stop: CancellationToken) {
    let mut rounds: u64 = 0;
    while !stop.is_cancelled() {
        if let Err(cause) = recover(&path).await {
            tracing::warn!(%cause, "orders not recovered; will try again");
        }
        if rounds.is_multiple_of(SWEEP_ROUNDS)
            && let Err(cause) = path.store.forget_keys(idempotency_hours).await
        {
            tracing::warn!(%cause, "old idempotency keys not forgotten");
        }
        rounds += 1;
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn recover(path: &OrderPath) -> Result<(), StoreError> {
    for order in path.store.abandoned().await? {
        let number = order.number;
        let mut cx = Cx::module("order", BUDGET);
        let placed_in = order.trace.unwrap_or(cx.trace);
        let span = Span::child(placed_in, Kind::Internal, || "recover order".into());
        cx.trace = span.trace();
        let outcome = span.scope(path.drive(&cx, order)).await;
        let outcome = outcome.map_or_else(|refused| refused.for_log(), |order| order.status.text().to_string());
        tracing::info!(order_number = %number, outcome, "recovered an order");
    }
    Ok(())
}

/// Commits and releases reservations as decided, until told to stop; then once more. Settling twice changes
/// nothing, but under load it would be all of inventory's work again for each further process of ours: one
/// at a time does it. (Recovery needs no such lease: each order has its own.)
pub(super) async fn settle(path: Arc<OrderPath>, stop: CancellationToken) {
    let mut lease = path.store.lease("settlement");
    loop {
        let committed = path.store.committed();
        let (pause, ours) = match settle_some(&path, lease.as_mut()).await {
            Ok(Settled::Some) => continue,
            Ok(_) if stop.is_cancelled() => break,
            Ok(Settled::All) => (POLL, true),
            Ok(Settled::ByAnother) => (POLL, false),
            Err(_) if stop.is_cancelled() => break,
            Err(cause) => {
                tracing::warn!(%cause, "reservations not settled; will try again");
                (Duration::from_secs(1), false)
            }
        };
        tokio::select! {
            // while inventory is away, more orders are no reason to ask it more often
            () = async { committed.await; tokio::time::sleep(GATHER).await }, if ours => {}
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
    lease.release().await;
}

/// Why reservations were not settled.
#[derive(Debug, thiserror::Error)]
pub(super) enum SettleError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{}", .0.for_log())]
    Inventory(#[from] InventoryError),
    #[error("inventory settled none of them: they were cancelled just now, or are unknown there")]
    None,
}

/// What a look at the notes came to.
enum Settled {
    All,
    Some,
    ByAnother,
}

async fn settle_some(path: &OrderPath, lease: &mut dyn Turn) -> Result<Settled, SettleError> {
    let open = path.store.unsettled().await?;
    if open.is_empty() {
        return Ok(Settled::All);
    }
    match lease.hold().await? {
        Held::Still => {}
        Held::Anew => return Ok(Settled::Some),
        Held::Elsewhere => return Ok(Settled::ByAnother),
    }
    let with = |wanted: Settle| open.iter().filter(|(_, settle)| *settle == wanted).map(|(number, _)| *number).collect();
    let input = SettleInput { commit: with(Settle::Commit), release: with(Settle::Release) };
    let cx = Cx::module("order", BUDGET);
    let settled = path.inventory.settle(&cx, input).await?;
    let done: Vec<_> = open.into_iter().filter(|(number, _)| settled.contains(number)).collect();
    let count = done.len();
    path.store.settled(done).await?;
    if count == 0 { Err(SettleError::None) } else { Ok(Settled::Some) }
}
