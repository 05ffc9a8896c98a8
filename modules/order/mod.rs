//! Order owns orders and brings each one to an end state.
//!
//! Guarantees, across any crash: an accepted order is never lost, one idempotency key creates one order (INV-3),
//! and every order reaches an end state (INV-4). Order calls product for prices and inventory for stock.

pub use crate::modules::contracts::order as api;

pub mod audit;
mod events;
mod metrics;
mod placing;
mod recovery;
mod service;
mod settlement;
mod store;

pub use events::describe;
pub use store::STORE;

use crate::kernel::error::StartError;
use crate::modules::contracts::inventory::InventoryApi;
use crate::modules::contracts::product::ProductApi;
use crate::runtime::{Host, Parts};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Opens the store; builds the service and its workers.
pub fn build(
    host: &Host,
    product: Arc<dyn ProductApi>,
    inventory: Arc<dyn InventoryApi>,
) -> Result<(Arc<dyn api::OrderApi>, Parts), StartError> {
    let settings = &host.settings.order;
    let mut parts = Parts::default();
    let store = store::open(&host.settings, &host.metrics, &mut parts)?;
    let metrics = metrics::OrderMetrics::new(&host.metrics)?;
    let peer_timeout = Duration::from_millis(settings.peer_timeout_ms);
    let path = Arc::new(placing::OrderPath { store, product, inventory, metrics, peer_timeout });
    let service: Arc<dyn api::OrderApi> = Arc::new(service::OrderService::new(path.clone(), settings.max_lines));
    parts.endpoints = api::OrderClient::endpoints(service.clone());
    parts.outbox("order-outbox", path.store.outbox(), host.bus()?);
    let (recovering, hours) = (path.clone(), settings.idempotency_hours);
    parts.worker("order-recovery", move |stop| recovery::run(recovering, hours, stop));
    let settling = path.clone();
    parts.worker("order-settlement", move |stop| settlement::run(settling, stop));
    let gauges = path.clone();
    parts.worker("order-gauges", move |stop| async move { gauges.metrics.refresh_periodically(gauges.store.clone(), stop).await });
    parts.check("orderStore", move || {
        let path = path.clone();
        async move {
            let stats = path.store.unfinished_stats().await?;
            let outbox = path.store.outbox().pending().await?;
            Ok(json!({ "pending": stats.pending, "unsettled": stats.unsettled, "outbox": outbox }))
        }
    });
    Ok((service, parts))
}
