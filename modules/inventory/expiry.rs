//! A reservation that nobody ends: order is asked what became of it, and it is ended accordingly.

use super::store::StockStore;
use crate::kernel::error::StoreError;
use crate::kernel::problem::TypedError;
use crate::modules::order::api::{OrderApi, OrderError, OrderStatus};
use crate::rpc::context::Cx;
use crate::runtime::LazyRef;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const EVERY: Duration = Duration::from_secs(1);
const BUDGET: Duration = Duration::from_secs(5);

/// Looks for expired reservations until told to stop.
pub(super) async fn run(store: Arc<dyn StockStore>, order: LazyRef<dyn OrderApi>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        if let Some(order) = order.get()
            && let Err(cause) = round(store.as_ref(), order.as_ref()).await
        {
            tracing::warn!(%cause, "expired reservations not looked into; will try again");
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn round(store: &dyn StockStore, order: &dyn OrderApi) -> Result<(), StoreError> {
    for number in store.expired().await? {
        end(store, order, number).await?;
    }
    Ok(())
}

async fn end(store: &dyn StockStore, order: &dyn OrderApi, number: Uuid) -> Result<(), StoreError> {
    let cx = Cx::module("inventory", BUDGET);
    match order.status_of(&cx, number).await {
        Ok(OrderStatus::Placed) => {
            if let Err(cause) = store.commit(number).await {
                tracing::error!(order_number = %number, cause = cause.for_log(), "a placed order's reservation could not be committed");
            }
        }
        Ok(OrderStatus::Pending) => store.extend(number).await?,
        Ok(OrderStatus::Rejected | OrderStatus::Cancelled) | Err(OrderError::UnknownNumber { .. }) => {
            tracing::info!(order_number = %number, "reservation expired and was released");
            store.release(number, cx.trace).await?;
        }
        Err(cause) => {
            tracing::warn!(order_number = %number, cause = cause.for_log(), "order cannot be asked about a reservation; it stays held");
            store.extend(number).await?;
        }
    }
    Ok(())
}
