//! Product owns the catalogue: what can be bought, under which SKU code, at which price.
//!
//! It promises unique SKU codes, prices that are exact decimals, and a version for each document, so
//! that of two editors the second is told. It depends on no peer. Products are documents: in SQLite
//! a JSON column, in MongoDB a document.

pub mod api;

#[cfg(all(feature = "product", feature = "sqlite"))]
pub mod audit;
#[cfg(feature = "product")]
mod events;
#[cfg(feature = "product")]
mod service;
#[cfg(feature = "product")]
mod store;

#[cfg(feature = "product")]
pub use build::build;
#[cfg(feature = "product")]
pub use events::describe;

#[cfg(feature = "product")]
mod build {
    use super::{api, service, store};
    use crate::kernel::error::StartError;
    use crate::runtime::{Host, Parts};
    use serde_json::json;
    use std::sync::Arc;

    /// Opens the store and builds the service with what runs beside it.
    pub fn build(host: &Host) -> Result<(Arc<dyn api::ProductApi>, Parts), StartError> {
        let store = store::open(&host.settings, &host.metrics)?;
        let service: Arc<dyn api::ProductApi> = Arc::new(service::ProductService::new(store.clone()));
        let mut parts = Parts { endpoints: api::ProductClient::endpoints(service.clone()), ..Parts::default() };
        parts.outbox("product-outbox", store.outbox(), host.bus()?);
        parts.check("productStore", move || {
            let store = store.clone();
            async move { Ok(json!({ "outbox": store.outbox().waiting().await? })) }
        });
        Ok((service, parts))
    }
}
