//! Settlement: commits and releases reservations in inventory as the orders were decided, in batches.

use super::placing::OrderPath;
use super::store::PendingReservationAction;
use crate::events::relay;
use crate::kernel::error::StoreError;
use crate::kernel::problem::TypedError;
use crate::modules::contracts::inventory::{InventoryError, SettleInput};
use crate::rpc::context::Cx;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Per batch.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Settlement is idempotent, but each further process would repeat inventory's work under load. A lease
/// lets one process settle at a time. (Recovery needs no such lease: each order has its own.)
pub(super) async fn run(path: Arc<OrderPath>, stop: CancellationToken) {
    let read = async || {
        let actions = path.store.pending_actions().await?;
        Ok((!actions.is_empty()).then_some(actions))
    };
    let work = async |actions| settle_batch(&path, actions).await;
    let failed = |cause: SettlementError| tracing::warn!(%cause, "reservations not settled; will retry");
    relay::run(path.store.lease("settlement"), || path.store.next_commit(), read, work, failed, stop).await;
}

#[derive(Debug, thiserror::Error)]
pub(super) enum SettlementError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{}", .0.for_log())]
    Inventory(#[from] InventoryError),
    #[error("inventory settled no reservation of the batch: all are unknown to it, or were cancelled since")]
    NoneSettled,
}

async fn settle_batch(path: &OrderPath, actions: Vec<(Uuid, PendingReservationAction)>) -> Result<bool, SettlementError> {
    let orders_to =
        |wanted: PendingReservationAction| actions.iter().filter(|(_, action)| *action == wanted).map(|(number, _)| *number).collect();
    let input = SettleInput { commit: orders_to(PendingReservationAction::Commit), release: orders_to(PendingReservationAction::Release) };
    let cx = Cx::module("order", TIMEOUT);
    let settled = path.inventory.settle(&cx, input).await?;
    let done: Vec<_> = actions.into_iter().filter(|(number, _)| settled.contains(number)).collect();
    if done.is_empty() {
        return Err(SettlementError::NoneSettled);
    }
    path.store.mark_done(done).await?;
    Ok(true)
}

impl OrderPath {
    /// Releases a cancelled order's stock at once. If that fails, settlement releases it later.
    pub(super) async fn release_stock(&self, cx: &Cx, number: Uuid) {
        let release = async {
            self.inventory.release(cx, number).await?;
            self.store.mark_done(vec![(number, PendingReservationAction::Release)]).await?;
            Ok::<_, SettlementError>(())
        };
        if let Err(cause) = release.await {
            tracing::warn!(order_number = %number, %cause, "stock of a cancelled order not released; settlement will retry");
        }
    }
}
