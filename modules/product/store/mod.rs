//! Where product keeps its documents.

#[cfg(feature = "mongodb")]
pub(super) mod mongodb;
#[cfg(feature = "sqlite")]
pub(super) mod sqlite;

use super::api::Product;
use crate::events::bus::Outbox;
use crate::events::event::Event;
use crate::kernel::clock;
use crate::kernel::error::StartError;
use crate::kernel::error::StoreError;
use crate::kernel::money::Money;
use crate::kernel::page::PageRequest;
use crate::settings::{DocumentsUrl, Settings};
use async_trait::async_trait;
use prometheus::Registry;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Opens or creates it, where settings say.
pub(super) fn open(settings: &Settings, metrics: &Registry) -> Result<Arc<dyn ProductStore>, StartError> {
    #[cfg(not(feature = "sqlite"))]
    let _ = metrics;
    Ok(match settings.documents("product")? {
        #[cfg(feature = "sqlite")]
        DocumentsUrl::Sqlite(path) => Arc::new(sqlite::SqliteProducts::open(&path, metrics)?),
        #[cfg(feature = "mongodb")]
        DocumentsUrl::MongoDb(url) => Arc::new(mongodb::MongoProducts::open(&url, settings)?),
    })
}

/// Documents with a unique SKU code and a version. Every change carries its event and is durable
/// with it, or not at all.
#[async_trait(?Send)]
pub(super) trait ProductStore: Send + Sync {
    /// A page by id, and how many there are; with `q`, of those whose SKU code or name contains it.
    async fn page(&self, request: PageRequest, q: Option<String>) -> Result<(Vec<Product>, i64), StoreError>;
    /// So many by id, from behind this one on, be it there or not; with `q`, as above.
    async fn following(&self, after: &str, count: u32, q: Option<String>) -> Result<Vec<Product>, StoreError>;
    /// One document and its version.
    async fn get(&self, id: &str) -> Result<Option<(Product, i64)>, StoreError>;
    /// Prices by SKU code, of those that exist.
    async fn prices(&self, sku_codes: Vec<String>) -> Result<BTreeMap<String, Money>, StoreError>;
    /// Adds a document; `false` where its SKU code is taken.
    async fn insert(&self, product: Product, event: Event) -> Result<bool, StoreError>;
    /// Replaces a document of this version; `Some(false)` where it has another one by now, `None`
    /// where the new SKU code is taken.
    async fn replace(&self, product: Product, version: i64, event: Event) -> Result<Option<bool>, StoreError>;
    /// Removes a document; `false` where there is none.
    async fn delete(&self, id: &str, event: Event) -> Result<bool, StoreError>;
    /// Its outbox.
    fn outbox(&self) -> Arc<dyn Outbox>;
}

/// Makes ids in the form of MongoDB's ObjectId: 4 bytes of seconds, 5 random ones a process, a counter.
pub(super) struct NewId {
    process: u64,
    counter: AtomicU32,
}

impl Default for NewId {
    fn default() -> Self {
        Self { process: rand::random_range(0..=0xff_ffff_ffff), counter: AtomicU32::new(rand::random()) }
    }
}

impl NewId {
    /// 24 hex digits.
    pub(super) fn next(&self) -> String {
        let seconds = (clock::now_ms() / 1000) as u32;
        let count = self.counter.fetch_add(1, Ordering::Relaxed) & 0xff_ffff;
        format!("{seconds:08x}{:010x}{count:06x}", self.process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_object_ids_and_differ() {
        let ids = NewId::default();
        let (a, b) = (ids.next(), ids.next());
        assert!(a != b && a.len() == 24 && a.bytes().all(|c| c.is_ascii_hexdigit()));
    }
}
