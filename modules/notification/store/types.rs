//! The store's interface and the types it shares with its backends.

use crate::events::event::Event;
use crate::kernel::error::StoreError;
use crate::kernel::page::PageRequest;
use crate::modules::notification::api::{Delivery, DeliveryState, Notification};
use async_trait::async_trait;
use futures_util::future::LocalBoxFuture;

/// How a delivery travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::modules::notification) enum Channel {
    /// By SMTP; its target is an address.
    Email,
    /// By a signed POST; its target is a webhook's URL without credentials and query.
    Webhook,
}

impl Channel {
    /// Its name, on the wire and in stores.
    pub(in crate::modules::notification) fn name(self) -> &'static str {
        match self {
            Channel::Email => "email",
            Channel::Webhook => "webhook",
        }
    }
}

/// A notification to be written.
#[derive(Debug, Clone)]
pub(in crate::modules::notification) struct NewNotification {
    pub(in crate::modules::notification) customer: String,
    pub(in crate::modules::notification) order_number: String,
    pub(in crate::modules::notification) title: String,
    pub(in crate::modules::notification) message: String,
}

/// A delivery to be made out.
#[derive(Debug, Clone)]
pub(in crate::modules::notification) struct NewDelivery {
    pub(in crate::modules::notification) channel: Channel,
    pub(in crate::modules::notification) target: String,
    /// The event as JSON.
    pub(in crate::modules::notification) body: String,
}

/// An event with all that it brings about.
#[derive(Debug, Clone)]
pub(in crate::modules::notification) struct Taken {
    pub(in crate::modules::notification) event: Event,
    pub(in crate::modules::notification) notification: Option<NewNotification>,
    pub(in crate::modules::notification) deliveries: Vec<NewDelivery>,
}

/// A delivery whose time has come.
#[derive(Debug, Clone)]
pub(in crate::modules::notification) struct Due {
    pub(in crate::modules::notification) id: i64,
    pub(in crate::modules::notification) event_id: String,
    pub(in crate::modules::notification) channel: Channel,
    pub(in crate::modules::notification) target: String,
    pub(in crate::modules::notification) body: String,
    /// Attempts before this one.
    pub(in crate::modules::notification) attempts: i64,
}

/// What is not to be taken up just now.
#[derive(Debug, Clone, Default)]
pub(in crate::modules::notification) struct Busy {
    /// Deliveries under way.
    pub(in crate::modules::notification) ids: Vec<i64>,
    /// Webhooks that have enough under way.
    pub(in crate::modules::notification) webhooks: Vec<String>,
    /// Whether mail has.
    pub(in crate::modules::notification) email: bool,
}

/// What an attempt changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::modules::notification) enum Attempted {
    /// The receiver has it.
    Delivered,
    /// Try again then (milliseconds since 1970).
    Again { error: String, at: i64 },
    /// Give up.
    Dead { error: String },
}

/// Inboxes and deliveries.
#[async_trait(?Send)]
pub(in crate::modules::notification) trait NotificationStore: Send + Sync {
    /// Writes what these events bring about, in one transaction; an event seen before brings about nothing.
    async fn take(&self, taken: Vec<Taken>) -> Result<(), StoreError>;
    /// A page of a customer's notifications, newest first, and how many there are.
    async fn page(&self, customer: &str, request: PageRequest) -> Result<(Vec<Notification>, i64), StoreError>;
    /// A customer's notifications after this id, oldest first.
    async fn after(&self, customer: &str, id: i64, limit: i64) -> Result<Vec<Notification>, StoreError>;
    /// Marks a customer's notification as read; `None` where the customer has none of this id.
    async fn mark_read(&self, customer: &str, id: i64) -> Result<Option<Notification>, StoreError>;
    /// The highest id of all notifications; 0 where there is none.
    async fn latest(&self) -> Result<i64, StoreError>;
    /// Ids and customers of notifications after this id, oldest first.
    async fn customers_after(&self, id: i64, limit: i64) -> Result<Vec<(i64, String)>, StoreError>;
    /// A page of deliveries, newest first, and how many there are; targets in full.
    async fn deliveries(&self, request: PageRequest, state: Option<DeliveryState>) -> Result<(Vec<Delivery>, i64), StoreError>;
    /// One delivery, its target in full.
    async fn delivery(&self, id: i64) -> Result<Option<Delivery>, StoreError>;
    /// Makes a dead delivery pending, with no attempts; `false` where it is not dead.
    async fn replay(&self, id: i64, now: i64) -> Result<bool, StoreError>;
    /// Pending deliveries whose time has come, the longest due first.
    async fn due(&self, now: i64, busy: Busy, limit: i64) -> Result<Vec<Due>, StoreError>;
    /// Makes these ours until `until`: those of them that are still due and that nobody else has claimed.
    async fn claim(&self, due: Vec<Due>, now: i64, until: i64) -> Result<Vec<Due>, StoreError>;
    /// Keeps claims until `until`.
    async fn keep(&self, ids: Vec<i64>, until: i64) -> Result<(), StoreError>;
    /// When the next pending delivery after `now` is due.
    async fn next_due(&self, now: i64) -> Result<Option<i64>, StoreError>;
    /// Writes down how an attempt ended. That the receiver has it counts in any case; a failure only while
    /// no later attempt was written down.
    async fn record(&self, id: i64, attempts: i64, outcome: Attempted) -> Result<(), StoreError>;
    /// How many deliveries are in this state.
    async fn count(&self, state: DeliveryState) -> Result<i64, StoreError>;
    /// Waits for the next commit of this process. Register before looking at the data.
    fn next_commit(&self) -> LocalBoxFuture<'_, ()>;
}
