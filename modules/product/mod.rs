//! Product owns the catalogue: what can be bought, under which SKU code, at which price.
//!
//! It promises unique SKU codes, prices that are exact decimals, and a version for each document, so
//! that of two editors the second is told. It depends on no peer. Products are documents: in SQLite
//! a JSON column, in MongoDB a document.

pub mod api;

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
    use crate::config::StoreUrl;
    use crate::platform::host::{Host, Parts, StartError};
    use crate::platform::outbox;
    use serde_json::json;
    use std::sync::Arc;

    /// Opens the store and builds the service with what runs beside it.
    pub fn build(host: &Host) -> Result<(Arc<dyn api::ProductApi>, Parts), StartError> {
        let store = match host.settings.store("product")? {
            StoreUrl::Sqlite(path) => Arc::new(store::sqlite::SqliteProducts::open(&path)?),
            #[cfg(feature = "mysql")]
            StoreUrl::MySql(_) => return Err(StartError("product.store: products are kept in sqlite:// only".into())),
        };
        let service: Arc<dyn api::ProductApi> = Arc::new(service::ProductService::new(store.clone()));
        let mut parts = Parts { endpoints: api::ProductClient::endpoints(service.clone()), ..Parts::default() };
        let (db, bus) = (store.db().clone(), host.bus()?);
        parts.worker("product-outbox", move |stop| outbox::relay(db, bus, stop));
        parts.refused.push(Arc::new(outbox::Kept(store.db().clone(), "product")));
        let db = store.db().clone();
        parts.check("productStore", move || {
            let db = db.clone();
            async move { outbox::waiting(&db).await.map(|n| json!({ "outbox": n })).map_err(|e| e.to_string()) }
        });
        Ok((service, parts))
    }
}
