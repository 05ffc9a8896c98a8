//! `kill -9` at any moment: acknowledged orders are stored, refused orders are not, and pending orders are completed.

use super::ledger::{Cancel, Ledger, OrderOutcome, SeededRng, lines, stock};
use super::sql::Sql;
use crate::support::client::Client;
use crate::support::process::{Process, at_rest, tradepost};
use crate::support::{on_system, share_keys, wait_for, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Number of kills: a few in `cargo test`, many in CI.
fn runs() -> u64 {
    std::env::var("TRADEPOST_CHAOS_RUNS").ok().map_or(5, |runs| runs.parse().expect("TRADEPOST_CHAOS_RUNS: a number"))
}

/// A new seed for each run, printed. Set TRADEPOST_CHAOS_SEED to repeat a run.
pub fn seed() -> u64 {
    let given = std::env::var("TRADEPOST_CHAOS_SEED").ok().map(|seed| seed.parse().expect("TRADEPOST_CHAOS_SEED: a number"));
    given.unwrap_or_else(rand::random)
}

/// Simulates a customer that orders and cancels until the shop stops answering.
async fn customer(c: &Client, ledger: &Ledger, mut rng: SeededRng) {
    loop {
        let done = if rng.range(1, 5) == 1 {
            ledger.cancel(c, rng.range(0, u64::MAX - 1)).await
        } else {
            let lines = lines(&mut rng);
            ledger.order(c, rng.range(0, 1) == 1, lines).await
        };
        if done.is_err() {
            return;
        }
    }
}

pub async fn pages(c: &Client, path: &str) -> Vec<Value> {
    let mut all = Vec::new();
    for number in 0.. {
        let page = c.get(&c.alice, &format!("{path}?size=1000&page={number}")).await.expect(200).json();
        all.extend(page["content"].as_array().unwrap().iter().cloned());
        if page["last"] == true {
            break;
        }
    }
    all
}

pub async fn no_order_is_left_open(c: &Client) {
    wait_for("no order is PENDING or unsettled", || async {
        let health = c.get(&c.admin, "/actuator/health").await.json();
        let orders = &health["components"]["orderStore"]["details"];
        if orders["pending"] == 0 && orders["unsettled"] == 0 { Ok(()) } else { Err(health.to_string()) }
    })
    .await;
}

pub fn audit_is_clean(process: &Process) -> impl FnMut() -> Result<(), String> {
    || at_rest(process.audit())
}

fn cancelled(ledger: &Ledger) -> usize {
    ledger.entries().values().filter(|e| matches!(e.outcome, OrderOutcome::Placed { cancel: Cancel::Done, .. })).count()
}

/// The inbox has each placed order once, and each cancelled one twice, by type.
pub fn assert_notified_once_each(orders: &[Value], inbox: &[Value]) {
    let mut notified: BTreeMap<(String, String), usize> = BTreeMap::new();
    for one in inbox {
        *notified.entry((one["type"].as_str().unwrap().into(), one["orderNumber"].as_str().unwrap().into())).or_default() += 1;
    }
    notified.retain(|(kind, _), _| kind != "order.rejected");
    let mut expected = BTreeMap::new();
    for order in orders {
        let number = order["orderNumber"].as_str().unwrap().to_string();
        expected.insert(("order.placed".to_string(), number.clone()), 1);
        if order["status"] == "CANCELLED" {
            expected.insert(("order.cancelled".to_string(), number), 1);
        }
    }
    assert_eq!(notified, expected);
}

/// Starts the binary and kills it after this time, usually before it answers.
fn kill_in_start(data: &Path, after_ms: u64) {
    let mut child = tradepost(&["serve", "--port", "0", "--data", &data.to_string_lossy()])
        .env("TRADEPOST__DATA__DEMO", "false")
        .env("TRADEPOST__LOG__LEVEL", "warn")
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(after_ms));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Repeats load, SIGKILL and restart on the same data. After each restart, every answer that a client received is still
/// valid.
#[test]
fn shop_killed_under_load_keeps_acknowledged_orders() {
    let (runs, seed) = (runs(), seed());
    println!("{runs} runs; TRADEPOST_CHAOS_SEED={seed}");
    on_system(async move {
        let mut rng = SeededRng::new(seed);
        let data = tempfile::tempdir().unwrap();
        let ledger = Ledger::default();
        let mut process = Process::start(data.path(), &[]);
        let c = process.client().await;
        stock(&c).await;
        for run in 1..=runs {
            let c = process.client().await;
            let (before, cancelled_before, after_ms) = (ledger.entries().len(), cancelled(&ledger), rng.range(50, 600));
            let customers = (0..12).map(|_| customer(&c, &ledger, SeededRng::new(rng.range(0, u64::MAX - 1)))).collect::<Vec<_>>();
            let kill = async {
                tokio::time::sleep(Duration::from_millis(after_ms)).await;
                process.kill();
            };
            futures_util::future::join(futures_util::future::join_all(customers), kill).await;
            if rng.range(1, 3) == 1 {
                kill_in_start(data.path(), rng.range(1, 400));
            }

            process = Process::start(data.path(), &[]);
            let c = process.client().await;
            ledger.retry_unanswered(&c).await;
            no_order_is_left_open(&c).await;
            ledger.assert_retries_answer_the_same(&c, before).await;
            ledger.check(&pages(&c, "/api/v1/orders").await);
            wait_until("the audit is clean", audit_is_clean(&process)).await;
            let entries: Vec<_> = ledger.entries().into_values().skip(before).collect();
            let count = |of: fn(&OrderOutcome) -> bool| entries.iter().filter(|e| of(&e.outcome)).count();
            println!(
                "run {run}: killed after {after_ms} ms; {} sent, {} placed, {} refused, {} cancelled, {} without an answer",
                entries.len(),
                count(|t| matches!(t, OrderOutcome::Placed { .. })),
                count(|t| *t == OrderOutcome::Refused),
                cancelled(&ledger) - cancelled_before,
                count(|t| *t == OrderOutcome::Nothing),
            );
        }
        let c = process.client().await;
        let orders = pages(&c, "/api/v1/orders").await;
        assert!(!orders.is_empty(), "the load placed no order, so nothing was tested");
        assert_notified_once_each(&orders, &pages(&c, "/api/v1/notifications").await);
        assert_eq!(c.get(&c.admin, "/actuator/deadletters").await.expect(200).json(), json!([]));
        assert_eq!(process.terminate(), Some(0));
        let keys = "(SELECT order_id FROM idempotency_keys GROUP BY order_id HAVING count(*) > 1)";
        assert_eq!(Sql::open(data.path(), "order").value("count(*)", keys), "0", "INV-3");
    });
}

/// If a first start is killed while it creates its keys and tables, the next start completes it.
#[test]
fn shop_killed_during_first_start_starts_again() {
    let (runs, seed) = (runs(), seed());
    println!("{runs} runs; TRADEPOST_CHAOS_SEED={seed}");
    on_system(async move {
        let mut rng = SeededRng::new(seed);
        for run in 1..=runs {
            let data = tempfile::tempdir().unwrap();
            // Every other run already has keys, so the kill occurs while tables are created.
            if run % 2 == 0 {
                share_keys(data.path());
            }
            let kills: Vec<u64> = (0..rng.range(1, 3)).map(|_| rng.range(1, 250)).collect();
            println!("run {run}: killed after {kills:?} ms");
            for after_ms in kills {
                kill_in_start(data.path(), after_ms);
            }
            let process = Process::start(data.path(), &[]);
            let c = process.client().await;
            c.stocked("s", "1", 1).await;
            c.order(&[("s", 1)]).await.expect(201);
            wait_until("the audit is clean", audit_is_clean(&process)).await;
            assert_eq!(process.terminate(), Some(0));
        }
    });
}
