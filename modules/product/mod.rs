//! Product owns the catalogue: products with their SKU codes and prices.
//!
//! It guarantees unique SKU codes, exact decimal prices, and a version per document, so that of two
//! concurrent edits the second is rejected. It depends on no peer. Products are documents: a JSON column in
//! SQLite, a document in MongoDB.

pub use crate::modules::contracts::product as api;

#[cfg(feature = "sqlite")]
pub mod audit;
mod events;
mod service;
mod store;

pub use events::describe;

use crate::kernel::error::StartError;
use crate::runtime::{Host, Parts};
use serde_json::json;
use std::sync::Arc;

/// Opens the store and builds the service and its background workers.
pub fn build(host: &Host) -> Result<(Arc<dyn api::ProductApi>, Parts), StartError> {
    let store = store::open(&host.settings, &host.metrics)?;
    let service: Arc<dyn api::ProductApi> = Arc::new(service::ProductService::new(store.clone()));
    let mut parts = Parts { endpoints: api::ProductClient::endpoints(service.clone()), ..Parts::default() };
    parts.outbox("product-outbox", store.outbox(), host.bus()?);
    parts.check("productStore", move || {
        let store = store.clone();
        async move { Ok(json!({ "outbox": store.outbox().pending().await? })) }
    });
    Ok((service, parts))
}
