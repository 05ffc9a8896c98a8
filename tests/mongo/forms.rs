//! Document formats: those of the Spring service are read unchanged; those of a newer build are rejected.

use super::{block_relays, products, unblock_relays, url};
use crate::support::client::Client;
use crate::support::{Shape, Shop, on_system, wait_for};
use actix_web::http::Method;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, doc};
use serde_json::json;

fn put(url: &str, documents: Vec<Document>) {
    products(url, |all| async move { all.insert_many(documents).await.unwrap() });
}

async fn change(c: &Client, id: &str, tag: &str) -> u16 {
    let body = json!({ "skuCode": "old-0", "name": "changed", "price": "3.0" });
    c.with_body(Method::PUT, &c.admin, &format!("/api/v1/products/{id}"), &[("if-match", tag)], &body).await.status
}

#[test]
#[ignore = "needs a MongoDB: .ci/mongo.sh"]
fn spring_documents_are_read_changed_and_deleted() {
    on_system(async {
        let mut shop = Shop::start(Shape::Local, |_| {}).await;
        let (c, url) = (&shop.client, url(&shop));
        let prices = [Bson::from("10.50"), Bson::Decimal128("10.50".parse().unwrap()), Bson::Double(10.5)];
        let ids: Vec<ObjectId> = prices.iter().map(|_| ObjectId::new()).collect();
        let old = |n: usize| doc! { "_id": ids[n], "skuCode": format!("old-{n}"), "name": "a", "price": prices[n].clone(), "_class": "shop.Product" };
        put(&url, (0..3).map(old).collect());

        let listed = c.get(&c.alice, "/api/v1/products").await.expect(200);
        assert_eq!(listed.json()["totalElements"], 3, "{listed:?}");
        for (n, price) in ["10.50", "10.50", "10.5"].iter().enumerate() {
            assert_eq!(c.get(&c.alice, &format!("/api/v1/products/old-{n}/price")).await.expect(200).text, *price);
        }
        let id = ids[0].to_hex();
        let read = c.get(&c.admin, &format!("/api/v1/products/{id}")).await.expect(200);
        assert_eq!(read.headers["etag"], "\"0\"");
        assert_eq!(change(c, &id, "\"0\"").await, 200);
        assert_eq!(change(c, &id, "\"0\"").await, 412, "the second editor gets 412");
        let now = products(&url, |all| async move { all.find_one(doc! { "skuCode": "old-0" }).await.unwrap().unwrap() });
        assert_eq!((now.get_i32("schema").unwrap(), now.get_i64("version").unwrap()), (1, 1), "{now}");
        assert!(matches!(now.get("price"), Some(Bson::Decimal128(_))) && now.contains_key("_class"), "{now}");
        c.delete(&c.admin, &format!("/api/v1/products/{}", ids[1].to_hex())).await.expect(200);
        c.get(&c.admin, "/api/v1/products/old-1/price").await.expect(404);
        shop.stop().await;
        shop.clear();
    });
}

#[test]
#[ignore = "needs a MongoDB: .ci/mongo.sh"]
fn newer_documents_are_rejected_and_their_events_published() {
    on_system(async {
        let mut shop = Shop::start(Shape::Local, |_| {}).await;
        let (c, url) = (&shop.client, url(&shop));
        block_relays(&url);
        let mine = c.post(&c.admin, "/api/v1/products", json!({ "skuCode": "mine", "name": "n", "price": 1 })).await.expect(201).json();
        let id =
            c.post(&c.admin, "/api/v1/products", json!({ "skuCode": "newer", "name": "n", "price": 1 })).await.expect(201).json()["id"]
                .clone();
        let newer = doc! { "$set": { "schema": 2, "price": { "amount": "1", "currency": "EUR" } } };
        products(&url, |all| async move { all.update_one(doc! { "skuCode": "newer" }, newer).await.unwrap() });

        let path = format!("/api/v1/products/{}", id.as_str().unwrap());
        for path in [path.as_str(), "/api/v1/products/newer/price", "/api/v1/products"] {
            let refused = c.get(&c.admin, path).await.expect(503);
            assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
        }
        // Other documents are not affected.
        c.get(&c.admin, &format!("/api/v1/products/{}", mine["id"].as_str().unwrap())).await.expect(200);
        assert_eq!(c.get(&c.admin, "/api/v1/products/mine/price").await.expect(200).text, "1");
        unblock_relays(&url);
        wait_for("its events are published", || async {
            let health = c.get(&c.admin, "/actuator/health").await.json();
            if health["components"]["productStore"]["details"]["outbox"] == 0 { Ok(()) } else { Err(health.to_string()) }
        })
        .await;
        shop.stop().await;
        shop.clear();
    });
}
