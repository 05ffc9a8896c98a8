//! Inventory owns stock and its reservations.
//!
//! It guarantees that stock is conserved (INV-1), that a quantity is never negative (INV-2), and that a
//! reservation is held, then committed or released, exactly once, however often the call is repeated. It
//! calls product when stock is created for a SKU, and order before it releases an expired reservation.

pub use crate::modules::contracts::inventory as api;

pub mod audit;
mod events;
mod expiry;
mod metrics;
mod service;
mod store;

pub use events::describe;
pub use store::STORE;

use crate::kernel::error::StartError;
use crate::modules::contracts::order::OrderApi;
use crate::modules::contracts::product::ProductApi;
use crate::runtime::{Host, LazyRef, Parts};
use serde_json::json;
use std::sync::Arc;

/// Opens the store and builds the service and its background workers.
pub fn build(
    host: &Host,
    product: Arc<dyn ProductApi>,
    order: LazyRef<dyn OrderApi>,
) -> Result<(Arc<dyn api::InventoryApi>, Parts), StartError> {
    let mut parts = Parts::default();
    let store = store::open(&host.settings, &host.metrics, &mut parts)?;
    let service: Arc<dyn api::InventoryApi> = Arc::new(service::InventoryService::new(store.clone(), product));
    parts.endpoints = api::InventoryClient::endpoints(service.clone());
    parts.outbox("inventory-outbox", store.outbox(), host.bus()?);
    let (measured, metrics) = (store.clone(), metrics::StockMetrics::new(&host.metrics)?);
    parts.worker("stock-gauges", move |stop| async move { metrics.refresh_periodically(measured, stop).await });
    let expiry_store = store.clone();
    parts.worker("reservation-expiry", move |stop| expiry::run(expiry_store, order, stop));
    parts.check("inventoryStore", move || {
        let store = store.clone();
        async move { Ok(json!({ "outbox": store.outbox().pending().await? })) }
    });
    Ok((service, parts))
}
