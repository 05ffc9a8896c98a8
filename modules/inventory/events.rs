//! What inventory publishes. It consumes nothing.

use super::api::Quantities;
use crate::events::asyncapi::Document;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

/// `stock.changed`: quantities moved. Subject: the order, or the SKU where there is none.
pub(super) const CHANGED: &str = "stock.changed";
/// `stock.low`: a quantity fell to the threshold. Subject: the SKU.
pub(super) const LOW: &str = "stock.low";

/// Why a quantity moved.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Cause {
    /// An administrator.
    Adjusted,
    /// An order took it.
    Reserved,
    /// An order gave it back.
    Released,
    /// Sold outside the order path.
    Sold,
    /// No longer kept.
    Removed,
}

/// Data of `stock.changed`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "StockChanged")]
pub(super) struct Changed<'a> {
    /// Why.
    pub(super) cause: Cause,
    /// For which order.
    pub(super) order_number: Option<Uuid>,
    /// By how much, by SKU; negative is less than before.
    pub(super) changes: &'a Quantities,
}

/// Data of `stock.low`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "StockLow")]
pub(super) struct Low<'a> {
    /// Of which SKU.
    pub(super) sku_code: &'a str,
    /// What is left.
    pub(super) quantity: i64,
    /// The threshold it reached.
    pub(super) threshold: i64,
}

/// What others may expect.
pub fn describe(document: &mut Document) {
    document.sends::<Changed>("inventory", CHANGED, "the order, or the SKU where there is none", "quantities moved");
    document.sends::<Low>("inventory", LOW, "the SKU", "a quantity fell to its threshold");
}
