//! Product's data for the audit command.

use super::api::Product;
use super::events::{CREATED, DELETED};
#[cfg(feature = "mongodb")]
use super::store::mongodb::MongoProducts;
use crate::data::Snapshot;
use crate::events::event::Event;
use crate::events::sqlite::outbox;
use crate::kernel::error::StoreError;
use crate::modules::invariants::{Violation, violation};
#[cfg(feature = "mongodb")]
use crate::settings::{Secret, Settings};
use diesel::sql_types::{BigInt, Text};
use std::collections::BTreeSet;

pub use super::store::SQLITE_MIGRATIONS;

#[derive(diesel::QueryableByName)]
struct ProductRow {
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = Text)]
    sku_code: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = BigInt)]
    version: i64,
    #[diesel(sql_type = Text)]
    doc: String,
}

#[derive(diesel::QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

/// Ids of products by what their published events say.
#[derive(Debug, Default)]
pub struct Published {
    created: BTreeSet<String>,
    deleted: BTreeSet<String>,
}

impl Published {
    pub fn add(&mut self, event: Event) {
        match event.kind.as_str() {
            CREATED => self.created.insert(event.subject),
            DELETED => self.deleted.insert(event.subject),
            _ => false,
        };
    }
}

/// Number of products, number of their events in the outbox, and violations.
pub fn check_files(snapshot: &mut Snapshot, mut published: Published) -> Result<(i64, i64, Vec<Violation>), StoreError> {
    let (mut products, mut violations) = (0, Vec::new());
    // the product is gone before the bus has the event
    outbox::for_each_undelivered(snapshot, |event| published.add(event))?;
    published.created.retain(|id| !published.deleted.contains(id));
    for row in snapshot.stream::<ProductRow>("SELECT id, sku_code, name, version, doc FROM products")? {
        let row = row?;
        products += 1;
        published.created.remove(&row.id);
        if published.deleted.contains(&row.id) {
            violations.push(violation("INV-5", format!("{DELETED} of product {} was published, but the product is there", row.id)));
        }
        violations.extend(contradiction(&row).map(|what| violation("DATA", format!("product {} {what}", row.id))));
    }
    let lost = |id: &String| violation("INV-5", format!("{CREATED} of product {id} was published, but there is no such product"));
    violations.extend(published.created.iter().map(lost));
    let pending: i64 = snapshot.rows::<Count>("SELECT count(*) AS n FROM outbox")?.iter().map(|row| row.n).sum();
    Ok((products, pending, violations))
}

/// The columns repeat fields of the document, for queries.
fn contradiction(row: &ProductRow) -> Option<String> {
    let Ok(product) = serde_json::from_str::<Product>(&row.doc) else { return Some("has an unreadable document".into()) };
    let fields = [("id", &row.id, &product.id), ("SKU", &row.sku_code, &product.sku_code), ("name", &row.name, &product.name)];
    if let Some((field, column, document)) = fields.into_iter().find(|(_, column, document)| column != document) {
        return Some(format!("has the {field} `{column}` in its column, and `{document}` in its document"));
    }
    if product.price.is_negative() {
        return Some(format!("has the price {}", product.price));
    }
    (row.version < 1).then(|| format!("has the version {}", row.version))
}

/// Number of products, and number of their pending events.
#[cfg(feature = "mongodb")]
pub fn count_documents(url: &Secret, settings: &Settings) -> Result<(i64, i64), StoreError> {
    MongoProducts::count(url, settings)
}
