//! Tests of webhooks, dead letters and replay.

use super::super::api::{Delivery, DeliveryState, NotificationError};
use super::super::assemble;
use super::super::store::{AttemptResult, Channel, ClaimFilter, NewDelivery, NotificationStore, ProcessedEvent};
use super::support::*;
use crate::events::event::Event;
use crate::kernel::clock::rfc3339;
use crate::kernel::page::{PageNumber, PageSize};
use crate::kernel::secret::Secret;
use serde_json::json;
use std::sync::Arc;

async fn listed(running: &Running, state: Option<DeliveryState>) -> Vec<Delivery> {
    running.api.deliveries(&cx("admin"), PageNumber(0), PageSize(100), state, None).await.unwrap().content
}

/// Waits until a delivery is in this state.
async fn wait_for_state(running: &Running, state: DeliveryState) -> Delivery {
    running.until(async |r| listed(r, Some(state)).await.pop()).await
}

#[actix_web::test]
async fn webhook_failing_is_retried_signed_until_accepted() {
    let mut hook = Receiver::start(&[(503, &[("retry-after", "0")]), (500, &[])]);
    let running = Running::start(&test_settings(5, vec![hook.settings(&[])]));
    let event = placed("jane");
    running.publish(&[&event]).await;
    for _ in 0..3 {
        let received = hook.next().await;
        received.verify();
        assert_eq!(received.headers["webhook-id"], event.id.to_string());
        assert_eq!(received.headers["content-type"], "application/cloudevents+json");
        let envelope: Event = serde_json::from_str(&received.body).unwrap();
        assert_eq!((envelope.id, envelope.kind.as_str(), envelope.data.get()), (event.id, "order.placed", event.data.get()));
    }
    let delivery = wait_for_state(&running, DeliveryState::Delivered).await;
    assert_eq!((delivery.attempts, delivery.last_error, delivery.next_attempt_at), (3, None, None));
    assert_eq!((delivery.channel.as_str(), delivery.target), ("webhook", format!("{}/hook", hook.url)));
    running.stop().await;
    hook.stop().await;
}

#[actix_web::test]
async fn delivery_after_max_attempts_is_dead_until_replayed() {
    let mut hook = Receiver::start(&[(500, &[]), (500, &[]), (500, &[])]);
    let running = Running::start(&test_settings(2, vec![hook.settings(&["order.placed"])]));
    running.publish(&[&placed("jane")]).await;
    let dead = wait_for_state(&running, DeliveryState::Dead).await;
    assert_eq!((dead.attempts, dead.last_error.as_deref()), (2, Some("answered 500 Internal Server Error")));

    let replayed = running.api.replay(&cx("admin"), dead.id).await.unwrap();
    assert_eq!((replayed.id, replayed.state, replayed.attempts), (dead.id, DeliveryState::Pending, 0));
    let delivered = wait_for_state(&running, DeliveryState::Delivered).await;
    assert_eq!((delivered.id, delivered.attempts), (dead.id, 2));
    for _ in 0..4 {
        hook.next().await.verify();
    }

    let error = running.api.replay(&cx("admin"), dead.id).await.unwrap_err();
    assert_eq!(error, NotificationError::NotDead { id: dead.id, state: "delivered".into() });
    assert_eq!(running.api.replay(&cx("admin"), 99).await.unwrap_err(), NotificationError::DeliveryNotFound { id: 99 });
    running.stop().await;
    hook.stop().await;
}

#[actix_web::test]
async fn webhook_answering_gone_is_dead_and_redirect_is_retried() {
    let mut hook = Receiver::start(&[(302, &[("location", "/elsewhere")]), (410, &[])]);
    let running = Running::start(&test_settings(5, vec![hook.settings(&[])]));
    running.publish(&[&placed("jane")]).await;
    let dead = wait_for_state(&running, DeliveryState::Dead).await;
    assert_eq!(dead.attempts, 2);
    assert_eq!((hook.next().await.path.as_str(), hook.next().await.path.as_str()), ("/hook", "/hook"));
    running.stop().await;
    assert!(hook.received.try_recv().is_err());
    hook.stop().await;
}

#[actix_web::test]
async fn webhook_with_retry_after_is_retried_at_that_time() {
    let mut hook = Receiver::start(&[(429, &[("retry-after", "1800")])]);
    let running = Running::start(&test_settings(5, vec![hook.settings(&[])]));
    running.publish(&[&placed("jane")]).await;
    hook.next().await;
    let waiting = running.until(async |r| listed(r, None).await.pop().filter(|d| d.attempts == 1)).await;
    let soon = crate::kernel::clock::rfc3339(crate::kernel::clock::now_ms() + 1_700_000);
    assert!(waiting.state == DeliveryState::Pending && waiting.next_attempt_at.unwrap() > soon);
    running.stop().await;
    hook.stop().await;
}

#[actix_web::test]
async fn webhook_with_filter_receives_subscribed_events_only() {
    let mut hook = Receiver::start(&[]);
    let mut all = Receiver::start(&[]);
    let running = Running::start(&test_settings(5, vec![hook.settings(&["stock.low"]), all.settings(&[])]));
    let low = event("stock.low", &json!({ "skuCode": "SKU-1", "quantity": 2, "threshold": 5 }));
    running.publish(&[&event("product.created", &json!({})), &placed("jane"), &low]).await;
    assert_eq!(hook.next().await.headers["webhook-id"], low.id.to_string());
    let mut kinds = vec![];
    for _ in 0..3 {
        kinds.push(serde_json::from_str::<Event>(&all.next().await.body).unwrap().kind);
    }
    kinds.sort();
    assert_eq!(kinds, ["order.placed", "product.created", "stock.low"]);
    assert_eq!(listed(&running, None).await.len(), 4);
    running.stop().await;
    hook.stop().await;
    all.stop().await;
}

#[actix_web::test]
async fn receiver_failing_does_not_block_others() {
    let mut good = Receiver::start(&[]);
    let mut bad = good.settings(&[]);
    // no listener on port 1 of loopback
    bad.url = "http://127.0.0.1:1/".into();
    let running = Running::start(&test_settings(2, vec![bad, good.settings(&[])]));
    let events: Vec<Event> = (0..40).map(|_| placed("jane")).collect();
    running.publish(&events.iter().collect::<Vec<_>>()).await;
    for _ in 0..40 {
        good.next().await.verify();
    }
    running.until(async |r| (listed(r, Some(DeliveryState::Dead)).await.len() == 40).then_some(())).await;
    running.until(async |r| (listed(r, Some(DeliveryState::Delivered)).await.len() == 40).then_some(())).await;
    running.stop().await;
    assert!(good.received.try_recv().is_err(), "a delivery was sent twice");
    good.stop().await;
}

#[actix_web::test]
async fn webhook_settings_invalid_error_names_index() {
    let hook = Receiver::start(&[]);
    let running = Running::start(&test_settings(1, vec![]));
    let start_error = |settings| assemble(running.store.clone(), &settings, Default::default()).err().unwrap().to_string();
    let mut broken = hook.settings(&[]);
    broken.secret = Secret::new("whsec_nonsense!");
    let text = start_error(test_settings(1, vec![hook.settings(&[]), broken]));
    assert!(text.starts_with("notification.webhooks[1]: secret: expected whsec_") && !text.contains("nonsense"), "{text}");
    let mut other = hook.settings(&[]);
    other.url = other.url.replace("hidden", "other");
    let text = start_error(test_settings(1, vec![hook.settings(&[]), other]));
    assert!(text.contains("webhooks[1]") && text.contains("webhooks[0]") && !text.contains("hidden"), "{text}");
    assert!(start_error(test_settings(0, vec![])).contains("notification.attempts"));
    running.stop().await;
    hook.stop().await;
}

/// Two processes on one store: neither takes the other's claimed deliveries until the claim ends.
#[actix_web::test]
async fn delivery_claimed_is_not_claimable_until_claim_ends() {
    let hook = Receiver::start(&[]);
    let mut running = Running::start(&test_settings(1, vec![]));
    let store: Arc<dyn NotificationStore> = running.store.clone();
    let event = placed("jane");
    let delivery = NewDelivery { channel: Channel::Webhook, target: hook.url.clone(), body: "{}".into() };
    store.apply(vec![ProcessedEvent { event: event.clone(), notification: None, deliveries: vec![delivery] }]).await.unwrap();
    // the running worker has no such webhook and makes a dead letter; after a replay the test owns the delivery
    let dead = wait_for_state(&running, DeliveryState::Dead).await;
    running.stop_workers().await;
    store.replay(dead.id, 0).await.unwrap();
    let due = store.due(10, ClaimFilter::default(), 8).await.unwrap();
    assert_eq!(store.claim(due.clone(), 10, 100).await.unwrap().len(), 1);
    assert!(store.claim(due.clone(), 11, 100).await.unwrap().is_empty(), "claimed already");
    assert!(store.due(99, ClaimFilter::default(), 8).await.unwrap().is_empty());
    store.set_claim_end(vec![dead.id], 200).await.unwrap();
    assert!(store.due(150, ClaimFilter::default(), 8).await.unwrap().is_empty(), "claim extended");
    let expired = store.due(200, ClaimFilter::default(), 8).await.unwrap();
    assert_eq!(store.claim(expired, 200, 300).await.unwrap().len(), 1, "its claim has ended");
    let hour = 3_600_000;
    store.set_claim_end(vec![dead.id], 2 * hour).await.unwrap();
    assert!(store.due(hour, ClaimFilter::default(), 8).await.unwrap().is_empty(), "at most one hour ahead");
    let due = store.due(300, ClaimFilter::default(), 8).await.unwrap();
    assert_eq!(store.claim(due, 300, 300).await.unwrap().len(), 1, "the clock was set back: an end so far ahead is not credible");
    let failed = |at| AttemptResult::Retry { error: "late".into(), at };
    store.record(dead.id, 1, failed(400)).await.unwrap();
    store.record(dead.id, 1, failed(999)).await.unwrap();
    let after = store.delivery(dead.id).await.unwrap().unwrap();
    assert_eq!((after.attempts, after.next_attempt_at), (1, Some(rfc3339(400))), "only the first result of an attempt counts");
    store.record(dead.id, 1, AttemptResult::Delivered).await.unwrap();
    assert_eq!(store.delivery(dead.id).await.unwrap().unwrap().state, DeliveryState::Delivered, "a success always counts");
    hook.stop().await;
}
