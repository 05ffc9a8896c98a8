//! A pending entry in a document that is not an event does not block others, is shown, and is sent once it is
//! corrected.

use super::{products, url};
use crate::support::metrics::Metrics;
use crate::support::stores::on_documents;
use crate::support::{Shape, Shop, on_system, wait_for};
use mongodb::bson::{DateTime, Document, doc};
use serde_json::{Value, json};

fn nothing_left(url: &str) -> Result<(), String> {
    match products(url, |all| async move { all.count_documents(doc! {}).await.unwrap() }) {
        0 => Ok(()),
        left => Err(format!("{left} documents")),
    }
}

#[test]
#[ignore = "needs a MongoDB: .ci/mongo.sh"]
fn malformed_entry_is_set_aside_shown_and_sent_once_corrected() {
    on_system(async {
        let mut shop = Shop::start(Shape::Local, |_| {}).await;
        let (c, url) = (&shop.client, url(&shop));
        let made = c.post(&c.admin, "/api/v1/products", json!({ "skuCode": "r", "name": "n", "price": 1 })).await.expect(201).json();
        let waits = doc! { "$push": { "outbox": { "id": "e1", "body": "no event" } }, "$set": { "waitingSince": DateTime::now() } };
        products(&url, |all| async move { all.update_one(doc! { "skuCode": "r" }, waits).await.unwrap() });

        let kept = async || c.get(&c.admin, "/actuator/outbox").await.expect(200).json();
        wait_for("the entry to be set aside", async || (kept().await.as_array().unwrap().len() == 1).then_some(()).ok_or("not yet".into()))
            .await;
        let letter: Value = kept().await[0].clone();
        assert_eq!((&letter["group"], &letter["event"]), (&json!("product"), &json!("no event")), "{letter}");
        assert!(letter["error"].as_str().unwrap().contains("no event"), "{letter}");
        wait_for("the entry to be counted", async || {
            let refused = Metrics::of(c).await.sum("tradepost_outbox_refused", &[("module", "product")]);
            (refused == Some(1.0)).then_some(()).ok_or(format!("{refused:?}"))
        })
        .await;
        // Later events are still sent.
        let id = made["id"].as_str().unwrap();
        c.delete(&c.admin, &format!("/api/v1/products/{id}")).await.expect(200);
        wait_for("the document to be removed with its events", async || nothing_left(&url)).await;

        let event = json!({ "specversion": "1.0", "id": "01a206d9-cacf-73af-86bc-3abeb8deb862", "source": "/tradepost/product",
            "type": "product.changed", "subject": id, "time": "2026-11-23T05:21:06.255Z", "datacontenttype": "application/json",
            "traceparent": "00-ceece246952e4c0538dfdc801ea86083-3a9171fee2e5a2af-01", "data": made });
        let mended = doc! { "$set": { "body": event.to_string() } };
        on_documents(&url, |all| async move {
            all.collection::<Document>("outbox_refused").update_one(doc! { "_id": "e1" }, mended).await.unwrap()
        });
        let again = format!("/actuator/outbox/product/{}/replay", letter["id"]);
        c.post(&c.admin, &again, json!({})).await.expect(202);
        c.post(&c.admin, &again, json!({})).await.expect(404);
        assert_eq!(kept().await, json!([]));
        wait_for("its carrier document to be removed", async || nothing_left(&url)).await;
        assert_eq!(kept().await, json!([]), "the entry was accepted");
        shop.stop().await;
        shop.clear();
    });
}
