//! The catalogue's rules.

use super::api::{Product, ProductApi, ProductError, ProductInput};
use super::events;
use super::store::{IdGenerator, ProductStore};
use crate::events::event::Event;
use crate::kernel::money::Money;
use crate::kernel::page::{Page, PageNumber, PageRequest, PageSize};
use crate::kernel::problem::{FieldError, Problem};
use crate::kernel::sku;
use crate::rpc::context::Cx;
use crate::rpc::contract::{Empty, Tagged, Text};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::Arc;

/// SKU codes per price call.
const MAX_PRICES: usize = 1000;
/// Retries of a deletion without If-Match while the product changes concurrently.
const MAX_DELETE_ATTEMPTS: u32 = 5;
const MAX_NAME: usize = 255;
const MAX_DESCRIPTION: usize = 10_000;

/// See [`ProductApi`].
pub(super) struct ProductService {
    store: Arc<dyn ProductStore>,
    ids: IdGenerator,
}

impl ProductService {
    pub(super) fn new(store: Arc<dyn ProductStore>) -> Self {
        Self { store, ids: IdGenerator::default() }
    }
}

/// Whether an If-Match header permits a change of this version.
fn matches_version(tag: &str, version: i64) -> bool {
    tag.trim() == "*" || tag.trim().trim_matches('"').parse() == Ok(version)
}

/// Validates the input; the problem lists all invalid fields.
fn validate(id: String, input: ProductInput) -> Result<Product, Problem> {
    let mut errors = Vec::new();
    let sku_code = sku::required(input.sku_code, "skuCode", &mut errors);
    let name = input.name.map(|n| n.trim().to_string()).unwrap_or_default();
    if name.is_empty() || name.chars().count() > MAX_NAME {
        errors.push(FieldError::new("name", format!("is required, 1 to {MAX_NAME} characters")));
    }
    if input.description.as_ref().is_some_and(|d| d.chars().count() > MAX_DESCRIPTION) {
        errors.push(FieldError::new("description", format!("at most {MAX_DESCRIPTION} characters")));
    }
    match input.price {
        None => errors.push(FieldError::new("price", "is required")),
        Some(price) if price.is_negative() => errors.push(FieldError::new("price", "must not be negative")),
        Some(price) if price > Money::LIMIT => errors.push(FieldError::new("price", format!("at most {}", Money::LIMIT))),
        Some(_) => {}
    }
    match input.price {
        Some(price) if errors.is_empty() => Ok(Product { id, sku_code, name, description: input.description, price }),
        _ => Err(Problem::invalid(errors)),
    }
}

#[async_trait(?Send)]
impl ProductApi for ProductService {
    async fn list(
        &self,
        _: &Cx,
        page: PageNumber,
        size: PageSize,
        q: Option<String>,
        after: Option<String>,
    ) -> Result<Page<Product>, ProductError> {
        let request = PageRequest::of(page, size);
        let q = q.map(|q| q.trim().to_string()).filter(|q| !q.is_empty());
        if q.as_ref().is_some_and(|q| q.chars().count() > MAX_NAME) {
            return Err(Problem::invalid_field("q", format!("at most {MAX_NAME} characters")).into());
        }
        let Some(after) = after else {
            let (products, total) = self.store.page(request, q).await?;
            return Ok(Page::new(request, products, total));
        };
        let id = after.to_ascii_lowercase();
        if id.len() != 24 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Problem::invalid_field("after", "expected the id of a product, 24 hex digits").into());
        }
        let request = PageRequest::following(page, size)?;
        Ok(Page::from_one_more(request, self.store.following(&id, request.size + 1, q).await?))
    }

    async fn get(&self, _: &Cx, id: String) -> Result<Tagged<Product>, ProductError> {
        match self.store.get(&id).await? {
            Some((value, version)) => Ok(Tagged { value, version }),
            None => Err(ProductError::NotFound { id }),
        }
    }

    async fn price(&self, _: &Cx, sku_code: String) -> Result<Money, ProductError> {
        let found = self.store.prices(vec![sku_code.clone()]).await?;
        found.into_values().next().ok_or(ProductError::UnknownSku { sku_code })
    }

    async fn prices(&self, _: &Cx, sku_codes: Vec<String>) -> Result<BTreeMap<String, Money>, ProductError> {
        if sku_codes.len() > MAX_PRICES {
            return Err(Problem::invalid_field("body", format!("at most {MAX_PRICES} SKU codes in one call")).into());
        }
        Ok(self.store.prices(sku_codes).await?)
    }

    async fn exists(&self, cx: &Cx, sku_code: String) -> Result<Empty, ProductError> {
        self.price(cx, sku_code).await.map(|_| Empty)
    }

    async fn create(&self, cx: &Cx, product: ProductInput) -> Result<Product, ProductError> {
        let product = validate(self.ids.next(), product)?;
        let event = Event::new("product", events::CREATED, &product.id, cx.trace, &product)?;
        if self.store.insert(product.clone(), event).await? {
            Ok(product)
        } else {
            Err(ProductError::SkuTaken { sku_code: product.sku_code })
        }
    }

    async fn replace(&self, cx: &Cx, id: String, if_match: Option<String>, product: ProductInput) -> Result<Tagged<Product>, ProductError> {
        let product = validate(id.clone(), product)?;
        let Some(tag) = if_match else { return Err(ProductError::VersionMissing { id }) };
        let Some((_, version)) = self.store.get(&id).await? else { return Err(ProductError::NotFound { id }) };
        if !matches_version(&tag, version) {
            return Err(ProductError::Stale { id });
        }
        let event = Event::new("product", events::CHANGED, &id, cx.trace, &product)?;
        match self.store.replace(product.clone(), version, event).await? {
            Some(true) => Ok(Tagged { value: product, version: version + 1 }),
            Some(false) => Err(ProductError::Stale { id }),
            None => Err(ProductError::SkuTaken { sku_code: product.sku_code }),
        }
    }

    async fn delete(&self, cx: &Cx, id: String, if_match: Option<String>) -> Result<Text, ProductError> {
        for _ in 0..MAX_DELETE_ATTEMPTS {
            let Some((product, version)) = self.store.get(&id).await? else { return Err(ProductError::NotFound { id }) };
            if if_match.as_ref().is_some_and(|tag| !matches_version(tag, version)) {
                return Err(ProductError::Stale { id });
            }
            // the event shows the product as it was removed
            let event = Event::new("product", events::DELETED, &id, cx.trace, &product)?;
            if self.store.delete(&id, version, event).await? {
                return Ok(Text(format!("Product with id {id} deleted successfully")));
            }
        }
        Err(ProductError::Stale { id })
    }
}
