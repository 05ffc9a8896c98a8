//! Documents in MongoDB: the collection `products`. How a change carries its event stands in
//! `platform/store/mongodb/outbox.rs`, what a document looks like in `document.rs`.

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

/// Where they are.
const COLLECTION: &str = "products";

/// What is deleted has no SKU code any more, and so is in no one's way.
const INDEXES: [Index; 2] = [Index { field: "skuCode", unique: true }, Index { field: outbox::SINCE, unique: false }];

/// See [`ProductStore`].
pub(in crate::modules::product) struct MongoProducts {
    db: Db,
}

impl MongoProducts {
    /// Waits for the server, and creates or checks the indexes.
    pub(super) fn open(url: &Secret, settings: &Settings) -> Result<Self, StoreError> {
        Ok(Self { db: Db::open(url, "product", settings, COLLECTION, &INDEXES)? })
    }

    /// How many products there are, and how many events wait, for the audit. It blocks, and changes nothing.
    #[cfg(feature = "sqlite")]
    pub(in crate::modules::product) fn counted(url: &Secret, settings: &Settings) -> Result<(i64, i64), StoreError> {
        let db = Db::look(url, "product", settings)?;
        db.clone().block(async move {
            let products = db.collection(COLLECTION);
            let there = db.read("count", async move { products.count_documents(all()).await }).await?;
            Ok((there as i64, outbox::waiting(&db, COLLECTION).await?))
        })?
    }

    /// In the order of ids, which have an index.
    async fn find(&self, filter: Document, skip: u64, limit: i64) -> Result<Vec<Product>, StoreError> {
        let products = self.db.collection(COLLECTION);
        let found = self.db.read("find", async move {
            products.find(filter).sort(doc! { "_id": 1 }).skip(skip).limit(limit).await?.try_collect::<Vec<_>>().await
        });
        found.await?.iter().map(|document| document::read(document).map(|(product, _)| product)).collect()
    }

    /// One update of a document that is not deleted; `false` where there is none such.
    async fn update(&self, mut filter: Document, update: Document) -> Result<bool, StoreError> {
        filter.extend(outbox::live());
        let products = self.db.collection(COLLECTION);
        let done = self.db.write("update", async move { products.update_one(filter, update).await });
        done.await.map(|done| done.matched_count == 1)
    }
}

/// An id as we write them; what is none is nobody's.
fn object_id(id: &str) -> Option<ObjectId> {
    ObjectId::parse_str(id).ok().filter(|parsed| parsed.to_hex() == id)
}

/// Every product there is, by the index of SKU codes: it counts them without reading one.
fn all() -> Document {
    doc! { "skuCode": { "$gte": "" } }
}

/// Those that are there; with a text, those whose SKU code or name contains it.
fn matching(q: Option<&str>) -> Document {
    let mut filter = outbox::live();
    if let Some(pattern) = q.map(containing) {
        filter.insert("$or", [doc! { "name": { "$regex": &pattern } }, doc! { "skuCode": { "$regex": &pattern } }]);
    }
    filter
}

/// A pattern that means the text itself, in either case of its ASCII letters and of no others: as SQLite's LIKE.
fn containing(text: &str) -> String {
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
        filter.extend(outbox::live());
        let products = self.db.collection(COLLECTION);
        let found = self.db.read("find", async move { products.find_one(filter).await }).await?;
        found.as_ref().map(document::read).transpose()
    }

    async fn prices(&self, sku_codes: Vec<String>) -> Result<BTreeMap<String, Money>, StoreError> {
        let products = self.db.collection(COLLECTION);
        let found = self.db.read("find", async move {
            let shape = doc! { "schema": 1, "skuCode": 1, "price": 1 };
            products.find(doc! { "skuCode": { "$in": sku_codes } }).projection(shape).await?.try_collect::<Vec<_>>().await
        });
        found.await?.iter().map(document::price).collect()
    }

    async fn insert(&self, product: Product, event: Event) -> Result<bool, StoreError> {
        let Some(id) = object_id(&product.id) else { return Err(StoreError::Broken(format!("{} is no ObjectId", product.id))) };
        let mut document = doc! { "_id": id };
        document.extend(document::fields(&product)?);
        document.extend(outbox::first(&event)?);
        let products = self.db.collection(COLLECTION);
        match self.db.write("insert", async move { products.insert_one(document).await }).await {
            Ok(_) => Ok(true),
            Err(StoreError::Taken(_)) => Ok(false),
            Err(other) => Err(other),
        }
    }

    async fn replace(&self, product: Product, version: i64, event: Event) -> Result<Option<bool>, StoreError> {
        let Some(id) = object_id(&product.id) else { return Ok(Some(false)) };
        let mut update = outbox::next(&event)?;
        update.insert("$set", document::fields(&product)?);
        if product.description.is_none() {
            update.insert("$unset", doc! { "description": "" });
        }
        // null: what was written before there were versions
        let based_on = if version == 0 {
            doc! { "$in": [0_i64, null] }
        } else {
            doc! { "$eq": version }
        };
        match self.update(doc! { "_id": id, "version": based_on }, update).await {
            Ok(done) => Ok(Some(done)),
            Err(StoreError::Taken(_)) => Ok(None),
            Err(other) => Err(other),
        }
    }

    async fn delete(&self, id: &str, event: Event) -> Result<bool, StoreError> {
        let Some(id) = object_id(id) else { return Ok(false) };
        let mut update = outbox::next(&event)?;
        update.insert("$set", doc! { "deleted": true });
        update.insert("$unset", doc! { "skuCode": "" });
        self.update(doc! { "_id": id }, update).await
    }

    fn outbox(&self) -> Arc<dyn Outbox> {
        Arc::new(MongoOutbox { db: self.db.clone(), module: "product", collection: COLLECTION })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_looked_for_as_itself_in_either_case_of_ascii() {
        assert_eq!(containing("aZ9 é.*%\u{1}"), "[aA][zZ]9 é\\.\\*\\%\\x01");
    }

    #[test]
    fn an_id_is_24_lower_case_hex_digits_or_nobodys() {
        let id = "0123456789abcdef01234567";
        assert_eq!(object_id(id).map(|id| id.to_hex()).as_deref(), Some(id));
        for wrong in ["", "1", "0123456789ABCDEF01234567", "0123456789abcdef0123456g", "0123456789abcdef012345678"] {
            assert_eq!(object_id(wrong), None, "{wrong}");
        }
    }
}
