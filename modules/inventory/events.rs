//! Events that inventory publishes. It consumes none.

use super::api::Quantities;
use crate::events::asyncapi::Document;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

/// Quantities changed. Subject: the order, or the SKU if there is no order.
pub(super) const CHANGED: &str = "stock.changed";
/// A quantity fell to the threshold. Subject: the SKU.
pub(super) const LOW: &str = "stock.low";

/// Why a quantity changed.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Cause {
    /// An administrator.
    Adjusted,
    /// Held for an order.
    Reserved,
    /// Released by an order.
    Released,
    /// Sold outside the order path.
    Sold,
    /// The SKU was removed from stock.
    Removed,
}

/// Data of `stock.changed`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "StockChanged")]
pub(super) struct Changed<'a> {
    /// Why the quantities changed.
    pub(super) cause: Cause,
    /// The order, if an order caused the change.
    pub(super) order_number: Option<Uuid>,
    /// Change per SKU; negative is a decrease.
    pub(super) changes: &'a Quantities,
}

/// Data of `stock.low`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "StockLow")]
pub(super) struct Low<'a> {
    /// The SKU.
    pub(super) sku_code: &'a str,
    /// Remaining quantity.
    pub(super) quantity: i64,
    /// The threshold that the quantity reached.
    pub(super) threshold: i64,
}

/// Events of this module in AsyncAPI.
pub fn describe(document: &mut Document) {
    document.sends::<Changed>("inventory", CHANGED, "the order, or the SKU where there is none", "quantities moved");
    document.sends::<Low>("inventory", LOW, "the SKU", "a quantity fell to its threshold");
}
