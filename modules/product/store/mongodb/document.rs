//! A product as a document, in all schema versions.
//!
//! | `schema` | form | written by |
//! | --- | --- | --- |
//! | none | no `version`; the price is any numeric type or a string | the Spring service, a user's shell |
//! | 1 | see [`fields`]: the price is a Decimal128, with a `version` | this build |
//!
//! Old forms are readable; a change writes the current form. A new field does not raise the number: readers
//! ignore unknown fields, and changes preserve them. Only a form that this build would misread raises it. Such a
//! document fails with 503: during a rolling update another instance may be able to read it, and an error is
//! better than a wrong price. Its events are still delivered; their form does not depend on the number.

use crate::kernel::error::StoreError;
use crate::kernel::money::{Money, MoneyError};
use crate::modules::product::api::Product;
use ::mongodb::bson::{Bson, Decimal128, Document, doc};

/// The schema version that this build writes.
const SCHEMA: i64 = 1;

/// A product's fields, for an insert and for `$set`.
pub(super) fn fields(product: &Product) -> Result<Document, StoreError> {
    let price: Decimal128 = product.price.to_string().parse().map_err(|e| StoreError::Internal(format!("a price does not fit: {e}")))?;
    let mut fields = doc! { "schema": SCHEMA as i32, "skuCode": &product.sku_code, "name": &product.name, "price": price };
    if let Some(text) = &product.description {
        fields.insert("description", text);
    }
    Ok(fields)
}

/// A product and its version.
pub(super) fn read(document: &Document) -> Result<(Product, i64), StoreError> {
    let id = document.get_object_id("_id").map_err(|e| malformed(document, &e))?.to_hex();
    let text = |field: &str| document.get_str(field).map(str::to_string);
    let (sku_code, price) = price(document)?;
    let name = text("name").map_err(|e| malformed(document, &e))?;
    let version = document.get("version").and_then(integer).unwrap_or_default();
    Ok((Product { id, sku_code, name, description: text("description").ok(), price }, version))
}

/// SKU code and price only.
pub(super) fn price(document: &Document) -> Result<(String, Money), StoreError> {
    let schema = document.get("schema").map_or(Some(0), integer).ok_or_else(|| malformed(document, &"schema is not a number"))?;
    if schema > SCHEMA {
        let id = document.get_object_id("_id").map(|id| id.to_hex()).unwrap_or_default();
        let cause = format!(
            "product {id} was written by a newer build (schema {schema}; this build supports up to {SCHEMA}): update this instance"
        );
        return Err(StoreError::Unavailable { store: "product".into(), cause });
    }
    let sku_code = document.get_str("skuCode").map_err(|e| malformed(document, &e))?.to_string();
    let price = match document.get("price") {
        Some(Bson::Decimal128(price)) => price.to_string(),
        Some(Bson::String(price)) if schema == 0 => price.clone(),
        Some(Bson::Int32(price)) if schema == 0 => price.to_string(),
        Some(Bson::Int64(price)) if schema == 0 => price.to_string(),
        // the shortest decimal that yields this number: the price as the user typed it
        Some(Bson::Double(price)) if schema == 0 => price.to_string(),
        other => return Err(malformed(document, &format!("price is {other:?}"))),
    };
    Ok((sku_code, price.parse().map_err(|error: MoneyError| malformed(document, &error))?))
}

fn integer(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(n) => Some((*n).into()),
        Bson::Int64(n) => Some(*n),
        // the MongoDB shell writes plain numbers as doubles
        Bson::Double(n) if n.fract() == 0.0 => Some(*n as i64),
        _ => None,
    }
}

fn malformed(document: &Document, cause: &dyn std::fmt::Display) -> StoreError {
    StoreError::Internal(format!("product {} is malformed: {cause}", document.get("_id").unwrap_or(&Bson::Null)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::mongodb::bson::oid::ObjectId;

    fn product(price: &str) -> Product {
        let id = ObjectId::new().to_hex();
        Product { id, sku_code: "s".into(), name: "n".into(), description: None, price: price.parse().unwrap() }
    }

    fn stored(product: &Product) -> Document {
        let mut document = fields(product).unwrap();
        document.insert("_id", ObjectId::parse_str(&product.id).unwrap());
        document.insert("version", 3_i64);
        document
    }

    #[test]
    fn price_written_and_read_keeps_all_digits() {
        for price in ["0", "0.0000", "0.0001", "10.00", "10.50", "100", "1000000000000", "999999999999.9999", "0.10"] {
            let product = product(price);
            let document = stored(&product);
            assert!(matches!(document.get("price"), Some(Bson::Decimal128(_))), "{document}");
            assert_eq!(read(&document).unwrap(), (product, 3), "{price}");
            assert_eq!(read(&document).unwrap().0.price.to_string(), price);
        }
    }

    /// Forms of a BigDecimal written by Spring Data (by its version and annotations), and by users in a shell.
    #[test]
    fn document_without_schema_is_read_like_current_one() {
        let prices: [Bson; 5] =
            ["10.50".into(), Bson::Decimal128("10.50".parse().unwrap()), Bson::Double(10.5), Bson::Int32(10), Bson::Int64(10)];
        let read: Vec<_> = prices
            .into_iter()
            .map(|price| {
                let old = doc! { "_id": ObjectId::new(), "skuCode": "s", "name": "n", "price": price, "_class": "shop.Product" };
                let (product, version) = read(&old).unwrap();
                assert_eq!((product.sku_code.as_str(), product.description, version), ("s", None, 0));
                product.price.to_string()
            })
            .collect();
        assert_eq!(read, ["10.50", "10.50", "10.5", "10", "10"]);
    }

    #[test]
    fn document_with_newer_schema_is_rejected_as_unavailable() {
        let mut document = stored(&product("1"));
        document.insert("colour", "unknown to this build");
        read(&document).unwrap();
        document.insert("schema", SCHEMA as i32 + 1);
        let error = read(&document).unwrap_err();
        let id = document.get_object_id("_id").unwrap().to_hex();
        assert!(matches!(&error, StoreError::Unavailable { .. }), "{error}");
        assert!(error.to_string().contains(&id) && error.to_string().contains("schema 2"), "{error}");
    }

    #[test]
    fn document_malformed_error_names_field_and_id() {
        let mut document = stored(&product("1"));
        document.insert("price", 1.5);
        let error = read(&document).unwrap_err().to_string();
        assert!(error.contains("price") && error.contains(&document.get_object_id("_id").unwrap().to_hex()), "{error}");
    }
}
