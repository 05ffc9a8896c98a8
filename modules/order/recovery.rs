//! What runs behind the order path: orders left PENDING are driven to their end, and what was
//! decided is settled with inventory, in bulk.

use super::placing::OrderPath;
use super::store::Settle;
use crate::events::relay;
use crate::kernel::error::StoreError;
use crate::kernel::problem::TypedError;
use crate::modules::inventory::api::{InventoryError, SettleInput};
use crate::observe::trace::{Kind, Span};
use crate::rpc::context::Cx;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

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
    let read = async || {
        let open = path.store.unsettled().await?;
        Ok((!open.is_empty()).then_some(open))
    };
    let work = async |open| settle_some(&path, open).await;
    let failed = |cause: SettleError| tracing::warn!(%cause, "reservations not settled; will try again");
    relay::run(path.store.lease("settlement"), || path.store.committed(), read, work, failed, stop).await;
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

async fn settle_some(path: &OrderPath, open: Vec<(Uuid, Settle)>) -> Result<bool, SettleError> {
    let with = |wanted: Settle| open.iter().filter(|(_, settle)| *settle == wanted).map(|(number, _)| *number).collect();
    let input = SettleInput { commit: with(Settle::Commit), release: with(Settle::Release) };
    let cx = Cx::module("order", BUDGET);
    let settled = path.inventory.settle(&cx, input).await?;
    let done: Vec<_> = open.into_iter().filter(|(number, _)| settled.contains(number)).collect();
    if done.is_empty() {
        return Err(SettleError::None);
    }
    path.store.settled(done).await?;
    Ok(true)
}
