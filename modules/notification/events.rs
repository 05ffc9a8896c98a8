//! What notification takes from the bus, and what becomes of it. It publishes nothing.

use crate::events::asyncapi::Document;
use crate::kernel::money::Money;
use serde::Deserialize;
use uuid::Uuid;

/// Topics whose events come in here, and that webhooks can subscribe to.
pub const TOPICS: &[&str] = &["order", "stock", "product"];

/// An order event of which its customer is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrderEvent {
    /// The order stands.
    Placed,
    /// It could not be placed.
    Rejected,
    /// It was, and is no more.
    Cancelled,
}

impl OrderEvent {
    /// `None` for events that concern no customer.
    pub(super) fn of(kind: &str) -> Option<Self> {
        match kind {
            "order.placed" => Some(OrderEvent::Placed),
            "order.rejected" => Some(OrderEvent::Rejected),
            "order.cancelled" => Some(OrderEvent::Cancelled),
            _ => None,
        }
    }
}

/// What we read of an order event.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OrderData {
    pub(super) order_number: Uuid,
    pub(super) customer: Customer,
    #[serde(default)]
    pub(super) lines: Vec<Line>,
    pub(super) total: Option<Money>,
    pub(super) reason: Option<String>,
}

/// Whose order it is.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Customer {
    /// The token's subject: whose inbox it is.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) email: Option<String>,
}

/// What was ordered.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Line {
    pub(super) sku_code: String,
    pub(super) quantity: i64,
    pub(super) price: Option<Money>,
}

/// What it takes.
pub fn describe(document: &mut Document) {
    document.receives("notification", TOPICS);
}
