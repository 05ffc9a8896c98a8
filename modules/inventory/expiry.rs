//! Resolves expired reservations: commits, extends or releases them by the state of their order.

use super::store::StockStore;
use crate::kernel::error::StoreError;
use crate::kernel::problem::TypedError;
use crate::modules::contracts::order::{OrderApi, OrderError, OrderStatus};
use crate::rpc::context::Cx;
use crate::runtime::LazyRef;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Deadline of one call to order.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Resolves expired reservations periodically until `stop`.
pub(super) async fn run(store: Arc<dyn StockStore>, order: LazyRef<dyn OrderApi>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        if let Some(order) = order.get()
            && let Err(cause) = resolve_expired(store.as_ref(), order.as_ref()).await
        {
            tracing::warn!(%cause, "expired reservations not resolved; will retry");
        }
        tokio::select! {
            () = tokio::time::sleep(POLL_INTERVAL) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn resolve_expired(store: &dyn StockStore, order: &dyn OrderApi) -> Result<(), StoreError> {
    for number in store.expired().await? {
        resolve(store, order, number).await?;
    }
    Ok(())
}

async fn resolve(store: &dyn StockStore, order: &dyn OrderApi, number: Uuid) -> Result<(), StoreError> {
    let cx = Cx::module("inventory", CALL_TIMEOUT);
    match order.status_of(&cx, number).await {
        Ok(OrderStatus::Placed) => {
            if let Err(cause) = store.commit(number).await {
                tracing::error!(order_number = %number, cause = cause.for_log(), "reservation of a placed order could not be committed");
            }
        }
        Ok(OrderStatus::Pending) => store.extend(number).await?,
        Ok(OrderStatus::Rejected | OrderStatus::Cancelled) | Err(OrderError::UnknownNumber { .. }) => {
            tracing::info!(order_number = %number, "expired reservation released");
            store.release(number, cx.trace).await?;
        }
        Err(cause) => {
            tracing::warn!(order_number = %number, cause = cause.for_log(), "order state unavailable; reservation stays held");
            store.extend(number).await?;
        }
    }
    Ok(())
}
