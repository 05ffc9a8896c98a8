//! The consumer: fills inboxes and creates deliveries.

use super::delivery::Receivers;
use super::events::{OrderData, OrderEvent, TOPICS};
use super::store::{Channel, NewDelivery, NewNotification, NotificationStore, ProcessedEvent};
use crate::data::types;
use crate::edge::auth::validate_subject;
use crate::events::bus::{ApplyError, Consumer};
use crate::events::event::Event;
use async_trait::async_trait;
use std::sync::Arc;

/// Characters of an event's type. The shop's are much shorter, but other producers may publish here.
const MAX_EVENT_TYPE_LEN: usize = 64;
/// Bytes of a mail address (RFC 5321, 4.5.3.1.3).
const MAX_ADDRESS_LEN: usize = 254;

pub(super) struct Notifier {
    store: Arc<dyn NotificationStore>,
    receivers: Arc<Receivers>,
}

impl Notifier {
    pub(super) fn new(store: Arc<dyn NotificationStore>, receivers: Arc<Receivers>) -> Self {
        Self { store, receivers }
    }

    fn process(&self, event: &Event) -> Result<ProcessedEvent, ApplyError> {
        if event.kind.chars().count() > MAX_EVENT_TYPE_LEN {
            return Err(ApplyError::Rejected(format!("its type is longer than {MAX_EVENT_TYPE_LEN} characters")));
        }
        let mut notification = None;
        let mut targets: Vec<(Channel, String)> =
            self.receivers.webhooks_for(&event.kind).map(|target| (Channel::Webhook, target.to_string())).collect();
        if let Some(kind) = OrderEvent::from_kind(&event.kind) {
            let order: OrderData = event.data()?;
            validate_subject(&order.customer.id).map_err(|error| ApplyError::Rejected(format!("its customer's id {error}")))?;
            let is_address = |address: &&String| self.receivers.has_mail() && address.len() <= MAX_ADDRESS_LEN;
            if let Some(address) = order.customer.email.as_ref().filter(is_address) {
                targets.push((Channel::Email, address.clone()));
            }
            notification = Some(notification_for(kind, order));
        }
        let body = if targets.is_empty() { String::new() } else { types::to_json(event)? };
        let deliveries = targets.into_iter().map(|(channel, target)| NewDelivery { channel, target, body: body.clone() }).collect();
        Ok(ProcessedEvent { event: event.clone(), notification, deliveries })
    }
}

/// The notification in the customer's inbox.
fn notification_for(kind: OrderEvent, order: OrderData) -> NewNotification {
    let number = order.order_number;
    let reason = order.reason.map(|reason| reason.trim().to_string()).filter(|reason| !reason.is_empty());
    let (title, message) = match kind {
        OrderEvent::Placed => {
            let total = order.total.map(|total| format!(", {total} in all")).unwrap_or_default();
            let lines = if order.lines.len() == 1 { "1 line".into() } else { format!("{} lines", order.lines.len()) };
            ("Order placed", format!("Your order {number} is placed: {lines}{total}."))
        }
        OrderEvent::Rejected => {
            let reason = reason.unwrap_or_else(|| "no reason was given".into());
            ("Order rejected", format!("Your order {number} could not be placed: {reason}"))
        }
        OrderEvent::Cancelled => {
            let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_else(|| ".".into());
            ("Order cancelled", format!("Your order {number} is cancelled{reason}"))
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
        // parses all events before writing any: an invalid one leaves no partial changes
        let processed = events.iter().map(|event| self.process(event)).collect::<Result<Vec<_>, _>>()?;
        Ok(self.store.apply(processed).await?)
    }
}
