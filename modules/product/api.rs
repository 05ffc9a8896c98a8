//! Product's contract.

#![warn(missing_docs)]

use crate::kernel::money::Money;
use crate::kernel::page::{Page, PageNumber, PageSize};
use crate::rpc::contract::{Empty, Tagged, Text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A product of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Product {
    /// 24 hex digits.
    pub id: String,
    /// 1 to 64 characters, unique.
    pub sku_code: String,
    /// The product's name.
    pub name: String,
    /// The product's description.
    pub description: Option<String>,
    /// Price of one unit.
    pub price: Money,
}

/// A product as a client sends it. All fields are optional, so that an error lists all missing ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProductInput {
    /// Required: 1 to 64 characters, trimmed.
    pub sku_code: Option<String>,
    /// Required: 1 to 255 characters.
    pub name: Option<String>,
    /// At most 10,000 characters.
    pub description: Option<String>,
    /// Required, not negative.
    pub price: Option<Money>,
}

crate::errors! {
    /// Errors of the catalogue.
    pub enum ProductError in "product" {
        /// No product has this id.
        NotFound { id: String } = 404, "Product with id {id} not found";
        /// No product has this SKU code.
        UnknownSku { sku_code: String } = 404, "Product with SKU CODE {sku_code} not found.";
        /// Another product has this SKU code.
        SkuTaken { sku_code: String } = 400, "Product with SKU {sku_code} already exists";
        /// The product was changed since the caller read it.
        Stale { id: String } = 412, "Product with id {id} was changed meanwhile; read it again";
        /// A change must name the version that it is based on.
        VersionMissing { id: String } = 428, "a change of product {id} needs If-Match with the ETag it was read with";
    }
}

crate::contract! {
    /// The catalogue, as its peers and clients call it.
    pub trait ProductApi in "product", error = ProductError, client = ProductClient {
        /// Lists products by id; with `q`, only products with it in their SKU code or name. With `after`, the id of
        /// the last product read, lists the products that follow it; totals are then not counted and only show, like
        /// `last`, whether more follow.
        fn list(query page: PageNumber, query size: PageSize, query q: Option<String>, query after: Option<String>) -> Page<Product> = GET "/api/v1/products" => 200, Any, repeatable;

        /// Reads one product; a change sends its ETag in If-Match.
        fn get(path id: String) -> Tagged<Product> = GET "/api/v1/products/{id}" => 200, Any, repeatable;

        /// The price of one SKU, as a bare number.
        fn price(path sku_code: String) -> Money = GET "/api/v1/products/{sku_code}/price" => 200, Any, repeatable;

        /// The prices of many SKUs in one call; unknown ones are left out.
        fn prices(body sku_codes: Vec<String>) -> BTreeMap<String, Money> = POST "/api/v1/products/prices" => 200, Any, repeatable;

        /// Checks whether a SKU code exists: 200 without a body, or 404.
        fn exists(path sku_code: String) -> Empty = GET "/api/v1/products/sku/{sku_code}" => 200, Any, repeatable;

        /// Adds a product.
        fn create(body product: ProductInput) -> Product = POST "/api/v1/products" => 201, Admin, once;

        /// Replaces a product, if it was not changed since it was read.
        fn replace(path id: String, header if_match: Option<String>, body product: ProductInput) -> Tagged<Product> = PUT "/api/v1/products/{id}" => 200, Admin, once;

        /// Removes a product; with If-Match, only if it was not changed since it was read.
        fn delete(path id: String, header if_match: Option<String>) -> Text = DELETE "/api/v1/products/{id}" => 200, Admin, once;
    }
}
