//! A server that becomes unavailable under load, or hangs: requests fail with 503 meanwhile, no acknowledged change is
//! lost, and the shop recovers by itself. (The test server keeps no data over a restart, so a proxy interrupts the
//! connection.)

use super::proxy::Proxy;
use super::url;
use crate::chaos::sql::Sql;
use crate::support::client::Client;
use crate::support::{Shape, Shop, on_system, wait_for};
use actix_web::http::Method;
use futures_util::future::{join, join_all};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tradepost::settings::{MongoDb, Secret};

async fn readiness(c: &Client) -> u16 {
    c.send(Method::GET, "/actuator/health/readiness", &[], "").await.status
}

/// Creates products and records those that were acknowledged.
async fn editor(c: &Client, number: usize, enough: &Cell<bool>, acknowledged: &RefCell<BTreeSet<String>>) {
    for n in 0.. {
        if enough.get() {
            return;
        }
        let sku = format!("e{number}-{n}");
        let reply = c.post(&c.admin, "/api/v1/products", json!({ "skuCode": sku, "name": "n", "price": 1 })).await;
        match reply.status {
            201 => {
                acknowledged.borrow_mut().insert(sku);
            }
            503 => assert!(reply.headers.contains_key("retry-after") && !reply.text.contains("mongo"), "{reply:?}"),
            _ => panic!("{reply:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Reads the page of products after this one; retries if the server is slow.
async fn page(c: &Client, after: &str) -> Value {
    let page = RefCell::new(Value::Null);
    wait_for("a page is returned", || async {
        let reply = c.get(&c.alice, &format!("/api/v1/products?size=100&after={after}")).await;
        if reply.status == 503 {
            return Err(format!("{reply:?}"));
        }
        *page.borrow_mut() = reply.expect(200).json();
        Ok(())
    })
    .await;
    page.into_inner()
}

async fn interrupt_and_recover(c: &Client, proxy: &Proxy, acknowledged: &RefCell<BTreeSet<String>>) {
    for round in 0..4 {
        let before = acknowledged.borrow().len();
        wait_for("products are created", || async {
            let n = acknowledged.borrow().len() - before;
            if n > 20 { Ok(()) } else { Err(format!("{n} since")) }
        })
        .await;
        if round % 2 == 0 {
            proxy.cut()
        } else {
            proxy.silence()
        }
        wait_for("readiness is down", || async { if readiness(c).await == 503 { Ok(()) } else { Err("up".into()) } }).await;
        let health = c.get(&c.admin, "/actuator/health").await.expect(503).json();
        assert_eq!(health["components"]["productStore"]["status"], "DOWN", "{health}");
        let refused = c.get(&c.alice, "/api/v1/products").await.expect(503);
        assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
        // Requests that need no product are not affected.
        c.get(&c.alice, "/api/v1/notifications").await.expect(200);
        proxy.open();
        wait_for("readiness recovers", || async { if readiness(c).await == 200 { Ok(()) } else { Err("down".into()) } }).await;
    }
}

#[test]
#[ignore = "needs a MongoDB: .ci/mongo.sh"]
fn server_interrupted_four_times_under_load_loses_no_product() {
    on_system(async {
        let proxy = RefCell::new(None);
        let mut shop = Shop::start(Shape::Local, |settings| {
            let direct = settings.product.store.as_ref().expect("TRADEPOST_TEST_MONGO: the address of a server").expose().to_string();
            let way = Proxy::to(&direct);
            settings.product.store = Some(Secret::new(format!("mongodb://{}/{}", way.address, direct.rsplit('/').next().unwrap())));
            settings.mongodb = MongoDb { acquire_ms: 500, statement_ms: 500, connect_ms: 500, migrate: true, ..MongoDb::default() };
            settings.bus.url = "local://".into();
            *proxy.borrow_mut() = Some(way);
        })
        .await;
        let proxy = proxy.into_inner().unwrap();
        let (c, enough, acknowledged) = (&shop.client, Cell::new(false), RefCell::default());
        let editors = join_all((0..6).map(|n| editor(c, n, &enough, &acknowledged)));
        let outages = async {
            interrupt_and_recover(c, &proxy, &acknowledged).await;
            enough.set(true);
        };
        join(editors, outages).await;

        wait_for("all events are published", || async {
            let health = c.get(&c.admin, "/actuator/health").await.json();
            if health["components"]["productStore"]["details"]["outbox"] == 0 { Ok(()) } else { Err(health.to_string()) }
        })
        .await;
        let mut there = BTreeMap::new();
        let mut after = "0".repeat(24);
        loop {
            let page = page(c, &after).await;
            for product in page["content"].as_array().unwrap() {
                after = product["id"].as_str().unwrap().to_string();
                there.insert(product["skuCode"].as_str().unwrap().to_string(), after.clone());
            }
            if page["last"] == true {
                break;
            }
        }
        let acknowledged = acknowledged.into_inner();
        let lost: Vec<_> = acknowledged.iter().filter(|sku| !there.contains_key(*sku)).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        // Deduplicated by event id, as an inbox does.
        let bodies = Sql::open(shop.data.path(), "bus").column("SELECT body AS value FROM messages");
        let delivered = bodies.len();
        let events: BTreeMap<String, Value> =
            bodies.iter().map(|b| serde_json::from_str::<Value>(b).unwrap()).map(|e| (e["id"].to_string(), e)).collect();
        let mut subjects: Vec<String> = events.values().map(|e| e["subject"].as_str().unwrap().to_string()).collect();
        subjects.sort_unstable();
        let mut expected: Vec<String> = there.values().cloned().collect();
        expected.sort_unstable();
        assert_eq!(subjects, expected, "each product has one event");
        println!("{} acknowledged, {} there, {delivered} delivered of {} events", acknowledged.len(), there.len(), events.len());
        assert!(url(&shop).contains(&proxy.address));
        shop.stop().await;
        shop.clear();
    });
}
