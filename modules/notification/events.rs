//! What notification takes from the bus, and what becomes of it. It publishes nothing.

use super::delivery::Receivers;
use super::store::{Channel, NewDelivery, NewNotification, NotificationStore, Taken};
use crate::data::types;
use crate::edge::auth::check_subject;
use crate::events::asyncapi::Document;
use crate::events::bus::{ApplyError, Consumer};
use crate::events::event::Event;
use crate::kernel::money::Money;
use async_trait::async_trait;
use serde::Deserialize;
use std::sync::Arc;
use uuid::Uuid;

/// Topics whose events come in here, and that webhooks can subscribe to.
pub const TOPICS: &[&str] = &["order", "stock", "product"];

/// Characters of an event's type at most; ours are much shorter, and others may send here, too.
const MAX_KIND: usize = 64;
/// Bytes of a mail address at most: what is longer is none (RFC 5321, 4.5.3.1.3).
const MAX_ADDRESS: usize = 254;

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

/// The consumer: fills inboxes and makes out deliveries.
pub(super) struct Notifier {
    store: Arc<dyn NotificationStore>,
    receivers: Arc<Receivers>,
}

impl Notifier {
    /// Into this store, for these receivers.
    pub(super) fn new(store: Arc<dyn NotificationStore>, receivers: Arc<Receivers>) -> Self {
        Self { store, receivers }
    }

    fn take(&self, event: &Event) -> Result<Taken, ApplyError> {
        if event.kind.chars().count() > MAX_KIND {
            return Err(ApplyError::Unfit(format!("its type is longer than {MAX_KIND} characters")));
        }
        let mut notification = None;
        let mut targets: Vec<(Channel, String)> =
            self.receivers.webhooks_for(&event.kind).map(|target| (Channel::Webhook, target.to_string())).collect();
        if let Some(kind) = OrderEvent::of(&event.kind) {
            let order: OrderData = event.data()?;
            check_subject(&order.customer.id).map_err(|wrong| ApplyError::Unfit(format!("its customer's id {wrong}")))?;
            let is_address = |address: &&String| self.receivers.has_mail() && address.len() <= MAX_ADDRESS;
            if let Some(address) = order.customer.email.as_ref().filter(is_address) {
                targets.push((Channel::Email, address.clone()));
            }
            notification = Some(tell(kind, order));
        }
        let body = if targets.is_empty() { String::new() } else { types::to_json(event)? };
        let deliveries = targets.into_iter().map(|(channel, target)| NewDelivery { channel, target, body: body.clone() }).collect();
        Ok(Taken { event: event.clone(), notification, deliveries })
    }
}

/// What the customer reads in the inbox.
fn tell(kind: OrderEvent, order: OrderData) -> NewNotification {
    let number = order.order_number;
    let reason = order.reason.map(|reason| reason.trim().to_string()).filter(|reason| !reason.is_empty());
    let (title, message) = match kind {
        OrderEvent::Placed => {
            let total = order.total.map(|total| format!(", {total} in all")).unwrap_or_default();
            let lines = if order.lines.len() == 1 { "1 line".into() } else { format!("{} lines", order.lines.len()) };
            ("Order placed", format!("Your order {number} is placed: {lines}{total}."))
        }
        OrderEvent::Rejected => {
            let why = reason.unwrap_or_else(|| "no reason was given".into());
            ("Order rejected", format!("Your order {number} could not be placed: {why}"))
        }
        OrderEvent::Cancelled => {
            let why = reason.map(|reason| format!(": {reason}")).unwrap_or_else(|| ".".into());
            ("Order cancelled", format!("Your order {number} is cancelled{why}"))
        }
    };
    NewNotification { customer: order.customer.id, order_number: number.to_string(), title: title.into(), message }
}

#[async_trait(?Send)]
impl Consumer for Notifier {
    fn group(&self) -> &'static str {
        "notification"
    }

    fn topics(&self) -> &'static [&'static str] {
        TOPICS
    }

    async fn apply(&self, events: &[Event]) -> Result<(), ApplyError> {
        // all are read before any is written: one that does not fit leaves nothing behind
        let taken = events.iter().map(|event| self.take(event)).collect::<Result<Vec<_>, _>>()?;
        Ok(self.store.take(taken).await?)
    }
}

/// What it takes.
pub fn describe(document: &mut Document) {
    document.receives("notification", TOPICS);
}
