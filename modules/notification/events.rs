//! Events that notification consumes. It publishes none.

use crate::events::asyncapi::Document;
use crate::kernel::money::Money;
use serde::Deserialize;
use uuid::Uuid;

/// Consumed topics; webhooks can subscribe to their events.
pub const TOPICS: &[&str] = &["order", "stock", "product"];

/// An order event that notifies the customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrderEvent {
    Placed,
    Rejected,
    Cancelled,
}

impl OrderEvent {
    /// `None` for events without a notification.
    pub(super) fn from_kind(kind: &str) -> Option<Self> {
        match kind {
            "order.placed" => Some(OrderEvent::Placed),
            "order.rejected" => Some(OrderEvent::Rejected),
            "order.cancelled" => Some(OrderEvent::Cancelled),
            _ => None,
        }
    }
}

/// The part of an order event's data that this module reads.
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

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Customer {
    /// The token's subject; it identifies the inbox.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) email: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Line {
    pub(super) sku_code: String,
    pub(super) quantity: i64,
    pub(super) price: Option<Money>,
}

/// Events of this module in AsyncAPI.
pub fn describe(document: &mut Document) {
    document.receives("notification", TOPICS);
}
