//! Notification owns customers' inboxes, their live streams, mail, and signed webhooks. It depends on no
//! peer: all its data comes from events.
//!
//! It guarantees:
//! - Inbox: exactly once. The event's id, the notification and all deliveries are written in one
//!   transaction; a duplicate event changes nothing.
//! - Stream: with `Last-Event-ID`, no notification is lost or duplicated; the store is the source.
//! - Mail and webhooks: at least once, from a table that survives a crash, with exponential backoff up to a
//!   dead letter that an admin can replay.
//!
//! It does not guarantee:
//! - Exactly once for receivers. A crash between a mail server's 250, or a webhook's 2xx, and the commit
//!   sends again, and so does a process that was paused with a delivery in flight. Duplicates have the same
//!   `Message-ID` or `webhook-id`, so receivers can drop them.
//! - Order. Deliveries run concurrently, and later ones overtake a failed one, also at the same receiver.
//!
//! Processes on one store share the work: one at a time consumes events from the bus, each sends the
//! deliveries that it has claimed, and streams show the notifications of all of them.
//!
//! A mail server that answers 550, 551 or 553 (no such mailbox) and a webhook that answers 410 (Gone)
//! make a dead letter at once. Two webhooks must differ in more than credentials or query: deliveries
//! identify a webhook by the rest of its URL, so that no secret is stored.

pub use crate::modules::contracts::notification as api;

pub mod audit;

mod consumer;
mod delivery;
mod events;
mod http;
mod service;
mod store;
#[cfg(test)]
mod tests;

pub use events::describe;
pub use store::STORE;

use crate::kernel::error::OutOfRange;
use crate::kernel::error::StartError;
use crate::runtime::{Host, Parts};
use crate::settings;
use api::DeliveryState;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use store::NotificationStore;
use tokio_util::sync::CancellationToken;

/// Opens the store and builds the service and its background workers.
pub fn build(host: &Host) -> Result<(Arc<dyn api::NotificationApi>, Parts), StartError> {
    let settings = &host.settings.notification;
    let mut opened = Parts::default();
    let store = store::open(&host.settings, &host.metrics, &mut opened)?;
    let (service, mut parts) = assemble(store, settings, host.draining.clone())?;
    parts.reloadable.append(&mut opened.reloadable);
    parts.auth_failure_signals.append(&mut opened.auth_failure_signals);
    Ok((service, parts))
}

/// Builds the module on an open store.
fn assemble(
    store: Arc<dyn NotificationStore>,
    settings: &settings::Notification,
    draining: CancellationToken,
) -> Result<(Arc<dyn api::NotificationApi>, Parts), StartError> {
    if settings.attempts == 0 {
        return Err(OutOfRange::new("notification.attempts", 0, "1 or more").into());
    }
    let receivers = Arc::new(delivery::Receivers::new(settings)?);
    let service: Arc<dyn api::NotificationApi> = Arc::new(service::NotificationService::new(store.clone()));
    let streams = http::LiveStreams::new(store.clone(), draining);
    let mut parts = Parts { endpoints: api::NotificationClient::endpoints(service.clone()), ..Parts::default() };
    parts.endpoints.push(streams.endpoint());
    parts.worker("notification-live", move |_| streams.run());
    let backoff = Duration::from_millis(settings.backoff_ms);
    let worker = delivery::DeliveryWorker::new(store.clone(), receivers.clone(), settings.attempts, backoff);
    parts.worker("notification-deliveries", move |stop| worker.run(stop));
    parts.consumers.push(Arc::new(consumer::Notifier::new(store.clone(), receivers)));
    parts.check("notificationStore", move || {
        let store = store.clone();
        async move {
            let pending = store.count(DeliveryState::Pending).await?;
            let dead = store.count(DeliveryState::Dead).await?;
            Ok(json!({ "pendingDeliveries": pending, "deadDeliveries": dead }))
        }
    });
    Ok((service, parts))
}
