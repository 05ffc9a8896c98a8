//! Events that order publishes, keyed by order number. Order consumes no events.

use super::store::StoredOrder;
use crate::events::asyncapi::Document;
use crate::events::event::Event;
use crate::kernel::error::StoreError;
use crate::kernel::money::Money;
use crate::observe::trace::Trace;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

pub(super) const PLACED: &str = "order.placed";
/// `reason` in the data is `stock` or `unavailable`.
pub(super) const REJECTED: &str = "order.rejected";
pub(super) const CANCELLED: &str = "order.cancelled";

/// Whose order it is.
#[derive(Debug, Serialize, JsonSchema)]
struct Customer<'a> {
    id: &'a str,
    name: &'a str,
    email: Option<&'a str>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "EventLine")]
struct Line<'a> {
    sku_code: &'a str,
    quantity: i64,
    price: Option<Money>,
}

/// Data of all three events.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "OrderEvent")]
struct Data<'a> {
    order_number: Uuid,
    customer: Customer<'a>,
    lines: Vec<Line<'a>>,
    total: Money,
    reason: Option<&'a str>,
}

/// Consumers apply each of these events once per order.
pub(super) fn order_event(order: &StoredOrder, kind: &str, reason: Option<&str>, trace: Trace) -> Result<Event, StoreError> {
    let data = Data {
        order_number: order.number,
        customer: Customer { id: &order.customer, name: &order.customer_name, email: order.email.as_deref() },
        lines: order.lines.iter().map(|l| Line { sku_code: &l.sku_code, quantity: l.quantity, price: l.price }).collect(),
        total: order.total,
        reason,
    };
    Ok(Event::new("order", kind, order.number.to_string(), trace, &data)?.with_deterministic_id())
}

/// Events of this module in AsyncAPI.
pub fn describe(document: &mut Document) {
    for (kind, when) in
        [(PLACED, "the order was accepted"), (REJECTED, "it was refused"), (CANCELLED, "it was cancelled after it had been accepted")]
    {
        document.sends::<Data>("order", kind, "the order's number", when);
    }
}
