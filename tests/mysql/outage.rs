//! A server that is killed repeatedly while customers order: no acknowledged order is lost.
//!
//! `TRADEPOST_TEST_MYSQL_SERVICE` names the script that kills and starts the server under test, such as
//! `.ci/services/mysql8.sh`, with its environment set.

use crate::chaos::kill::pages;
use crate::chaos::ledger::{Ledger, OrderOutcome, SeededRng};
use crate::support::client::Client;
use crate::support::{Shape, Shop, on_system, wait_for};
use actix_web::http::Method;
use serde_json::Value;
use std::cell::Cell;
use std::process::Command;
use std::time::Duration;

fn service(command: &str) {
    let script = std::env::var("TRADEPOST_TEST_MYSQL_SERVICE").unwrap();
    let status = Command::new("bash").args([&script, command]).stdout(std::process::Stdio::null()).status().unwrap();
    assert!(status.success(), "{script} {command}");
}

fn placed(ledger: &Ledger) -> usize {
    ledger.entries().values().filter(|e| matches!(e.outcome, OrderOutcome::Placed { .. })).count()
}

async fn customer(c: &Client, ledger: &Ledger, enough: &Cell<bool>, mut rng: SeededRng) {
    while !enough.get() {
        if rng.range(1, 6) == 1 {
            ledger.cancel(c, rng.range(0, u64::MAX - 1)).await.unwrap();
        } else {
            let lines = (0..rng.range(1, 3)).map(|_| (format!("sku-{}", rng.range(0, 3)), rng.range(1, 3) as i64));
            let lines = lines.collect();
            ledger.order(c, rng.range(0, 1) == 1, lines).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(rng.range(1, 30))).await;
    }
}

async fn readiness(c: &Client) -> u16 {
    c.send(Method::GET, "/actuator/health/readiness", &[], "").await.status
}

async fn kill_and_start(c: &Client, ledger: &Ledger) {
    for round in 1..=3 {
        let before = placed(ledger);
        wait_for("orders are placed", || async { if placed(ledger) > before + 25 { Ok(()) } else { Err(format!("{}", placed(ledger))) } })
            .await;
        service("kill");
        wait_for("readiness is down", || async { if readiness(c).await == 503 { Ok(()) } else { Err("up".into()) } }).await;
        let refused = c.order(&[("sku-0", 1)]).await.expect(503);
        assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
        assert!(!refused.text.contains("mysql"), "{refused:?}");
        service("start");
        wait_for("readiness is up by itself", || async { if readiness(c).await == 200 { Ok(()) } else { Err("down".into()) } }).await;
        println!("round {round}: killed after {} orders, {} sent so far", placed(ledger), ledger.entries().len());
    }
}

#[test]
#[ignore = "needs a MySQL: .ci/stores.sh"]
fn server_killed_three_times_under_load_loses_no_order() {
    on_system(async {
        let mut shop = Shop::start(Shape::Local, |_| {}).await;
        let (c, ledger, enough) = (shop.client.clone(), Ledger::default(), Cell::new(false));
        c.stocked("tag", "0.01", i64::from(i32::MAX)).await;
        for n in 0..4 {
            c.stocked(&format!("sku-{n}"), "2.55", 10_000_000).await;
        }
        let customers = futures_util::future::join_all((0..8).map(|n| customer(&c, &ledger, &enough, SeededRng::new(n))));
        let outages = async {
            kill_and_start(&c, &ledger).await;
            enough.set(true);
        };
        futures_util::future::join(customers, outages).await;

        ledger.retry_unanswered(&c).await;
        wait_for("no order is PENDING or unsettled", || async {
            let health = c.get(&c.admin, "/actuator/health").await.json();
            let orders = &health["components"]["orderStore"]["details"];
            if orders["pending"] == 0 && orders["unsettled"] == 0 { Ok(()) } else { Err(health.to_string()) }
        })
        .await;
        ledger.assert_retries_answer_the_same(&c, 0).await;
        // The orders of kill_and_start are not in the ledger: they were refused or not answered.
        let orders: Vec<Value> = pages(&c, "/api/v1/orders").await;
        let known = orders.into_iter().filter(|o| o["orderLineItems"].as_array().unwrap().iter().any(|l| l["skuCode"] == "tag"));
        ledger.check(&known.collect::<Vec<_>>());
        let unanswered = ledger.entries().values().filter(|e| e.outcome == OrderOutcome::Nothing).count();
        println!("{} orders sent, {} placed, {unanswered} without a final answer", ledger.entries().len(), placed(&ledger));
        shop.assert_sound().await;
        shop.stop().await;
        shop.clear();
    });
}
