//! Webhooks, dead letters, replay.

use super::super::api::{Delivery, DeliveryState, NotificationError};
use super::super::assemble;
use super::super::store::{Attempted, Busy, Channel, NewDelivery, NotificationStore, Taken};
use super::support::*;
use crate::events::event::Event;
use crate::kernel::clock::rfc3339;
use crate::kernel::page::{PageNumber, PageSize};
use crate::kernel::secret::Secret;
use serde_json::json;
use std::sync::Arc;

async fn listed(running: &Running, state: Option<DeliveryState>) -> Vec<Delivery> {
    running.api.deliveries(&cx("admin"), PageNumber(0), PageSize(100), state).await.unwrap().content
}

/// The only delivery, once it is in this state.
async fn once(running: &Running, state: DeliveryState) -> Delivery {
    running.until(async |r| listed(r, Some(state)).await.pop()).await
}

#[actix_web::test]
async fn a_webhook_is_signed_and_tried_until_it_accepts() {
    let mut hook = Receiver::start(&[(503, &[("retry-after", "0")]), (500, &[])]);
    let running = Running::start(&eager(5, vec![hook.settings(&[])]));
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
    let delivery = once(&running, DeliveryState::Delivered).await;
    assert_eq!((delivery.attempts, delivery.last_error, delivery.next_attempt_at), (3, None, None));
    assert_eq!((delivery.channel.as_str(), delivery.target), ("webhook", format!("{}/hook", hook.url)));
    running.stop().await;
    hook.stop().await;
}

#[actix_web::test]
async fn after_its_attempts_it_is_dead_until_it_is_replayed() {
    let mut hook = Receiver::start(&[(500, &[]), (500, &[]), (500, &[])]);
    let running = Running::start(&eager(2, vec![hook.settings(&["order.placed"])]));
    running.publish(&[&placed("jane")]).await;
    let dead = once(&running, DeliveryState::Dead).await;
    assert_eq!((dead.attempts, dead.last_error.as_deref()), (2, Some("answered 500 Internal Server Error")));

    let again = running.api.replay(&cx("admin"), dead.id).await.unwrap();
    assert_eq!((again.id, again.state, again.attempts), (dead.id, DeliveryState::Pending, 0));
    let delivered = once(&running, DeliveryState::Delivered).await;
    assert_eq!((delivered.id, delivered.attempts), (dead.id, 2));
    for _ in 0..4 {
        hook.next().await.verify();
    }

    let refused = running.api.replay(&cx("admin"), dead.id).await.unwrap_err();
    assert_eq!(refused, NotificationError::NotDead { id: dead.id, state: "delivered".into() });
    assert_eq!(running.api.replay(&cx("admin"), 99).await.unwrap_err(), NotificationError::DeliveryNotFound { id: 99 });
    running.stop().await;
    hook.stop().await;
}

#[actix_web::test]
async fn gone_is_final_and_a_redirect_is_a_failure() {
    let mut hook = Receiver::start(&[(302, &[("location", "/elsewhere")]), (410, &[])]);
    let running = Running::start(&eager(5, vec![hook.settings(&[])]));
    running.publish(&[&placed("jane")]).await;
    let dead = once(&running, DeliveryState::Dead).await;
    assert_eq!(dead.attempts, 2);
    assert_eq!((hook.next().await.path.as_str(), hook.next().await.path.as_str()), ("/hook", "/hook"));
    running.stop().await;
    assert!(hook.received.try_recv().is_err());
    hook.stop().await;
}

#[actix_web::test]
async fn retry_after_is_waited_for() {
    let mut hook = Receiver::start(&[(429, &[("retry-after", "1800")])]);
    let running = Running::start(&eager(5, vec![hook.settings(&[])]));
    running.publish(&[&placed("jane")]).await;
    hook.next().await;
    let waiting = running.until(async |r| listed(r, None).await.pop().filter(|d| d.attempts == 1)).await;
    let soon = crate::kernel::clock::rfc3339(crate::kernel::clock::now_ms() + 1_700_000);
    assert!(waiting.state == DeliveryState::Pending && waiting.next_attempt_at.unwrap() > soon);
    running.stop().await;
    hook.stop().await;
}

#[actix_web::test]
async fn a_webhook_gets_what_it_subscribed_to() {
    let mut hook = Receiver::start(&[]);
    let mut all = Receiver::start(&[]);
    let running = Running::start(&eager(5, vec![hook.settings(&["stock.low"]), all.settings(&[])]));
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
async fn many_go_out_past_a_receiver_that_fails() {
    let mut good = Receiver::start(&[]);
    let mut bad = good.settings(&[]);
    // nothing listens on port 1 of loopback
    bad.url = "http://127.0.0.1:1/".into();
    let running = Running::start(&eager(2, vec![bad, good.settings(&[])]));
    let events: Vec<Event> = (0..40).map(|_| placed("jane")).collect();
    running.publish(&events.iter().collect::<Vec<_>>()).await;
    for _ in 0..40 {
        good.next().await.verify();
    }
    running.until(async |r| (listed(r, Some(DeliveryState::Dead)).await.len() == 40).then_some(())).await;
    running.until(async |r| (listed(r, Some(DeliveryState::Delivered)).await.len() == 40).then_some(())).await;
    running.stop().await;
    assert!(good.received.try_recv().is_err(), "one was sent twice");
    good.stop().await;
}

#[actix_web::test]
async fn wrong_settings_are_refused_by_their_place() {
    let hook = Receiver::start(&[]);
    let running = Running::start(&eager(1, vec![]));
    let refused = |settings| assemble(running.store.clone(), &settings, Default::default()).err().unwrap().to_string();
    let mut broken = hook.settings(&[]);
    broken.secret = Secret::new("whsec_nonsense!");
    let text = refused(eager(1, vec![hook.settings(&[]), broken]));
    assert!(text.starts_with("notification.webhooks[1]: secret: expected whsec_") && !text.contains("nonsense"), "{text}");
    let mut other = hook.settings(&[]);
    other.url = other.url.replace("hidden", "other");
    let text = refused(eager(1, vec![hook.settings(&[]), other]));
    assert!(text.contains("webhooks[1]") && text.contains("webhooks[0]") && !text.contains("hidden"), "{text}");
    assert!(refused(eager(0, vec![])).contains("notification.attempts"));
    running.stop().await;
    hook.stop().await;
}

/// Two processes on one store: what one has claimed the other leaves alone, until the claim ends.
#[actix_web::test]
async fn a_delivery_is_claimed_by_one_and_free_again_when_the_claim_ends() {
    let hook = Receiver::start(&[]);
    let mut running = Running::start(&eager(1, vec![]));
    let store: Arc<dyn NotificationStore> = running.store.clone();
    let event = placed("jane");
    let delivery = NewDelivery { channel: Channel::Webhook, target: hook.url.clone(), body: "{}".into() };
    store.take(vec![Taken { event: event.clone(), notification: None, deliveries: vec![delivery] }]).await.unwrap();
    // the courier here has no such webhook, and makes a dead letter of it: replayed, it is ours
    let dead = once(&running, DeliveryState::Dead).await;
    running.rest().await;
    store.replay(dead.id, 0).await.unwrap();
    let due = store.due(10, Busy::default(), 8).await.unwrap();
    assert_eq!(store.claim(due.clone(), 10, 100).await.unwrap().len(), 1);
    assert!(store.claim(due.clone(), 11, 100).await.unwrap().is_empty(), "claimed already");
    assert!(store.due(99, Busy::default(), 8).await.unwrap().is_empty());
    store.keep(vec![dead.id], 200).await.unwrap();
    assert!(store.due(150, Busy::default(), 8).await.unwrap().is_empty(), "kept");
    let late = store.due(200, Busy::default(), 8).await.unwrap();
    assert_eq!(store.claim(late, 200, 300).await.unwrap().len(), 1, "its claim has ended");
    let failed = |at| Attempted::Again { error: "late".into(), at };
    store.record(dead.id, 1, failed(400)).await.unwrap();
    store.record(dead.id, 1, failed(999)).await.unwrap();
    let after = store.delivery(dead.id).await.unwrap().unwrap();
    assert_eq!((after.attempts, after.next_attempt_at), (1, Some(rfc3339(400))), "the first word on an attempt counts");
    store.record(dead.id, 1, Attempted::Delivered).await.unwrap();
    assert_eq!(store.delivery(dead.id).await.unwrap().unwrap().state, DeliveryState::Delivered, "what has arrived has arrived");
    hook.stop().await;
}
