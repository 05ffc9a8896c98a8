//! The store's interface.

use crate::events::bus::Outbox;
use crate::events::event::Event;
use crate::kernel::error::StoreError;
use crate::kernel::money::Money;
use crate::kernel::page::PageRequest;
use crate::modules::product::api::Product;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Documents with a unique SKU code and a version. Every change carries its event and is durable
/// with it, or not at all.
#[async_trait(?Send)]
pub(in crate::modules::product) trait ProductStore: Send + Sync {
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
