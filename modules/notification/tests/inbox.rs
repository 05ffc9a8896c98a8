//! Inboxes: whose they are, and that an event counts once.

use super::super::api::{Notification, NotificationError};
use super::support::*;
use crate::events::bus::{ApplyError, Bus};
use crate::events::event::Event;
use crate::kernel::page::{PageNumber, PageSize};
use crate::rpc::context::Cx;
use serde_json::json;
use std::time::Duration;

async fn inbox(running: &Running, customer: &str) -> Vec<Notification> {
    running.api.list(&cx(customer), PageNumber(0), PageSize(100)).await.unwrap().content
}

#[actix_web::test]
async fn customers_see_their_own_newest_first() {
    let running = Running::start(&eager(1, vec![]));
    let mut rejected = order_data("jane", "Jane", None);
    rejected["reason"] = json!("Out of stock SKUs: SKU-1");
    rejected["total"] = json!(null);
    let (first, other, second) = (placed("jane"), placed("john"), event("order.rejected", &rejected));
    running.publish(&[&first, &other, &event("order.shipped", &json!({})), &second]).await;
    let own = running.until(async |r| Some(inbox(r, "jane").await).filter(|own| own.len() == 2)).await;
    assert!(own[0].id > own[1].id);
    assert_eq!((own[0].kind.as_str(), own[1].kind.as_str()), ("order.rejected", "order.placed"));
    assert_eq!(own[1].order_number.as_deref(), Some(first.subject.as_str()));
    assert_eq!(own[1].message, format!("Your order {} is placed: 2 lines, 21 in all.", first.subject));
    assert!(own[0].message.ends_with("could not be placed: Out of stock SKUs: SKU-1") && !own[0].read);

    let read = running.api.mark_read(&cx("jane"), own[0].id).await.unwrap();
    assert!(read.read && read.id == own[0].id);
    let johns = running.api.mark_read(&cx("john"), own[1].id).await.unwrap_err();
    assert_eq!(johns, NotificationError::NotFound { id: own[1].id });
    assert_eq!(inbox(&running, "jane").await.iter().map(|n| n.read).collect::<Vec<_>>(), [true, false]);
    let worker = running.api.list(&Cx::module("x", Duration::from_secs(1)), PageNumber(0), PageSize(1)).await;
    assert!(matches!(worker, Err(NotificationError::Platform(problem)) if problem.status == 401));
    running.stop().await;
}

#[actix_web::test]
async fn an_event_that_comes_twice_counts_once() {
    let mut hook = Receiver::start(&[]);
    let running = Running::start(&eager(1, vec![hook.settings(&[])]));
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
async fn what_does_not_fit_is_buried_alone_and_leaves_nothing_behind() {
    let running = Running::start(&eager(1, vec![]));
    let broken = event("order.placed", &json!({ "orderNumber": "no uuid", "customer": { "id": "jane", "name": "Jane" } }));
    let unfit = running.consumer.apply(&[placed("jane"), broken.clone()]).await;
    assert!(matches!(unfit, Err(ApplyError::Rejected(reason)) if reason.starts_with("order.placed does not fit")));
    assert!(inbox(&running, "jane").await.is_empty());

    running.publish(&[&placed("jane"), &broken, &placed("jane")]).await;
    running.until(async |r| (inbox(r, "jane").await.len() == 2).then_some(())).await;
    let buried = async {
        loop {
            // the bus moves on in a database of its own: a publication there is what we can wait for
            if let Some(letter) = running.bus.dead_letters(10).await.unwrap().pop() {
                return letter;
            }
            running.publish(&[&event("order.shipped", &json!({}))]).await;
        }
    };
    let letter: Event = serde_json::from_str(tokio::time::timeout(PATIENCE, buried).await.unwrap().event.get()).unwrap();
    assert_eq!(letter.id, broken.id);
    running.stop().await;
}
