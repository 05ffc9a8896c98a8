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

/// Documents with a unique SKU code and a version. A change and its event are written atomically.
#[async_trait(?Send)]
pub(in crate::modules::product) trait ProductStore: Send + Sync {
    /// A page ordered by id, and the total number; with `q`, only products with it in their SKU code or name.
    async fn page(&self, request: PageRequest, q: Option<String>) -> Result<(Vec<Product>, i64), StoreError>;
    /// Up to `count` products after this id, which need not exist; with `q`, as in `page`.
    async fn following(&self, after: &str, count: u32, q: Option<String>) -> Result<Vec<Product>, StoreError>;
    /// One document and its version.
    async fn get(&self, id: &str) -> Result<Option<(Product, i64)>, StoreError>;
    /// Prices by SKU code; unknown ones are left out.
    async fn prices(&self, sku_codes: Vec<String>) -> Result<BTreeMap<String, Money>, StoreError>;
    /// Adds a document; `false` if its SKU code is taken.
    async fn insert(&self, product: Product, event: Event) -> Result<bool, StoreError>;
    /// Replaces a document of this version; `Some(false)` if it has another version, `None` if the new SKU
    /// code is taken.
    async fn replace(&self, product: Product, version: i64, event: Event) -> Result<Option<bool>, StoreError>;
    /// Removes a document of this version; `false` if it does not exist or has another version.
    async fn delete(&self, id: &str, version: i64, event: Event) -> Result<bool, StoreError>;
    fn outbox(&self) -> Arc<dyn Outbox>;
}
