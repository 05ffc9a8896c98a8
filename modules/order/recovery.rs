//! Recovery: resumes PENDING orders whose process crashed or lost a peer.

use super::placing::OrderPath;
use crate::kernel::error::StoreError;
use crate::kernel::problem::TypedError;
use crate::observe::trace::{Kind, Span};
use crate::rpc::context::Cx;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Per order, all peer calls together.
const TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Rounds between deletions of old idempotency keys.
const KEY_CLEANUP_ROUNDS: u64 = 600;

pub(super) async fn run(path: Arc<OrderPath>, idempotency_hours: u64, stop: CancellationToken) {
    let mut rounds: u64 = 0;
    while !stop.is_cancelled() {
        if let Err(cause) = recover_orders(&path).await {
            tracing::warn!(%cause, "order recovery failed; will retry");
        }
        if rounds.is_multiple_of(KEY_CLEANUP_ROUNDS)
            && let Err(cause) = path.store.delete_old_keys(idempotency_hours).await
        {
            tracing::warn!(%cause, "old idempotency keys not deleted");
        }
        rounds += 1;
        tokio::select! {
            () = tokio::time::sleep(POLL_INTERVAL) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn recover_orders(path: &OrderPath) -> Result<(), StoreError> {
    for order in path.store.acquire_expired().await? {
        let number = order.number;
        let mut cx = Cx::module("order", TIMEOUT);
        let parent = order.trace.unwrap_or(cx.trace);
        let span = Span::child(parent, Kind::Internal, || "recover order".into());
        cx.trace = span.trace();
        let outcome = span.scope(path.resume_order(&cx, order)).await;
        let outcome = outcome.map_or_else(|error| error.for_log(), |order| order.status.text().to_string());
        tracing::info!(order_number = %number, outcome, "order resumed");
    }
    Ok(())
}
