//! Two processes on one MongoDB are killed and paused in turn while products are created, changed and deleted: every
//! acknowledged change is stored, and its event is published, once by id and in order per product.

use crate::chaos::kill::seed;
use crate::chaos::ledger::SeededRng;
use crate::chaos::sql::Sql;
use crate::support::client::Client;
use crate::support::process::Process;
use crate::support::stores::Stores;
use crate::support::{on_system, share_keys, wait_for};
use actix_web::http::Method;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const ROUNDS: u64 = 8;

/// State of one product as its editor knows it.
#[derive(Debug, Clone, Default)]
struct ProductState {
    /// Changes by name, the creation first; for each, whether it was acknowledged.
    changes: Vec<(String, bool)>,
    /// Whether a deletion was sent, and whether it was acknowledged.
    deleted: Option<bool>,
}

type Ledger = RefCell<BTreeMap<String, ProductState>>;

async fn send(c: &Client, method: Method, path: &str, body: &Value) -> Result<Option<crate::support::client::Reply>, String> {
    let bearer = format!("Bearer {}", c.admin);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json"), ("if-match", "*")];
    let reply = c.try_send(method, path, &headers, body.to_string()).await?;
    match reply.status {
        200 | 201 => Ok(Some(reply)),
        503 | 504 => Ok(None),
        _ => panic!("{reply:?}"),
    }
}

/// Creates products, changes each a few times, and deletes some, until the process stops answering.
async fn editor(c: &Client, ledger: &Ledger, serial: &Cell<u32>, mut rng: SeededRng) -> Result<(), String> {
    loop {
        serial.set(serial.get() + 1);
        let sku = format!("s{}", serial.get());
        let body = |n: u64| json!({ "skuCode": sku, "name": format!("{n}"), "price": "1.10" });
        let note = |n: u64, acknowledged: bool| {
            let mut all = ledger.borrow_mut();
            let changes = &mut all.entry(sku.clone()).or_default().changes;
            changes.retain(|(name, _)| *name != n.to_string());
            changes.push((n.to_string(), acknowledged));
        };
        note(0, false);
        let Some(made) = send(c, Method::POST, "/api/v1/products", &body(0)).await? else { continue };
        note(0, true);
        let path = format!("/api/v1/products/{}", made.json()["id"].as_str().unwrap());
        for n in 1..=rng.range(0, 12) {
            note(n, false);
            if send(c, Method::PUT, &path, &body(n)).await?.is_some() {
                note(n, true);
            }
        }
        if rng.range(1, 3) == 1 {
            let delete = |acknowledged| ledger.borrow_mut().get_mut(&sku).unwrap().deleted = Some(acknowledged);
            delete(false);
            if send(c, Method::DELETE, &path, &json!({})).await?.is_some() {
                delete(true);
            }
        }
    }
}

/// Compares the editors' records with the published events and the stored products.
fn check(ledger: &BTreeMap<String, ProductState>, published: &[Value], there: &BTreeMap<String, (String, String)>) -> usize {
    let mut seen = std::collections::BTreeSet::new();
    let mut by_sku: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for event in published.iter().filter(|event| seen.insert(event["id"].to_string())) {
        by_sku.entry(event["data"]["skuCode"].as_str().unwrap().to_string()).or_default().push(event);
    }
    for (sku, known) in ledger {
        let events = by_sku.remove(sku).unwrap_or_default();
        let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
        let gone = kinds.last() == Some(&"product.deleted");
        let changes = &events[..events.len() - usize::from(gone)];
        let names: Vec<u64> = changes.iter().map(|event| event["data"]["name"].as_str().unwrap().parse().unwrap()).collect();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{sku}: out of order or twice: {names:?}");
        for (name, acknowledged) in &known.changes {
            assert!(!acknowledged || names.contains(&name.parse().unwrap()), "{sku}: the event of change {name} is lost: {names:?}");
        }
        assert!(kinds.iter().enumerate().all(|(n, kind)| (n == 0) == (*kind == "product.created")), "{sku}: {kinds:?}");
        match (known.deleted, there.get(sku)) {
            (None, product) => assert!(!gone && product.is_none() == names.is_empty(), "{sku}: {kinds:?} {product:?}"),
            (Some(true), product) => assert!(gone && product.is_none(), "{sku} was deleted: {kinds:?} {product:?}"),
            (Some(false), product) => assert_eq!(gone, product.is_none(), "{sku}: {kinds:?} {product:?}"),
        }
        if let Some((name, tag)) = there.get(sku) {
            assert_eq!(Some(name.parse().unwrap()), names.last().copied(), "{sku} is not the last acknowledged change");
            assert_eq!(*tag, format!("\"{}\"", names.len()), "{sku}: one event per version");
        }
    }
    assert!(by_sku.is_empty(), "no editor created {by_sku:?}");
    published.len() - seen.len()
}

/// Reads new events from the bus, which keeps only the last 10,000 that all consumers have processed.
fn follow(data: &Path, published: &mut Vec<Value>, position: &mut i64) {
    let rows = format!(
        "SELECT position || ' ' || body AS value FROM messages WHERE topic = 'product' AND position > {position} ORDER BY position"
    );
    for row in Sql::open(data, "bus").column(&rows) {
        let (at, body) = row.split_once(' ').unwrap();
        *position = at.parse().unwrap();
        published.push(serde_json::from_str(body).unwrap());
    }
}

async fn catalogue(c: &Client) -> BTreeMap<String, (String, String)> {
    let (mut all, mut after) = (BTreeMap::new(), "0".repeat(24));
    loop {
        let page = c.get(&c.admin, &format!("/api/v1/products?size=1000&after={after}")).await.expect(200).json();
        for product in page["content"].as_array().unwrap() {
            after = product["id"].as_str().unwrap().to_string();
            let tag = c.get(&c.admin, &format!("/api/v1/products/{after}")).await.expect(200).headers["etag"].clone();
            let text = |field: &str| product[field].as_str().unwrap().to_string();
            all.insert(text("skuCode"), (text("name"), tag));
        }
        if page["last"] == true {
            return all;
        }
    }
}

#[test]
#[ignore = "needs a MongoDB: .ci/mongo.sh"]
fn processes_killed_and_paused_under_load_lose_no_change_and_no_event() {
    let seed = seed();
    println!("TRADEPOST_CHAOS_SEED={seed}");
    on_system(async move {
        let mut rng = SeededRng::new(seed);
        let data = tempfile::tempdir().unwrap();
        share_keys(data.path());
        // Only product events: no demo data, and no orders.
        let mut processes: Vec<_> = (0..2).map(|_| Some(Process::start(data.path(), &[("TRADEPOST__BUS__URL", "local://")]))).collect();
        let (ledger, serial) = (Ledger::default(), Cell::new(0));
        let (mut published, mut position) = (Vec::new(), 0);
        for round in 0..ROUNDS {
            let clients = [processes[0].as_ref().unwrap().client().await, processes[1].as_ref().unwrap().client().await];
            let victim = (round % 2) as usize;
            let (over, after_ms) = (tokio_util::sync::CancellationToken::new(), rng.range(200, 700));
            // Each process is paused at least once.
            let pause = rng.range(1, 4) == 1 || round + 2 >= ROUNDS;
            let editors = (0..8).map(|n| {
                let (work, over) = (editor(&clients[n % 2], &ledger, &serial, SeededRng::new(rng.range(0, u64::MAX - 1))), over.clone());
                async move { over.run_until_cancelled(work).await.map(drop) }
            });
            let editors = futures_util::future::join_all(editors.collect::<Vec<_>>());
            let end = async {
                tokio::time::sleep(Duration::from_millis(after_ms)).await;
                let process = processes[victim].take().unwrap();
                if pause {
                    process.signal("STOP");
                    // Longer than a lease.
                    tokio::time::sleep(Duration::from_secs(3)).await;
                    process.signal("CONT");
                    processes[victim] = Some(process);
                } else {
                    process.kill();
                    tokio::time::sleep(Duration::from_millis(rng.range(50, 300))).await;
                }
                over.cancel();
            };
            futures_util::future::join(editors, end).await;
            follow(data.path(), &mut published, &mut position);
            processes[victim].get_or_insert_with(|| Process::start(data.path(), &[("TRADEPOST__BUS__URL", "local://")]));
        }
        let c = processes[0].as_ref().unwrap().client().await;
        wait_for("all events are published", || async {
            let health = c.get(&c.admin, "/actuator/health").await.json();
            if health["components"]["productStore"]["details"]["outbox"] == 0 { Ok(()) } else { Err(health.to_string()) }
        })
        .await;
        let there = catalogue(&c).await;
        follow(data.path(), &mut published, &mut position);
        let ledger = ledger.into_inner();
        let twice = check(&ledger, &published, &there);
        let acknowledged: usize = ledger.values().map(|known| known.changes.iter().filter(|(_, acknowledged)| *acknowledged).count()).sum();
        println!(
            "{} products, {acknowledged} changes acknowledged, {} events published, {twice} of them twice",
            ledger.len(),
            published.len()
        );
        assert!(acknowledged > 100, "too few changes to test anything");
        for process in processes.into_iter().flatten() {
            assert_eq!(process.terminate(), Some(0));
        }
        Stores::of(data.path()).drop_all();
    });
}
