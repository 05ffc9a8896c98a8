//! Notification owns what customers and outside systems are told: an inbox for each customer, a live
//! stream of it, mail, and signed webhooks. It depends on no peer: all it knows comes by events.
//!
//! It promises:
//! - Inbox: exactly once. The event's id, the notification and every delivery are written in one
//!   transaction; an event that comes twice changes nothing.
//! - Stream: with `Last-Event-ID`, nothing is missed and nothing doubled; the store is its source.
//! - Mail and webhooks: at least once, from a table that survives a crash, with growing pauses up to a
//!   dead letter that an admin can replay.
//!
//! It does not promise:
//! - Once, towards the outside. A crash between a mail server's 250, or a webhook's 2xx, and our commit
//!   sends again, and so does a process that was paused with a delivery under way. The doubles are alike
//!   where it counts, in `Message-ID` and `webhook-id`: receivers drop them by that.
//! - Order. Deliveries run side by side, and one that failed is overtaken, even at the same receiver.
//!
//! Several processes on one store share the work: one at a time takes events off the bus, each sends the
//! deliveries that it has claimed, and streams show what any of them wrote.
//!
//! A mail server that answers 550, 551 or 553 (no such mailbox) and a webhook that answers 410 (Gone)
//! make a dead letter at once. Two webhooks may not differ in credentials or query alone: deliveries know
//! them by the rest of their URL, so that no secret gets into the store.

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

/// Opens the store and builds the service with what runs beside it.
pub fn build(host: &Host) -> Result<(Arc<dyn api::NotificationApi>, Parts), StartError> {
    let settings = &host.settings.notification;
    let mut opened = Parts::default();
    let store = store::open(&host.settings, &host.metrics, &mut opened)?;
    let (service, mut parts) = assemble(store, settings, host.draining.clone())?;
    parts.reloadable.append(&mut opened.reloadable);
    parts.auth_failure_signals.append(&mut opened.auth_failure_signals);
    Ok((service, parts))
}

/// On this store.
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
    let live = http::Live::new(store.clone(), draining);
    let mut parts = Parts { endpoints: api::NotificationClient::endpoints(service.clone()), ..Parts::default() };
    parts.endpoints.push(live.endpoint());
    parts.worker("notification-live", move |_| live.run());
    let backoff = Duration::from_millis(settings.backoff_ms);
    let courier = delivery::Courier::new(store.clone(), receivers.clone(), settings.attempts, backoff);
    parts.worker("notification-deliveries", move |stop| courier.run(stop));
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
