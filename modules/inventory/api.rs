//! Inventory's contract.

#![warn(missing_docs)]

use crate::kernel::page::{AfterId, Page, PageNumber, PageSize};
use crate::rpc::contract::Text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// What can be sold of one SKU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stock {
    /// From 1.
    pub id: i64,
    /// The SKU.
    pub sku_code: String,
    /// Units that can be ordered now.
    pub quantity: i64,
    /// Units reserved for orders under way.
    #[serde(default)]
    pub held: i64,
    /// Units sold.
    #[serde(default)]
    pub sold: i64,
    /// Units received, less those taken out: quantity + held + sold.
    #[serde(default)]
    pub received: i64,
}

/// Stock of a SKU as a client sends it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StockInput {
    /// Required; the SKU of a product.
    pub sku_code: Option<String>,
    /// Required: 0 to 2,147,483,647 units.
    pub quantity: Option<i64>,
}

/// A change of a quantity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Adjustment {
    /// Required: units to add; negative takes away.
    pub quantity: Option<i64>,
}

/// SKU codes by availability.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StockCheck {
    /// Enough.
    pub available: Vec<String>,
    /// Some, but fewer than wanted.
    pub insufficient: Vec<String>,
    /// None.
    pub out_of_stock: Vec<String>,
    /// Unknown here.
    pub invalid: Vec<String>,
}

impl StockCheck {
    /// True where every SKU is available.
    pub fn is_enough(&self) -> bool {
        self.insufficient.is_empty() && self.out_of_stock.is_empty() && self.invalid.is_empty()
    }
}

/// Units wanted, by SKU code.
pub type Quantities = BTreeMap<String, i64>;

/// What to hold for one order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReserveInput {
    /// The order; reserving for it again changes nothing.
    pub order_number: Uuid,
    /// Units by SKU, each at least 1.
    pub lines: Quantities,
}

/// State of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ReservationState {
    /// Nothing is held: `stock` names every SKU with its reason.
    Refused,
    /// Held for the order.
    Held,
    /// Sold.
    Committed,
    /// Released; it cannot be held again.
    Released,
}

/// The answer to a reservation. A shortage is an answer, not a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reservation {
    /// The reservation's state.
    pub state: ReservationState,
    /// Availability of each SKU.
    pub stock: StockCheck,
}

/// Reservations to end, many in one call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SettleInput {
    /// Orders that are placed.
    pub commit: Vec<Uuid>,
    /// Orders that are rejected or cancelled.
    pub release: Vec<Uuid>,
}

crate::errors! {
    /// Errors of inventory.
    pub enum InventoryError in "inventory" {
        /// No stock has this id.
        NotFound { id: i64 } = 404, "Inventory with id {id} not found";
        /// No product, or no stock, has this SKU code.
        UnknownSku { sku_code: String } = 404, "Product with SKU CODE {sku_code} not found.";
        /// There is stock of this SKU already; adjust it instead.
        SkuTaken { sku_code: String } = 409, "Inventory for SKU {sku_code} already exists";
        /// The quantity would fall below zero.
        Negative = 400, "Quantity for an inventory item cannot be negative!";
        /// The quantity would exceed the contract's maximum.
        TooMany { sku_code: String } = 400, "the quantity of {sku_code}, with held pieces, would exceed 2147483647";
        /// The stock is not sufficient.
        Short { sku_codes: Vec<String> } = 400, "Insufficient stock for SKUs: {}", (.sku_codes.join(", "));
        /// Orders under way hold some of it.
        Held { id: i64, held: i64 } = 409, "Inventory with id {id} cannot be deleted while {held} pieces are held for orders";
        /// No reservation was made for this order.
        NoReservation { order_number: Uuid } = 404, "there is no reservation for order {order_number}";
        /// The reservation was released before.
        AlreadyReleased { order_number: Uuid } = 409, "the reservation for order {order_number} was released";
    }
}

crate::contract! {
    /// Stock, as its peers and clients call it.
    pub trait InventoryApi in "inventory", error = InventoryError, client = InventoryClient {
        /// Lists stock by id. With `after`, the id of the last stock read, lists the stock that follows it; totals are then
        /// not counted and only show, like `last`, whether more follows.
        fn list(query page: PageNumber, query size: PageSize, query after: Option<AfterId>) -> Page<Stock> = GET "/api/v1/inventory" => 200, Any, repeatable;

        /// Reads the stock of one SKU.
        fn get(path id: i64) -> Stock = GET "/api/v1/inventory/{id}" => 200, Any, repeatable;

        /// Creates stock of a product.
        fn create(body stock: StockInput) -> Stock = POST "/api/v1/inventory" => 201, Admin, once;

        /// Checks for each SKU whether there is enough of it.
        fn check_stock(body wanted: Quantities) -> StockCheck = POST "/api/v1/inventory/checkStock" => 200, Any, repeatable;

        /// Adds to a quantity, or subtracts from it.
        fn adjust(path id: i64, body change: Adjustment) -> Stock = PUT "/api/v1/inventory/{id}" => 200, Admin, once;

        /// Takes units of many SKUs as sold, all or none.
        fn take(body sold: Quantities) -> Vec<Stock> = PUT "/api/v1/inventory/updateQuantitiesBySku" => 200, ServiceOrAdmin, once;

        /// Removes the stock of a SKU.
        fn delete(path id: i64) -> Text = DELETE "/api/v1/inventory/{id}" => 200, Admin, once;

        /// Holds stock for an order, all lines or none.
        fn reserve(body reservation: ReserveInput) -> Reservation = POST "/api/v1/inventory/reservations" => 200, Service, repeatable;

        /// Commits an order's reservation: the held units become sold.
        fn commit(path order_number: Uuid) -> ReservationState = POST "/api/v1/inventory/reservations/{order_number}/commit" => 200, Service, repeatable;

        /// Releases the units that are held for an order, or returns those sold to it.
        fn release(path order_number: Uuid) -> ReservationState = POST "/api/v1/inventory/reservations/{order_number}/release" => 200, Service, repeatable;

        /// Commits and releases many reservations in one transaction; returns the orders that are settled.
        fn settle(body orders: SettleInput) -> Vec<Uuid> = POST "/api/v1/inventory/reservations/settle" => 200, Service, repeatable;
    }
}
