//! The store's interface and the types it shares with its backends.

use crate::events::event::Event;
use crate::kernel::error::StoreError;
use crate::kernel::page::PageRequest;
use crate::modules::notification::api::{Delivery, DeliveryState, Notification};
use async_trait::async_trait;
use futures_util::future::LocalBoxFuture;
use std::time::Duration;

/// Longest time until the next attempt of a delivery, also if a receiver's `Retry-After` is longer.
pub(in crate::modules::notification) const MAX_BACKOFF: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::modules::notification) enum Channel {
    /// SMTP; the target is a mail address.
    Email,
    /// Signed POST; the target is the webhook's URL without credentials and query.
    Webhook,
}

impl Channel {
    /// Name on the wire and in stores.
    pub(in crate::modules::notification) fn name(self) -> &'static str {
        match self {
            Channel::Email => "email",
            Channel::Webhook => "webhook",
        }
    }
}

#[derive(Debug, Clone)]
pub(in crate::modules::notification) struct NewNotification {
    pub(in crate::modules::notification) customer: String,
    pub(in crate::modules::notification) order_number: String,
    pub(in crate::modules::notification) title: String,
    pub(in crate::modules::notification) message: String,
}

#[derive(Debug, Clone)]
pub(in crate::modules::notification) struct NewDelivery {
    pub(in crate::modules::notification) channel: Channel,
    pub(in crate::modules::notification) target: String,
    /// The event as JSON.
    pub(in crate::modules::notification) body: String,
}

/// An event with the notification and deliveries that it causes.
#[derive(Debug, Clone)]
pub(in crate::modules::notification) struct ProcessedEvent {
    pub(in crate::modules::notification) event: Event,
    pub(in crate::modules::notification) notification: Option<NewNotification>,
    pub(in crate::modules::notification) deliveries: Vec<NewDelivery>,
}

/// A pending delivery whose next attempt is due.
#[derive(Debug, Clone)]
pub(in crate::modules::notification) struct DueDelivery {
    pub(in crate::modules::notification) id: i64,
    pub(in crate::modules::notification) event_id: String,
    pub(in crate::modules::notification) channel: Channel,
    pub(in crate::modules::notification) target: String,
    pub(in crate::modules::notification) body: String,
    /// Attempts before this one.
    pub(in crate::modules::notification) attempts: i64,
}

/// Deliveries not to be claimed now.
#[derive(Debug, Clone, Default)]
pub(in crate::modules::notification) struct ClaimFilter {
    /// Deliveries that this process has claimed already.
    pub(in crate::modules::notification) excluded_ids: Vec<i64>,
    /// Webhooks at their concurrency limit.
    pub(in crate::modules::notification) excluded_webhooks: Vec<String>,
    /// Whether mail is at its concurrency limit.
    pub(in crate::modules::notification) exclude_email: bool,
}

/// How a delivery attempt is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::modules::notification) enum AttemptResult {
    Delivered,
    /// Retry at this time (milliseconds since 1970).
    Retry {
        error: String,
        at: i64,
    },
    Dead {
        error: String,
    },
}

#[async_trait(?Send)]
pub(in crate::modules::notification) trait NotificationStore: Send + Sync {
    /// Writes the notifications and deliveries of these events in one transaction; skips duplicate events.
    async fn apply(&self, events: Vec<ProcessedEvent>) -> Result<(), StoreError>;
    /// A page of a customer's notifications, newest first, and their total number.
    async fn page(&self, customer: &str, request: PageRequest) -> Result<(Vec<Notification>, i64), StoreError>;
    /// A customer's notifications before this id, newest first.
    async fn before(&self, customer: &str, id: i64, limit: i64) -> Result<Vec<Notification>, StoreError>;
    /// A customer's notifications after this id, oldest first.
    async fn after(&self, customer: &str, id: i64, limit: i64) -> Result<Vec<Notification>, StoreError>;
    /// Marks a customer's notification as read; `None` if the customer has none with this id.
    async fn mark_read(&self, customer: &str, id: i64) -> Result<Option<Notification>, StoreError>;
    /// The highest id of all notifications; 0 if there is none.
    async fn latest(&self) -> Result<i64, StoreError>;
    /// Ids and customers of notifications after this id, oldest first.
    async fn customers_after(&self, id: i64, limit: i64) -> Result<Vec<(i64, String)>, StoreError>;
    /// A page of deliveries, newest first, and their total number; targets are not masked.
    async fn deliveries(&self, request: PageRequest, state: Option<DeliveryState>) -> Result<(Vec<Delivery>, i64), StoreError>;
    /// Deliveries before this id, newest first; targets are not masked.
    async fn deliveries_before(&self, id: i64, limit: i64, state: Option<DeliveryState>) -> Result<Vec<Delivery>, StoreError>;
    /// One delivery; its target is not masked.
    async fn delivery(&self, id: i64) -> Result<Option<Delivery>, StoreError>;
    /// Makes a dead delivery pending and resets its attempts; `false` if it is not dead.
    async fn replay(&self, id: i64, now: i64) -> Result<bool, StoreError>;
    /// Pending deliveries that are due, the longest due first.
    async fn due(&self, now: i64, filter: ClaimFilter, limit: i64) -> Result<Vec<DueDelivery>, StoreError>;
    /// Claims these deliveries until `until`. Returns those that are still due and not claimed by another process.
    async fn claim(&self, due: Vec<DueDelivery>, now: i64, until: i64) -> Result<Vec<DueDelivery>, StoreError>;
    /// Changes the end of these claims to `until`.
    async fn set_claim_end(&self, ids: Vec<i64>, until: i64) -> Result<(), StoreError>;
    /// When the next pending delivery after `now` is due.
    async fn next_due(&self, now: i64) -> Result<Option<i64>, StoreError>;
    /// Records an attempt. A success always counts; a failure only if no later attempt was recorded.
    async fn record(&self, id: i64, attempts: i64, result: AttemptResult) -> Result<(), StoreError>;
    /// Number of deliveries in this state.
    async fn count(&self, state: DeliveryState) -> Result<i64, StoreError>;
    /// Waits for the next commit of this process. Call it before reading the data.
    fn next_commit(&self) -> LocalBoxFuture<'_, ()>;
}
