//! Tests of inboxes: ownership, and exactly-once processing of events.

use super::super::api::{Notification, NotificationError};
use super::support::*;
use crate::events::bus::{ApplyError, Bus};
use crate::events::event::Event;
use crate::kernel::page::{PageNumber, PageSize};
use crate::rpc::context::Cx;
use serde_json::json;
use std::time::Duration;

async fn inbox(running: &Running, customer: &str) -> Vec<Notification> {
    running.api.list(&cx(customer), PageNumber(0), PageSize(100), None).await.unwrap().content
}

#[actix_web::test]
async fn inbox_lists_own_notifications_newest_first() {
    let running = Running::start(&test_settings(1, vec![]));
    let mut rejected = order_data("jane", "Jane", None);
    rejected["reason"] = json!("Out of stock SKUs: SKU-1");
    rejected["total"] = json!(null);
    let (first, other, second) = (placed("jane"), placed("john"), event("order.rejected", &rejected));
    running.publish(&[&first, &other, &event("order.shipped", &json!({})), &second]).await;
    let notifications = running.until(async |r| Some(inbox(r, "jane").await).filter(|list| list.len() == 2)).await;
    assert!(notifications[0].id > notifications[1].id);
    assert_eq!((notifications[0].kind.as_str(), notifications[1].kind.as_str()), ("order.rejected", "order.placed"));
    assert_eq!(notifications[1].order_number.as_deref(), Some(first.subject.as_str()));
    assert_eq!(notifications[1].message, format!("Your order {} is placed: 2 lines, 21 in all.", first.subject));
    assert!(notifications[0].message.ends_with("could not be placed: Out of stock SKUs: SKU-1") && !notifications[0].read);

    let read = running.api.mark_read(&cx("jane"), notifications[0].id).await.unwrap();
    assert!(read.read && read.id == notifications[0].id);
    let johns = running.api.mark_read(&cx("john"), notifications[1].id).await.unwrap_err();
    assert_eq!(johns, NotificationError::NotFound { id: notifications[1].id });
    assert_eq!(inbox(&running, "jane").await.iter().map(|n| n.read).collect::<Vec<_>>(), [true, false]);
    let worker = running.api.list(&Cx::module("x", Duration::from_secs(1)), PageNumber(0), PageSize(1), None).await;
    assert!(matches!(worker, Err(NotificationError::Platform(problem)) if problem.status == 401));
    running.stop().await;
}

#[actix_web::test]
async fn event_delivered_twice_is_applied_once() {
    let mut hook = Receiver::start(&[]);
    let running = Running::start(&test_settings(1, vec![hook.settings(&[])]));
    let (twice, last) = (placed("jane"), placed("jane"));
    running.publish(&[&twice, &twice]).await;
    running.publish(&[&twice, &last]).await;
    running.until(async |r| inbox(r, "jane").await.into_iter().find(|n| n.order_number.as_ref() == Some(&last.subject))).await;
    assert_eq!(inbox(&running, "jane").await.len(), 2);
    let mut ids = [hook.next().await.headers["webhook-id"].clone(), hook.next().await.headers["webhook-id"].clone()];
    let mut expected = [twice.id.to_string(), last.id.to_string()];
    ids.sort();
    expected.sort();
    assert_eq!(ids, expected);
    running.stop().await;
    assert!(hook.received.try_recv().is_err());
    hook.stop().await;
}

#[actix_web::test]
async fn event_malformed_is_dead_lettered_without_partial_changes() {
    let running = Running::start(&test_settings(1, vec![]));
    let broken = event("order.placed", &json!({ "orderNumber": "no uuid", "customer": { "id": "jane", "name": "Jane" } }));
    let unfit = running.consumer.apply(&[placed("jane"), broken.clone()]).await;
    assert!(matches!(unfit, Err(ApplyError::Rejected(reason)) if reason.starts_with("order.placed does not fit")));
    assert!(inbox(&running, "jane").await.is_empty());

    running.publish(&[&placed("jane"), &broken, &placed("jane")]).await;
    running.until(async |r| (inbox(r, "jane").await.len() == 2).then_some(())).await;
    let dead_lettered = async {
        loop {
            // the bus uses a database of its own; publish another event to wait for its progress
            if let Some(letter) = running.bus.dead_letters(10).await.unwrap().pop() {
                return letter;
            }
            running.publish(&[&event("order.shipped", &json!({}))]).await;
        }
    };
    let letter: Event = serde_json::from_str(tokio::time::timeout(TEST_TIMEOUT, dead_lettered).await.unwrap().event.get()).unwrap();
    assert_eq!(letter.id, broken.id);
    running.stop().await;
}
