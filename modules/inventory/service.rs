//! Inventory's rules. Each change of stock is one transaction in the store.

use super::api::{
    Adjustment, InventoryApi, InventoryError, Quantities, Reservation, ReservationState, ReserveInput, SettleInput, Stock, StockCheck,
    StockInput,
};
use super::store::{MAX_QUANTITY, StockStore};
use crate::kernel::page::{AfterId, Page, PageNumber, PageRequest, PageSize};
use crate::kernel::problem::{FieldError, Problem};
use crate::kernel::sku;
use crate::modules::contracts::product::{ProductApi, ProductError};
use crate::rpc::context::Cx;
use crate::rpc::contract::Text;
use async_trait::async_trait;
use std::sync::Arc;
use uuid::Uuid;

/// Per call.
const MAX_LINES: usize = 1000;

/// See [`InventoryApi`].
pub(super) struct InventoryService {
    store: Arc<dyn StockStore>,
    product: Arc<dyn ProductApi>,
}

impl InventoryService {
    pub(super) fn new(store: Arc<dyn StockStore>, product: Arc<dyn ProductApi>) -> Self {
        Self { store, product }
    }
}

/// Validates SKU codes and quantities; `root` is the field that contains them.
fn validate(quantities: Quantities, root: &str) -> Result<Quantities, Problem> {
    let mut errors = Vec::new();
    if quantities.is_empty() || quantities.len() > MAX_LINES {
        errors.push(FieldError::new(if root.is_empty() { "body" } else { root }, format!("expected 1 to {MAX_LINES} SKUs")));
    }
    let mut valid = Quantities::new();
    for (code, quantity) in quantities {
        let field = if root.is_empty() { code.clone() } else { format!("{root}.{code}") };
        if !(1..=MAX_QUANTITY).contains(&quantity) {
            errors.push(FieldError::new(&field, format!("expected a whole number from 1 to {MAX_QUANTITY}")));
        }
        match sku::parse(&code) {
            Ok(code) => *valid.entry(code).or_default() += quantity.clamp(0, MAX_QUANTITY),
            Err(error) => errors.push(FieldError::new(field, error.to_string())),
        }
    }
    if errors.is_empty() { Ok(valid) } else { Err(Problem::invalid(errors)) }
}

#[async_trait(?Send)]
impl InventoryApi for InventoryService {
    async fn list(&self, _: &Cx, page: PageNumber, size: PageSize, after: Option<AfterId>) -> Result<Page<Stock>, InventoryError> {
        if let Some(AfterId(after)) = after {
            let request = PageRequest::following(page, size)?;
            return Ok(Page::from_one_more(request, self.store.following(after, request.size + 1).await?));
        }
        let request = PageRequest::of(page, size);
        let (rows, total) = self.store.page(request).await?;
        Ok(Page::new(request, rows, total))
    }

    async fn get(&self, _: &Cx, id: i64) -> Result<Stock, InventoryError> {
        self.store.get(id).await?.ok_or(InventoryError::NotFound { id })
    }

    async fn create(&self, cx: &Cx, stock: StockInput) -> Result<Stock, InventoryError> {
        let mut errors = Vec::new();
        let sku_code = sku::required(stock.sku_code, "skuCode", &mut errors);
        let quantity = stock.quantity.filter(|q| (0..=MAX_QUANTITY).contains(q));
        let Some(quantity) = quantity.filter(|_| errors.is_empty()) else {
            if quantity.is_none() {
                errors.push(FieldError::new("quantity", format!("is required, a whole number from 0 to {MAX_QUANTITY}")));
            }
            return Err(Problem::invalid(errors).into());
        };
        match self.product.exists(cx, sku_code.clone()).await {
            Ok(_) => self.store.create(sku_code, quantity, cx.trace).await,
            Err(ProductError::Platform(problem)) => Err(problem.into()),
            Err(_) => Err(InventoryError::UnknownSku { sku_code }),
        }
    }

    async fn check_stock(&self, _: &Cx, wanted: Quantities) -> Result<StockCheck, InventoryError> {
        Ok(self.store.check(validate(wanted, "")?).await?)
    }

    async fn adjust(&self, cx: &Cx, id: i64, change: Adjustment) -> Result<Stock, InventoryError> {
        let amount = change.quantity.filter(|q| (-MAX_QUANTITY..=MAX_QUANTITY).contains(q));
        let amount = amount.ok_or_else(|| {
            Problem::invalid_field("quantity", format!("is required, a whole number from -{MAX_QUANTITY} to {MAX_QUANTITY}"))
        })?;
        self.store.adjust(id, amount, cx.trace).await
    }

    async fn take(&self, cx: &Cx, sold: Quantities) -> Result<Vec<Stock>, InventoryError> {
        self.store.take(validate(sold, "")?, cx.trace).await
    }

    async fn delete(&self, cx: &Cx, id: i64) -> Result<Text, InventoryError> {
        self.store.remove(id, cx.trace).await?;
        Ok(Text(format!("Inventory with ID {id} deleted successfully.")))
    }

    async fn reserve(&self, cx: &Cx, reservation: ReserveInput) -> Result<Reservation, InventoryError> {
        let lines = validate(reservation.lines, "lines")?;
        Ok(self.store.reserve(reservation.order_number, lines, cx.trace).await?)
    }

    async fn commit(&self, _: &Cx, order_number: Uuid) -> Result<ReservationState, InventoryError> {
        self.store.commit(order_number).await
    }

    async fn release(&self, cx: &Cx, order_number: Uuid) -> Result<ReservationState, InventoryError> {
        Ok(self.store.release(order_number, cx.trace).await?)
    }

    async fn settle(&self, cx: &Cx, orders: SettleInput) -> Result<Vec<Uuid>, InventoryError> {
        if orders.commit.len() + orders.release.len() > MAX_LINES {
            return Err(Problem::invalid_field("body", format!("at most {MAX_LINES} orders in one call")).into());
        }
        Ok(self.store.settle(orders, cx.trace).await?)
    }
}
