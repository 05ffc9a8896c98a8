//! Settlement: commits and releases reservations in inventory as the orders were decided, in bulk.

use super::placing::OrderPath;
use super::store::Settle;
use crate::events::relay;
use crate::kernel::error::StoreError;
use crate::kernel::problem::TypedError;
use crate::modules::inventory::api::{InventoryError, SettleInput};
use crate::rpc::context::Cx;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const BUDGET: Duration = Duration::from_secs(10);

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

impl OrderPath {
    /// Gives a cancelled order's stock back now if inventory answers, from the order's note otherwise.
    pub(super) async fn give_back(&self, cx: &Cx, number: Uuid) {
        let release = async {
            self.inventory.release(cx, number).await?;
            self.store.settled(vec![(number, Settle::Release)]).await?;
            Ok::<_, SettleError>(())
        };
        if let Err(cause) = release.await {
            tracing::warn!(order_number = %number, %cause, "stock of a cancelled order will be given back later");
        }
    }
}
