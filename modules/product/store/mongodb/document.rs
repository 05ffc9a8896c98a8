//! A product as a document, in every form that there has been.
//!
//! | `schema` | what | written by |
//! | --- | --- | --- |
//! | none | no `version`; a price in whatever type of a number, or a text | the Spring service, a person |
//! | 1 | as [`fields`] has it: the price a Decimal128, a `version` | this build |
//!
//! Old forms are read as if they had been written today; whatever changes a document writes it in today's.
//! A field that is added does not raise the number: readers ignore what they do not know, and a change leaves
//! it as it is. What raises it is what this build would misread. Such a document is refused, with 503: while
//! instances are being replaced the next one asked may know better, and a price that is misread is worse than
//! none. Its events are carried all the same; their form does not depend on the number.

use crate::kernel::error::StoreError;
use crate::kernel::money::{Money, MoneyError};
use crate::modules::product::api::Product;
use ::mongodb::bson::{Bson, Decimal128, Document, doc};

/// The form that this build writes.
const SCHEMA: i64 = 1;

/// What a product is, for an insert and for `$set`.
pub(super) fn fields(product: &Product) -> Result<Document, StoreError> {
    let price: Decimal128 = product.price.to_string().parse().map_err(|e| StoreError::Broken(format!("a price does not fit: {e}")))?;
    let mut fields = doc! { "schema": SCHEMA as i32, "skuCode": &product.sku_code, "name": &product.name, "price": price };
    if let Some(text) = &product.description {
        fields.insert("description", text);
    }
    Ok(fields)
}

/// A product and its version.
pub(super) fn read(document: &Document) -> Result<(Product, i64), StoreError> {
    let id = document.get_object_id("_id").map_err(|e| unfit(document, &e))?.to_hex();
    let text = |field: &str| document.get_str(field).map(str::to_string);
    let (sku_code, price) = price(document)?;
    let name = text("name").map_err(|e| unfit(document, &e))?;
    let version = document.get("version").and_then(whole).unwrap_or_default();
    Ok((Product { id, sku_code, name, description: text("description").ok(), price }, version))
}

/// SKU code and price alone.
pub(super) fn price(document: &Document) -> Result<(String, Money), StoreError> {
    let schema = document.get("schema").map_or(Some(0), whole).ok_or_else(|| unfit(document, &"schema is no number"))?;
    if schema > SCHEMA {
        let id = document.get_object_id("_id").map(|id| id.to_hex()).unwrap_or_default();
        let cause = format!("product {id} was written by a newer build (schema {schema}; this one knows up to {SCHEMA}): update this one");
        return Err(StoreError::Unavailable { store: "product".into(), cause });
    }
    let sku_code = document.get_str("skuCode").map_err(|e| unfit(document, &e))?.to_string();
    let price = match document.get("price") {
        Some(Bson::Decimal128(price)) => price.to_string(),
        Some(Bson::String(price)) if schema == 0 => price.clone(),
        Some(Bson::Int32(price)) if schema == 0 => price.to_string(),
        Some(Bson::Int64(price)) if schema == 0 => price.to_string(),
        // the shortest decimal that is this number: what somebody typed
        Some(Bson::Double(price)) if schema == 0 => price.to_string(),
        other => return Err(unfit(document, &format!("price is {other:?}"))),
    };
    Ok((sku_code, price.parse().map_err(|wrong: MoneyError| unfit(document, &wrong))?))
}

fn whole(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(n) => Some((*n).into()),
        Bson::Int64(n) => Some(*n),
        // what is typed into a shell
        Bson::Double(n) if n.fract() == 0.0 => Some(*n as i64),
        _ => None,
    }
}

fn unfit(document: &Document, cause: &dyn std::fmt::Display) -> StoreError {
    StoreError::Broken(format!("product {} does not fit: {cause}", document.get("_id").unwrap_or(&Bson::Null)))
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
    fn a_price_is_kept_to_its_last_digit() {
        for price in ["0", "0.0000", "0.0001", "10.00", "10.50", "100", "1000000000000", "999999999999.9999", "0.10"] {
            let product = product(price);
            let document = stored(&product);
            assert!(matches!(document.get("price"), Some(Bson::Decimal128(_))), "{document}");
            assert_eq!(read(&document).unwrap(), (product, 3), "{price}");
            assert_eq!(read(&document).unwrap().0.price.to_string(), price);
        }
    }

    /// As Spring Data writes a BigDecimal, by its version and annotations, and as people do in a shell.
    #[test]
    fn what_was_written_before_is_read_as_if_it_were_written_today() {
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
    fn what_a_newer_build_wrote_is_refused_by_name_and_not_misread() {
        let mut document = stored(&product("1"));
        document.insert("colour", "unknown to this build, and no harm");
        read(&document).unwrap();
        document.insert("schema", SCHEMA as i32 + 1);
        let refused = read(&document).unwrap_err();
        let id = document.get_object_id("_id").unwrap().to_hex();
        assert!(matches!(&refused, StoreError::Unavailable { .. }), "{refused}");
        assert!(refused.to_string().contains(&id) && refused.to_string().contains("schema 2"), "{refused}");
    }

    #[test]
    fn what_is_no_product_is_named() {
        let mut document = stored(&product("1"));
        document.insert("price", 1.5);
        let refused = read(&document).unwrap_err().to_string();
        assert!(refused.contains("price") && refused.contains(&document.get_object_id("_id").unwrap().to_hex()), "{refused}");
    }
}
