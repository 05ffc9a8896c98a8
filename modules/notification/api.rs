//! Notification's contract.

#![warn(missing_docs)]

use crate::kernel::page::{AfterId, Page, PageNumber, PageSize};
use crate::rpc::contract::{Param, ParamError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A notification about one of the caller's orders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// Increases with time; the stream's `Last-Event-ID`.
    pub id: i64,
    /// The event's type: `order.placed`, `order.rejected`, `order.cancelled`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The order's number.
    pub order_number: Option<String>,
    /// A short title.
    pub title: String,
    /// One or two sentences.
    pub message: String,
    /// When it was written, RFC 3339.
    pub created_at: String,
    /// Whether the customer has marked it as read.
    pub read: bool,
}

/// State of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// To be sent or retried.
    Pending,
    /// The receiver has accepted it.
    Delivered,
    /// A dead letter: not retried, but can be replayed.
    Dead,
}

impl DeliveryState {
    /// All states.
    pub const ALL: [DeliveryState; 3] = [DeliveryState::Pending, DeliveryState::Delivered, DeliveryState::Dead];

    /// Its name, on the wire and in stores.
    pub fn name(self) -> &'static str {
        match self {
            DeliveryState::Pending => "pending",
            DeliveryState::Delivered => "delivered",
            DeliveryState::Dead => "dead",
        }
    }

    /// The state of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

impl Param for DeliveryState {
    fn from_text(text: Option<&str>) -> Result<Self, ParamError> {
        text.and_then(Self::by_name).ok_or_else(|| "expected pending, delivered or dead".into())
    }
    fn to_text(&self) -> Option<String> {
        Some(self.name().into())
    }
    fn schema() -> Value {
        json!({ "type": "string", "enum": Self::ALL.map(Self::name) })
    }
}

/// One event for one external receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// The id for a replay.
    pub id: i64,
    /// `email` or `webhook`.
    pub channel: String,
    /// A webhook's URL without credentials and query, or a mail address with its name masked.
    pub target: String,
    /// The event's id; receivers drop duplicates by it.
    pub event_id: String,
    /// The event's type.
    pub event_type: String,
    /// The delivery's state.
    pub state: DeliveryState,
    /// Attempts so far; a replay resets it.
    pub attempts: i64,
    /// Error of the last failed attempt.
    pub last_error: Option<String>,
    /// Time of the next attempt, RFC 3339; only while pending.
    pub next_attempt_at: Option<String>,
}

crate::errors! {
    /// Errors of notification.
    pub enum NotificationError in "notification" {
        /// The caller has no notification of this id.
        NotFound { id: i64 } = 404, "Notification with id {id} not found";
        /// There is no such delivery.
        DeliveryNotFound { id: i64 } = 404, "Delivery with id {id} not found";
        /// Only a dead delivery can be replayed.
        NotDead { id: i64, state: String } = 409, "Delivery with id {id} is {state}; only a dead one can be replayed";
    }
}

crate::contract! {
    /// The customers' inboxes, and deliveries to external receivers.
    pub trait NotificationApi in "notification", error = NotificationError, client = NotificationClient {
        /// Lists the caller's own notifications, newest first. With `after`, the id of the last notification read, lists the
        /// older ones that follow it; totals are then not counted and only show, like `last`, whether more follow.
        fn list(query page: PageNumber, query size: PageSize, query after: Option<AfterId>) -> Page<Notification> = GET "/api/v1/notifications" => 200, Any, repeatable;

        /// Marks one of the caller's own notifications as read.
        fn mark_read(path id: i64) -> Notification = POST "/api/v1/notifications/{id}/read" => 200, Any, repeatable;

        /// Lists deliveries to mail and webhooks, newest first; with `state`, those of that state; with `after`, the older
        /// ones that follow this id, as in the list of notifications.
        fn deliveries(query page: PageNumber, query size: PageSize, query state: Option<DeliveryState>, query after: Option<AfterId>) -> Page<Delivery> = GET "/api/v1/notifications/deliveries" => 200, Admin, repeatable;

        /// Makes a dead delivery pending again and resets its attempts.
        fn replay(path id: i64) -> Delivery = POST "/api/v1/notifications/deliveries/{id}/replay" => 200, Admin, once;
    }
}
