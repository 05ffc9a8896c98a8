//! Documents in MongoDB: the collection `products`. `src/events/mongodb/outbox.rs` describes how a change
//! carries its event, `document.rs` the documents' form.

mod document;

use crate::data::mongodb::{Db, Index};
use crate::events::bus::Outbox;
use crate::events::event::Event;
use crate::events::mongodb::outbox;
use crate::events::mongodb::outbox::MongoOutbox;
use crate::kernel::error::StoreError;
use crate::kernel::money::Money;
use crate::kernel::page::PageRequest;
use crate::modules::product::api::Product;
use crate::modules::product::store::types::ProductStore;
use crate::settings::{Secret, Settings};
use ::mongodb::bson::oid::ObjectId;
use ::mongodb::bson::{Document, doc};
use async_trait::async_trait;
use futures_util::TryStreamExt;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

const COLLECTION: &str = "products";

/// Deleted documents have no SKU code, so they do not block its reuse.
const INDEXES: [Index; 2] = [Index { field: "skuCode", unique: true }, Index { field: outbox::PENDING_SINCE, unique: false }];

/// See [`ProductStore`].
pub(in crate::modules::product) struct MongoProducts {
    db: Db,
}

impl MongoProducts {
    /// Waits for the server, then creates or checks the indexes.
    pub(super) fn open(url: &Secret, settings: &Settings) -> Result<Self, StoreError> {
        Ok(Self { db: Db::open(url, "product", settings, COLLECTION, &INDEXES)? })
    }

    /// Number of products and of pending events, for the audit. Blocks; read-only.
    #[cfg(feature = "sqlite")]
    pub(in crate::modules::product) fn count(url: &Secret, settings: &Settings) -> Result<(i64, i64), StoreError> {
        let db = Db::open_without_checks(url, "product", settings)?;
        db.clone().block_on(async move {
            let products = db.collection(COLLECTION);
            let total = db.read("count", async move { products.count_documents(all()).await }).await?;
            Ok((total as i64, outbox::count_pending(&db, COLLECTION).await?))
        })?
    }

    /// Ordered by id, which has an index.
    async fn find(&self, filter: Document, skip: u64, limit: i64) -> Result<Vec<Product>, StoreError> {
        let products = self.db.collection(COLLECTION);
        let found = self.db.read("find", async move {
            products.find(filter).sort(doc! { "_id": 1 }).skip(skip).limit(limit).await?.try_collect::<Vec<_>>().await
        });
        found.await?.iter().map(|document| document::read(document).map(|(product, _)| product)).collect()
    }

    /// Updates one document that is not deleted; `false` if none matches.
    async fn update(&self, mut filter: Document, update: Document) -> Result<bool, StoreError> {
        filter.extend(outbox::not_deleted());
        let products = self.db.collection(COLLECTION);
        let result = self.db.write("update", async move { products.update_one(filter, update).await });
        result.await.map(|result| result.matched_count == 1)
    }
}

/// Parses an id in the form that this module generates; `None` for any other form.
fn object_id(id: &str) -> Option<ObjectId> {
    ObjectId::parse_str(id).ok().filter(|parsed| parsed.to_hex() == id)
}

/// Matches documents of this version. Those of the Spring service have none, or null: version 0.
fn equal_version(version: i64) -> Document {
    if version == 0 {
        doc! { "$in": [0_i64, null] }
    } else {
        doc! { "$eq": version }
    }
}

/// All products, by the index of SKU codes, so that a count reads no documents.
fn all() -> Document {
    doc! { "skuCode": { "$gte": "" } }
}

/// All products that are not deleted, or those with `q` in their SKU code or name.
fn matching(q: Option<&str>) -> Document {
    let mut filter = outbox::not_deleted();
    if let Some(pattern) = q.map(regex_pattern) {
        filter.insert("$or", [doc! { "name": { "$regex": &pattern } }, doc! { "skuCode": { "$regex": &pattern } }]);
    }
    filter
}

/// A regular expression for this text. Only ASCII letters are case-insensitive, as in SQLite's LIKE.
fn regex_pattern(text: &str) -> String {
    let mut pattern = String::new();
    for c in text.chars() {
        let _ = match c {
            c if c.is_ascii_alphabetic() => write!(pattern, "[{}{}]", c.to_ascii_lowercase(), c.to_ascii_uppercase()),
            c if c.is_ascii_punctuation() => write!(pattern, "\\{c}"),
            c if c.is_ascii_control() => write!(pattern, "\\x{:02x}", c as u32),
            c => write!(pattern, "{c}"),
        };
    }
    pattern
}

#[async_trait(?Send)]
impl ProductStore for MongoProducts {
    async fn page(&self, request: PageRequest, q: Option<String>) -> Result<(Vec<Product>, i64), StoreError> {
        let found = self.find(matching(q.as_deref()), request.offset().unsigned_abs(), request.size.into()).await?;
        let counted = if q.is_some() { matching(q.as_deref()) } else { all() };
        let products = self.db.collection(COLLECTION);
        let total = self.db.read("count", async move { products.count_documents(counted).await }).await?;
        Ok((found, total as i64))
    }

    async fn following(&self, after: &str, count: u32, q: Option<String>) -> Result<Vec<Product>, StoreError> {
        let Some(after) = object_id(after) else { return Ok(Vec::new()) };
        let mut filter = matching(q.as_deref());
        filter.insert("_id", doc! { "$gt": after });
        self.find(filter, 0, count.into()).await
    }

    async fn get(&self, id: &str) -> Result<Option<(Product, i64)>, StoreError> {
        let Some(id) = object_id(id) else { return Ok(None) };
        let mut filter = doc! { "_id": id };
        filter.extend(outbox::not_deleted());
        let products = self.db.collection(COLLECTION);
        let found = self.db.read("find", async move { products.find_one(filter).await }).await?;
        found.as_ref().map(document::read).transpose()
    }

    async fn prices(&self, sku_codes: Vec<String>) -> Result<BTreeMap<String, Money>, StoreError> {
        let products = self.db.collection(COLLECTION);
        let found = self.db.read("find", async move {
            let fields = doc! { "schema": 1, "skuCode": 1, "price": 1 };
            products.find(doc! { "skuCode": { "$in": sku_codes } }).projection(fields).await?.try_collect::<Vec<_>>().await
        });
        found.await?.iter().map(document::price).collect()
    }

    async fn insert(&self, product: Product, event: Event) -> Result<bool, StoreError> {
        let Some(id) = object_id(&product.id) else { return Err(StoreError::Internal(format!("{} is not an ObjectId", product.id))) };
        let mut document = doc! { "_id": id };
        document.extend(document::fields(&product)?);
        document.extend(outbox::initial_fields(&event)?);
        let products = self.db.collection(COLLECTION);
        match self.db.write("insert", async move { products.insert_one(document).await }).await {
            Ok(_) => Ok(true),
            Err(StoreError::DuplicateKey(_)) => Ok(false),
            Err(other) => Err(other),
        }
    }

    async fn replace(&self, product: Product, version: i64, event: Event) -> Result<Option<bool>, StoreError> {
        let Some(id) = object_id(&product.id) else { return Ok(Some(false)) };
        let mut update = outbox::update_operators(&event)?;
        update.insert("$set", document::fields(&product)?);
        if product.description.is_none() {
            update.insert("$unset", doc! { "description": "" });
        }
        match self.update(doc! { "_id": id, "version": equal_version(version) }, update).await {
            Ok(replaced) => Ok(Some(replaced)),
            Err(StoreError::DuplicateKey(_)) => Ok(None),
            Err(other) => Err(other),
        }
    }

    async fn delete(&self, id: &str, version: i64, event: Event) -> Result<bool, StoreError> {
        let Some(id) = object_id(id) else { return Ok(false) };
        let mut update = outbox::update_operators(&event)?;
        update.insert("$set", doc! { "deleted": true });
        update.insert("$unset", doc! { "skuCode": "" });
        self.update(doc! { "_id": id, "version": equal_version(version) }, update).await
    }

    fn outbox(&self) -> Arc<dyn Outbox> {
        Arc::new(MongoOutbox { db: self.db.clone(), module: "product", collection: COLLECTION })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regex_pattern_escapes_text_and_ignores_ascii_case() {
        assert_eq!(regex_pattern("aZ9 é.*%\u{1}"), "[aA][zZ]9 é\\.\\*\\%\\x01");
    }

    #[test]
    fn object_id_other_than_24_lower_case_hex_digits_is_none() {
        let id = "0123456789abcdef01234567";
        assert_eq!(object_id(id).map(|id| id.to_hex()).as_deref(), Some(id));
        for invalid in ["", "1", "0123456789ABCDEF01234567", "0123456789abcdef0123456g", "0123456789abcdef012345678"] {
            assert_eq!(object_id(invalid), None, "{invalid}");
        }
    }
}
