//! Documents in SQLite: a JSON column, and columns for the fields that queries filter by.

use super::types::ProductStore;
use crate::data::sqlite::Db;
use crate::data::types;
use crate::events::bus::Outbox;
use crate::events::event::Event;
use crate::events::sqlite::outbox;
use crate::events::sqlite::outbox::SqlOutbox;
use crate::kernel::error::StartError;
use crate::kernel::error::StoreError;
use crate::kernel::money::Money;
use crate::kernel::page::PageRequest;
use crate::modules::product::api::Product;
use async_trait::async_trait;
use diesel::prelude::*;
use diesel::sqlite::Sqlite;
use diesel_async::RunQueryDsl;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use prometheus::Registry;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/product/sqlite");

diesel::table! {
    products (id) {
        id -> Text,
        sku_code -> Text,
        name -> Text,
        version -> BigInt,
        doc -> Text,
    }
}

/// See [`ProductStore`].
pub(in crate::modules::product) struct SqliteProducts {
    db: Db,
}

impl SqliteProducts {
    /// Opens or creates the database and registers its metrics.
    pub(super) fn open(path: &Path, metrics: &Registry) -> Result<Self, StartError> {
        let db = Db::open(path, MIGRATIONS)?;
        db.register_metrics("product", metrics)?;
        Ok(Self { db })
    }
}

type ProductQuery = products::BoxedQuery<'static, Sqlite>;

/// All products, or those with `q` in their SKU code or name.
fn matching(q: Option<&str>) -> ProductQuery {
    let all = products::table.into_boxed();
    let Some(pattern) = q.map(like_pattern) else { return all };
    all.filter(products::name.like(pattern.clone()).escape('\\').or(products::sku_code.like(pattern).escape('\\')))
}

/// A LIKE pattern that matches values containing this text.
fn like_pattern(text: &str) -> String {
    let escaped: String = text.chars().flat_map(|c| if matches!(c, '%' | '_' | '\\') { vec!['\\', c] } else { vec![c] }).collect();
    format!("%{escaped}%")
}

/// The stored document with the fields of this product. It keeps fields that this release does not know: a newer one
/// that runs beside it may have written them.
fn replace_known_fields(stored: &str, product: &Product) -> Result<String, StoreError> {
    // raw values, so that amounts keep their digits
    let mut fields: BTreeMap<String, Box<RawValue>> = types::from_json(stored)?;
    fields.remove("description");
    fields.extend(types::from_json::<BTreeMap<String, Box<RawValue>>>(&types::to_json(product)?)?);
    types::to_json(&fields)
}

#[async_trait(?Send)]
impl ProductStore for SqliteProducts {
    async fn page(&self, request: PageRequest, q: Option<String>) -> Result<(Vec<Product>, i64), StoreError> {
        self.db
            .list(async move |c| {
                let total: i64 = matching(q.as_deref()).count().get_result(c).await?;
                let rows = matching(q.as_deref()).select(products::doc).order(products::id);
                let docs: Vec<String> = rows.limit(i64::from(request.size)).offset(request.offset()).load(c).await?;
                Ok((docs.iter().map(|doc| types::from_json(doc)).collect::<Result<_, _>>()?, total))
            })
            .await
    }

    async fn following(&self, after: &str, count: u32, q: Option<String>) -> Result<Vec<Product>, StoreError> {
        let after = after.to_string();
        self.db
            .list(async move |c| {
                let rows = matching(q.as_deref()).filter(products::id.gt(after.clone())).select(products::doc).order(products::id);
                let docs: Vec<String> = rows.limit(i64::from(count)).load(c).await?;
                docs.iter().map(|doc| types::from_json(doc)).collect()
            })
            .await
    }

    async fn get(&self, id: &str) -> Result<Option<(Product, i64)>, StoreError> {
        let id = id.to_string();
        let row: Option<(String, i64)> = self
            .db
            .read(async move |c| {
                Ok::<_, StoreError>(products::table.find(&id).select((products::doc, products::version)).first(c).await.optional()?)
            })
            .await?;
        row.map(|(doc, version)| Ok((types::from_json(&doc)?, version))).transpose()
    }

    async fn prices(&self, sku_codes: Vec<String>) -> Result<BTreeMap<String, Money>, StoreError> {
        // one by one: a statement with one parameter is compiled once, a statement with a list each time
        let docs: Vec<String> = self.db.read_inline(async |c| {
            let mut docs = Vec::with_capacity(sku_codes.len());
            for sku_code in &sku_codes {
                let row = products::table.filter(products::sku_code.eq(sku_code)).select(products::doc);
                docs.extend(row.first(c).await.optional()?);
            }
            Ok::<_, StoreError>(docs)
        })?;
        let products = docs.iter().map(|doc| types::from_json::<Product>(doc)).collect::<Result<Vec<_>, _>>()?;
        Ok(products.into_iter().map(|p| (p.sku_code, p.price)).collect())
    }

    async fn insert(&self, product: Product, event: Event) -> Result<bool, StoreError> {
        self.db
            .write(async move |c| {
                let row = (
                    products::id.eq(&product.id),
                    products::sku_code.eq(&product.sku_code),
                    products::name.eq(&product.name),
                    products::version.eq(1),
                    products::doc.eq(types::to_json(&product)?),
                );
                if diesel::insert_or_ignore_into(products::table).values(row).execute(c).await? == 0 {
                    return Ok(false);
                }
                outbox::append(c, &event).await?;
                Ok(true)
            })
            .await
    }

    async fn replace(&self, product: Product, version: i64, event: Event) -> Result<Option<bool>, StoreError> {
        let written = self
            .db
            .write(async move |c| {
                let row = products::table.filter(products::id.eq(&product.id).and(products::version.eq(version)));
                let Some(stored) = row.select(products::doc).first::<String>(c).await.optional()? else { return Ok(false) };
                let changes = (
                    products::sku_code.eq(&product.sku_code),
                    products::name.eq(&product.name),
                    products::version.eq(version + 1),
                    products::doc.eq(replace_known_fields(&stored, &product)?),
                );
                if diesel::update(row).set(changes).execute(c).await? == 0 {
                    return Ok(false);
                }
                outbox::append(c, &event).await?;
                Ok(true)
            })
            .await;
        match written {
            Ok(replaced) => Ok(Some(replaced)),
            Err(StoreError::DuplicateKey(_)) => Ok(None),
            Err(other) => Err(other),
        }
    }

    async fn delete(&self, id: &str, version: i64, event: Event) -> Result<bool, StoreError> {
        let id = id.to_string();
        self.db
            .write(async move |c| {
                let row = products::table.filter(products::id.eq(&id).and(products::version.eq(version)));
                if diesel::delete(row).execute(c).await? == 0 {
                    return Ok(false);
                }
                outbox::append(c, &event).await?;
                Ok(true)
            })
            .await
    }

    fn outbox(&self) -> Arc<dyn Outbox> {
        Arc::new(SqlOutbox(self.db.clone(), "product"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_document_keeps_unknown_fields_and_digits() {
        let stored = r#"{"id":"1","skuCode":"a","name":"n","description":"old","price":1.50,"weight":{"grams":2.50}}"#;
        let product = Product { id: "1".into(), sku_code: "a".into(), name: "m".into(), description: None, price: "2.00".parse().unwrap() };
        let replaced = replace_known_fields(stored, &product).unwrap();
        assert!(replaced.contains(r#""weight":{"grams":2.50}"#) && replaced.contains(r#""price":2.00"#), "{replaced}");
        let read: Product = types::from_json(&replaced).unwrap();
        assert_eq!((read.name.as_str(), read.description), ("m", None));
    }
}
