//! Product's document store.

mod id;
#[cfg(feature = "mongodb")]
pub(super) mod mongodb;
#[cfg(feature = "sqlite")]
mod sqlite;
mod types;

use crate::kernel::error::StartError;
use crate::settings::{DocumentStoreUrl, Settings};
pub(super) use id::IdGenerator;
use prometheus::Registry;
#[cfg(feature = "sqlite")]
pub use sqlite::MIGRATIONS as SQLITE_MIGRATIONS;
use std::sync::Arc;
pub(super) use types::ProductStore;

/// Opens or creates the store that the settings name.
pub(super) fn open(settings: &Settings, metrics: &Registry) -> Result<Arc<dyn ProductStore>, StartError> {
    #[cfg(not(feature = "sqlite"))]
    let _ = metrics;
    Ok(match settings.document_store_url("product")? {
        #[cfg(feature = "sqlite")]
        DocumentStoreUrl::Sqlite(path) => Arc::new(sqlite::SqliteProducts::open(&path, metrics)?),
        #[cfg(feature = "mongodb")]
        DocumentStoreUrl::MongoDb(url) => Arc::new(mongodb::MongoProducts::open(&url, settings)?),
    })
}
