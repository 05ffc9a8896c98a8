//! What runs behind the order path: orders left PENDING are driven to their end, and what was
//! decided is settled with inventory, in bulk.

use super::placing::OrderPath;
use crate::kernel::error::StoreError;
use crate::kernel::problem::TypedError;
use crate::observe::trace::{Kind, Span};
use crate::rpc::context::Cx;
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
