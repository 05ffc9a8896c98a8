//! Concurrent changes, and the event that each writes into its document.

use super::{block_relays, products, unblock_relays, url};
use crate::chaos::sql::Sql;
use crate::support::client::Client;
use crate::support::{Shape, Shop, on_system, wait_for};
use actix_web::http::Method;
use futures_util::future::join_all;
use mongodb::bson::{Bson, doc};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn mug(sku: &str) -> Value {
    json!({ "skuCode": sku, "name": "mug", "price": "10.50" })
}

async fn create(c: &Client, sku: &str) -> String {
    let made = c.post(&c.admin, "/api/v1/products", mug(sku)).await.expect(201).json();
    made["id"].as_str().unwrap().to_string()
}

/// Number of pending events. If the server is slow, health is DOWN and has no number.
async fn waiting(c: &Client) -> Result<i64, String> {
    let health = c.get(&c.admin, "/actuator/health").await.json();
    health["components"]["productStore"]["details"]["outbox"].as_i64().ok_or_else(|| health.to_string())
}

async fn wait_for_pending(c: &Client, n: i64) {
    wait_for(&format!("{n} events are pending"), || async {
        let now = waiting(c).await?;
        if now == n { Ok(()) } else { Err(format!("{now} wait")) }
    })
    .await;
}

/// If many requests create the same SKU code at once, one succeeds.
#[test]
#[ignore = "needs a MongoDB: .ci/mongo.sh"]
fn concurrent_creations_of_one_sku_code_succeed_once() {
    on_system(async {
        let mut shop = Shop::start(Shape::Local, |_| {}).await;
        let c = &shop.client;
        for round in 0..20 {
            let sku = format!("s{round}");
            let answers = join_all((0..16).map(|_| c.post(&c.admin, "/api/v1/products", mug(&sku)))).await;
            let mut results: Vec<u16> = answers.iter().map(|reply| reply.status).collect();
            results.sort_unstable();
            assert_eq!(results, [[201].as_slice(), &[400; 15]].concat(), "{sku}");
        }
        // A change to an existing SKU code fails as well.
        let ids = join_all((0..8).map(|n| create(c, Box::leak(format!("t{n}").into_boxed_str())))).await;
        let changed = join_all(ids.iter().map(|id| async move {
            let body = mug("wanted");
            c.with_body(Method::PUT, &c.admin, &format!("/api/v1/products/{id}"), &[("if-match", "*")], &body).await.status
        }));
        let mut results = changed.await;
        results.sort_unstable();
        assert_eq!(results, [[200].as_slice(), &[400; 7]].concat());
        shop.stop().await;
        shop.clear();
    });
}

/// Several editors read, change and write one product repeatedly: each version has exactly one successor.
#[test]
#[ignore = "needs a MongoDB: .ci/mongo.sh"]
fn concurrent_edits_of_one_version_succeed_once() {
    on_system(async {
        let mut shop = Shop::start(Shape::Local, |settings| settings.bus.url = "local://".into()).await;
        let c = &shop.client;
        let path = format!("/api/v1/products/{}", create(c, "s").await);
        let editors = (0..8).map(|editor| {
            let path = &path;
            async move {
                let (mut won, mut stale) = (Vec::new(), 0);
                for round in 0..15 {
                    let tag = c.get(&c.admin, path).await.expect(200).headers["etag"].clone();
                    let body = json!({ "skuCode": "s", "name": format!("{editor}/{round}"), "price": 1 });
                    let reply = c.with_body(Method::PUT, &c.admin, path, &[("if-match", &tag)], &body).await;
                    match reply.status {
                        200 => won.push(reply.headers["etag"].clone()),
                        412 => stale += 1,
                        _ => panic!("{reply:?}"),
                    }
                }
                (won, stale)
            }
        });
        let results = join_all(editors).await;
        let won: Vec<String> = results.iter().flat_map(|(won, _)| won.clone()).collect();
        let stale: usize = results.iter().map(|(_, stale)| stale).sum();
        assert_eq!(won.iter().collect::<BTreeSet<_>>().len(), won.len(), "a version was won twice: {won:?}");
        assert!(stale > 0, "no edit conflicted, so nothing was tested");
        assert_eq!(c.get(&c.admin, &path).await.headers["etag"], format!("\"{}\"", won.len() + 1));
        // Each successful change has one event.
        wait_for_pending(c, 0).await;
        let subject = path.rsplit('/').next().unwrap();
        let query = format!("SELECT body AS value FROM messages WHERE body LIKE '%\"subject\":\"{subject}\"%' ORDER BY position");
        let events = Sql::open(shop.data.path(), "bus").column(&query);
        assert_eq!(events.len(), won.len() + 1);
        println!("{} changes, {stale} were rejected as stale", won.len());
        shop.stop().await;
        shop.clear();
    });
}

/// A change writes one document with its event, which stays in it until it is published. A deleted product is invisible
/// at once, and its SKU code is free; its document is removed with its last event.
#[test]
#[ignore = "needs a MongoDB: .ci/mongo.sh"]
fn pending_event_stays_in_its_document_and_a_deleted_product_frees_its_sku() {
    on_system(async {
        let mut shop = Shop::start(Shape::Local, |_| {}).await;
        let (c, url) = (&shop.client, url(&shop));
        block_relays(&url);
        let id = create(c, "s").await;
        let path = format!("/api/v1/products/{id}");
        c.with_body(Method::PUT, &c.admin, &path, &[("if-match", "*")], &mug("s")).await.expect(200);
        wait_for_pending(c, 2).await;

        c.delete(&c.admin, &path).await.expect(200);
        c.get(&c.admin, &path).await.expect(404);
        c.delete(&c.admin, &path).await.expect(404);
        c.with_body(Method::PUT, &c.admin, &path, &[("if-match", "*")], &mug("s")).await.expect(404);
        c.get(&c.admin, "/api/v1/products/s/price").await.expect(404);
        assert_eq!(c.get(&c.admin, "/api/v1/products").await.json()["totalElements"], 0);
        let second = create(c, "s").await;
        c.delete(&c.admin, &format!("/api/v1/products/{second}")).await.expect(200);
        let third = create(c, "s").await;
        let listed = c.get(&c.admin, "/api/v1/products?q=S").await.json();
        assert_eq!((listed["totalElements"].clone(), listed["content"][0]["id"].clone()), (json!(1), json!(third)));

        let first = products(&url, |all| async move { all.find_one(doc! { "deleted": true, "version": 3 }).await.unwrap().unwrap() });
        let kinds: Vec<String> = first
            .get_array("outbox")
            .unwrap()
            .iter()
            .map(|entry| {
                let body: Value = serde_json::from_str(entry.as_document().unwrap().get_str("body").unwrap()).unwrap();
                assert_eq!(body["subject"], id.as_str());
                body["type"].as_str().unwrap().to_string()
            })
            .collect();
        assert_eq!(kinds, ["product.created", "product.changed", "product.deleted"]);
        wait_for_pending(c, 3 + 2 + 1).await;
        let settings = shop.settings.clone();
        let report = tokio::task::spawn_blocking(move || tradepost::app::audit::run(&settings).unwrap()).await.unwrap();
        assert!(report.summary.contains(&"1 products, 6 of their events wait to be published".to_string()), "{report:?}");

        unblock_relays(&url);
        wait_for_pending(c, 0).await;
        let left = products(&url, |all| async move {
            use futures_util::TryStreamExt;
            all.find(doc! {}).await.unwrap().try_collect::<Vec<_>>().await.unwrap()
        });
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(!left[0].contains_key("outbox") && !left[0].contains_key("waitingSince"), "{left:?}");
        assert!(matches!(left[0].get("price"), Some(Bson::Decimal128(price)) if price.to_string() == "10.50"), "{left:?}");
        shop.stop().await;
        shop.clear();
    });
}

/// More events of one product than one batch, with concurrent changes: no event is lost or duplicated, and they are
/// published in the order of the changes.
#[test]
#[ignore = "needs a MongoDB: .ci/mongo.sh"]
fn events_of_one_product_are_published_in_order() {
    on_system(async {
        let mut shop = Shop::start(Shape::Local, |settings| settings.bus.url = "local://".into()).await;
        let (c, url) = (&shop.client, url(&shop));
        block_relays(&url);
        let id = create(c, "s").await;
        let path = format!("/api/v1/products/{id}");
        let change = |n: usize| {
            let (body, path) = (json!({ "skuCode": "s", "name": format!("{n}"), "price": 1 }), path.clone());
            async move { c.with_body(Method::PUT, &c.admin, &path, &[("if-match", "*")], &body).await.expect(200) }
        };
        for n in 1..=25 {
            change(n).await;
        }
        unblock_relays(&url);
        for n in 26..=60 {
            change(n).await;
        }
        c.delete(&c.admin, &path).await.expect(200);
        wait_for_pending(c, 0).await;
        let bodies = Sql::open(shop.data.path(), "bus").column("SELECT body AS value FROM messages ORDER BY position");
        let events: Vec<Value> = bodies.iter().map(|body| serde_json::from_str(body).unwrap()).collect();
        let names: Vec<_> = events.iter().map(|e| e["data"]["name"].as_str().unwrap().to_string()).collect();
        let expected: Vec<_> =
            [String::from("mug")].into_iter().chain((1..=60).map(|n| n.to_string())).chain([String::from("60")]).collect();
        assert_eq!(names, expected);
        assert_eq!(events.last().unwrap()["type"], "product.deleted");
        assert_eq!(products(&url, |all| async move { all.count_documents(doc! {}).await.unwrap() }), 0);
        shop.stop().await;
        shop.clear();
    });
}
