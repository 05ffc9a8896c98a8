//! Order's contract.

#![warn(missing_docs)]

use crate::kernel::money::Money;
use crate::kernel::page::{AfterId, Page, PageNumber, PageSize};
use crate::modules::contracts::inventory::StockCheck;
use crate::rpc::contract::Text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// State of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum OrderStatus {
    /// Being placed.
    Pending,
    /// Accepted: its stock is taken.
    Placed,
    /// Rejected; no stock was taken.
    Rejected,
    /// Cancelled; its stock was released.
    Cancelled,
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderLine {
    /// From 1.
    pub id: i64,
    /// SKU of the product.
    pub sku_code: String,
    /// Number of units.
    pub quantity: i64,
    /// Price of one unit when it was ordered; absent if the product was unknown.
    pub price: Option<Money>,
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// From 1.
    pub id: i64,
    /// Public number of the order.
    pub order_number: Uuid,
    /// What was ordered, in the order it was sent.
    pub order_line_items: Vec<OrderLine>,
    /// Current state.
    pub status: OrderStatus,
    /// Sum of price x quantity.
    pub total: Money,
    /// When it was sent, RFC 3339.
    pub placed_at: String,
    /// The trace in which it was placed, for administrators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

/// One line as a client sends it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LineInput {
    /// Required.
    pub sku_code: Option<String>,
    /// Required: 1 to 2,147,483,647 units.
    pub quantity: Option<i64>,
}

/// An order as a client sends it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderInput {
    /// Required: at least one line.
    pub order_line_items: Option<Vec<LineInput>>,
}

crate::errors! {
    /// Errors of order.
    pub enum OrderError in "order" {
        /// The caller has no order of this id.
        NotFound { id: i64 } = 404, "Order with ID {id} not found!";
        /// The caller has no order of this number.
        UnknownNumber { order_number: Uuid } = 404, "Order with number {order_number} not found!";
        /// Stock does not suffice; the lists contain every SKU by reason.
        Refused { message: String, invalid: Vec<String>, out_of_stock: Vec<String>, insufficient: Vec<String> } = 400, "{message}";
        /// The key was used for another request.
        KeyReused = 422, "this Idempotency-Key was used with another request body";
        /// The first request with this key is still in progress.
        KeyInFlight = 409, "a request with this Idempotency-Key is still under way";
        /// Only a placed order can be cancelled.
        NotCancellable { id: i64, state: String } = 409, "Order with ID {id} is {state} and cannot be cancelled";
    }
}

impl OrderError {
    /// The message of the Spring system, and the same lists as fields.
    pub fn refused(stock: &StockCheck) -> Self {
        let mut message = String::from("Order cannot be placed due to the following reasons:");
        for (reason, skus) in [
            (" Invalid SKUs", &stock.invalid),
            ("Out of stock SKUs", &stock.out_of_stock),
            ("Insufficient stock for SKUs", &stock.insufficient),
        ] {
            if !skus.is_empty() {
                message.push_str(&format!("\n{reason}: {}", skus.join(", ")));
            }
        }
        OrderError::Refused {
            message,
            invalid: stock.invalid.clone(),
            out_of_stock: stock.out_of_stock.clone(),
            insufficient: stock.insufficient.clone(),
        }
    }
}

crate::contract! {
    /// Orders, for peers and clients.
    pub trait OrderApi in "order", error = OrderError, client = OrderClient {
        /// Lists placed and cancelled orders by id: a customer's own, an administrator's all. With `after`, the id of the
        /// last order read, lists the orders that follow it; totals are then not counted and only show, like `last`,
        /// whether more follow. The orders of a page have at most 10 x `order.max_lines` lines in all (10,000 by default):
        /// with `after`, a page ends before the order that would exceed it; without it, the request is refused, unless
        /// `size` is at most 10.
        fn list(query page: PageNumber, query size: PageSize, query after: Option<AfterId>) -> Page<Order> = GET "/api/v1/orders" => 200, Customer, repeatable;

        /// Reads one order.
        fn get(path id: i64) -> Order = GET "/api/v1/orders/{id}" => 200, Customer, repeatable;

        /// Reads one order by its number, in any state.
        fn by_number(path order_number: Uuid) -> Order = GET "/api/v1/orders/number/{order_number}" => 200, Customer, repeatable;

        /// Returns the state of an order, for peers.
        fn status_of(path order_number: Uuid) -> OrderStatus = GET "/api/v1/orders/number/{order_number}/status" => 200, Service, repeatable;

        /// Places an order: all of its lines or none. With an Idempotency-Key, a retry does not place another one.
        fn place(header idempotency_key: Option<String>, body order: OrderInput) -> Order = POST "/api/v1/orders" => 201, Customer, once;

        /// Cancels a placed order and releases its stock, once.
        fn cancel(path id: i64) -> Order = POST "/api/v1/orders/{id}/cancel" => 200, Customer, repeatable;

        /// Cancels an order and removes it from the lists.
        fn delete(path id: i64) -> Text = DELETE "/api/v1/orders/{id}" => 200, Customer, once;
    }
}
