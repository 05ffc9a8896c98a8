//! `tradepost audit` accepts consistent data, and reports each contradiction with its invariant and location.

use super::mutations;
use super::mutations::{Expected, Mutation};
use super::sql::Sql;
use crate::support::client::{Client, order};
use crate::support::process::tradepost;
use crate::support::{Shape, Shop, on_system, wait_for};
use serde_json::json;
use std::cell::Cell;
use std::path::Path;
use std::sync::LazyLock;
use tempfile::TempDir;
use tradepost::app::audit::{Report, run};
use tradepost::kernel::clock;
use tradepost::settings::Settings;

const DATABASES: [&str; 5] = ["product", "inventory", "order", "notification", "bus"];
const DAY_MS: i64 = 86_400_000;

/// Data of a shop that was stopped regularly.
struct Baseline {
    data: TempDir,
    /// The same databases, copied after the first order.
    old: TempDir,
    numbers: Numbers,
}

/// All orders but the recent one are a day old.
#[derive(Clone)]
struct Numbers {
    /// Of 4 s at 2.50 and 1 t at 1.00, with the key `k`.
    placed: String,
    /// Of 2 t, by another customer.
    recent: String,
    /// Of 1 s.
    cancelled: String,
    /// Of 99 s, with the key `r`.
    rejected: String,
}

static BASELINE: LazyLock<Baseline> = LazyLock::new(|| {
    let (data, old) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (to, old_to) = (data.path().to_path_buf(), old.path().to_path_buf());
    // Uses its own thread, because the first test may already have an actix system.
    let numbers = std::thread::spawn(move || {
        let numbers = Cell::default();
        on_system(async { numbers.set(Some(make_baseline(&to, &old_to).await)) });
        numbers.into_inner().unwrap()
    });
    Baseline { numbers: numbers.join().unwrap(), data, old }
});

async fn make_baseline(data: &Path, old: &Path) -> Numbers {
    let mut shop = Shop::start(Shape::Local, |_| {}).await;
    let c = &shop.client;
    c.stocked("s", "2.50", 10).await;
    c.stocked("t", "1.00", 20).await;
    let placed = c.order_with_key("k", &[("s", 4), ("t", 1)]).await.expect(201).json();
    assert_settled(&shop).await;
    copy_databases(shop.data.path(), old);

    let adjusted = c.stocked("u", "3.00", 5).await;
    c.put(&c.admin, &format!("/api/v1/inventory/{}", adjusted["id"]), json!({ "quantity": 1 })).await.expect(200);
    c.put(&c.admin, "/api/v1/inventory/updateQuantitiesBySku", json!({ "t": 3 })).await.expect(200);
    let cancelled = c.order(&[("s", 1)]).await.expect(201).json();
    c.post(&c.alice, &format!("/api/v1/orders/{}/cancel", cancelled["id"]), json!({})).await.expect(200);
    c.order_with_key("r", &[("s", 99)]).await.expect(400);
    let recent = c.post(&c.admin, "/api/v1/orders", order(&[("t", 2)])).await.expect(201).json();
    assert_settled(&shop).await;
    shop.stop().await;
    copy_databases(shop.data.path(), data);

    let number = |order: serde_json::Value| order["orderNumber"].as_str().unwrap().to_string();
    let rejected = Sql::open(data, "order").value("order_number", "orders WHERE status = 'REJECTED'");
    let numbers = Numbers { placed: number(placed), recent: number(recent), cancelled: number(cancelled), rejected };
    let aged = format!("- {DAY_MS} WHERE order_number <> '{}'", numbers.recent);
    Sql::open(data, "order").run(&format!("UPDATE orders SET created_at = created_at {aged}"));
    Sql::open(data, "notification")
        .run(&format!("UPDATE notifications SET created_at = created_at {aged}; UPDATE inbox SET applied_at = applied_at - {DAY_MS}"));
    numbers
}

/// Waits until nothing is pending and no reservation is held.
async fn assert_settled(shop: &Shop) {
    shop.assert_sound().await;
    wait_for("all orders are settled", || async {
        let unsettled = Sql::open(shop.data.path(), "order").value("count(*)", "orders WHERE settle IS NOT NULL");
        if unsettled == "0" { Ok(()) } else { Err(unsettled) }
    })
    .await;
    shop.assert_sound().await;
}

/// Takes a consistent copy, each database in one file: a shop that has just stopped may still be closing its files.
fn copy_databases(from: &Path, to: &Path) {
    for name in DATABASES {
        Sql::open(from, name).run(&format!("VACUUM INTO '{}'", to.join(format!("{name}.db")).display()));
    }
}

fn copy_of_baseline() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in DATABASES.map(|name| format!("{name}.db")) {
        std::fs::copy(BASELINE.data.path().join(&name), dir.path().join(&name)).unwrap();
    }
    dir
}

fn fill(text: &str) -> String {
    let Numbers { placed, recent, cancelled, rejected } = &BASELINE.numbers;
    let (soon, never) = ((clock::now_ms() + 300_000).to_string(), (i64::MAX / 2).to_string());
    let numbers = [("{placed}", placed), ("{recent}", recent), ("{cancelled}", cancelled), ("{rejected}", rejected)];
    let values = numbers.into_iter().chain([("{soon}", &soon), ("{never}", &never)]);
    values.fold(text.to_string(), |text, (name, value)| text.replace(name, value))
}

/// Runs the command; returns its exit code and its output.
fn audit(data: &Path, options: &[&str]) -> (Option<i32>, String) {
    let output = tradepost(&[&["audit", "--data", &data.to_string_lossy()], options].concat()).output().unwrap();
    (output.status.code(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

/// Runs the audit in this process.
fn report(data: &Path) -> Report {
    let mut settings = Settings::default();
    settings.data.dir = data.to_path_buf();
    run(&settings).unwrap()
}

/// After these statements the audit is clean: a crash may leave this state, and the next start resolves it.
#[track_caller]
fn assert_clean(changes: &[(&str, &str)]) {
    let data = copy_of_baseline();
    for (module, sql) in changes {
        Sql::open(data.path(), module).run(sql);
    }
    assert_eq!(report(data.path()).violations, []);
}

#[test]
fn consistent_data_is_clean() {
    let data = copy_of_baseline();
    for options in [&[][..], &["--quick"]] {
        let (code, text) = audit(data.path(), options);
        assert_eq!(code, Some(0), "{text}");
        for line in [
            "3 SKUs, 26 pieces to sell, 0 held, 10 sold",
            "4 orders: 2 placed, 1 rejected, 1 cancelled, 0 pending",
            "3 products, 0 of their events wait to be published",
            "5 order events applied, 0 under way",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(text.contains("INV-1 to INV-5 hold"), "{text}");
    }
}

/// Prints the table of mutations: what the audit reports of each.
#[test]
fn each_mutation_is_reported_or_has_a_reason_why_not() {
    let (mut found, mut wrong) = (0, Vec::new());
    let all = mutations::all();
    println!("| area | mutation | the audit reports |\n| --- | --- | --- |");
    for mutation in &all {
        let (outcome, right) = outcome(mutation);
        println!("| {} | {} | {outcome} |", mutation.area, mutation.name);
        if !right {
            wrong.push(format!("{}: {}: {outcome}", mutation.area, mutation.name));
        }
        found += usize::from(right && matches!(mutation.expected, Expected::Violation(..)));
    }
    println!("{found} of {} are found", all.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What the audit reports, and whether that is as expected.
fn outcome(mutation: &Mutation) -> (String, bool) {
    let data = copy_of_baseline();
    mutation.change.apply(data.path(), BASELINE.old.path(), fill);
    let lines: Vec<String> = report(data.path()).violations.iter().map(ToString::to_string).collect();
    match mutation.expected {
        Expected::Violation(invariant, part) => {
            let part = fill(part);
            match lines.iter().find(|line| line.starts_with(&format!("{invariant}: ")) && line.contains(&part)) {
                Some(line) => (line.replace(&*data.path().to_string_lossy(), ""), true),
                None => (format!("no `{invariant}: ...{part}`, but {lines:?}"), false),
            }
        }
        Expected::Unseen(reason) if lines.is_empty() => (format!("nothing: {reason}"), true),
        Expected::Unseen(_) => (format!("{lines:?}, which was thought impossible"), false),
    }
}

/// Pending work is not a contradiction: an event in transit, a reservation to commit or release.
#[test]
fn pending_work_is_clean() {
    let Numbers { recent, .. } = &BASELINE.numbers;
    let unapplied = fill("DELETE FROM notifications WHERE order_number = '{recent}'");
    assert_clean(&[("notification", &unapplied), ("bus", "UPDATE cursors SET position = 0")]);
    let body = Sql::open(BASELINE.data.path(), "bus").value("body", &format!("messages WHERE body LIKE '%order.placed%{recent}%'"));
    assert_clean(&[("notification", &unapplied), ("order", &format!("INSERT INTO outbox (body) VALUES ('{body}')"))]);
    let dead_letter = format!("INSERT INTO dead_letters (consumer, body, error, died_at) VALUES ('notification', '{body}', 'e', 0)");
    assert_clean(&[("notification", &unapplied), ("bus", &dead_letter)]);
    let held = fill(
        "UPDATE reservations SET state = 'HELD' WHERE order_number = '{recent}'; UPDATE stock SET held = 2, sold = sold - 2 \
         WHERE sku_code = 't'",
    );
    let settle = fill("UPDATE orders SET settle = 'COMMIT' WHERE order_number = '{recent}'");
    assert_clean(&[("inventory", &held), ("order", &settle)]);
    let created = "messages WHERE topic = 'product' AND body LIKE '%product.created%' AND json_extract(body, '$.data.skuCode') = 's'";
    let deleted = Sql::open(BASELINE.data.path(), "bus").value("body", created).replace("product.created", "product.deleted");
    let delete = format!("DELETE FROM products WHERE sku_code = 's'; INSERT INTO outbox (body) VALUES ('{deleted}')");
    assert_clean(&[("product", &delete)]);
}

/// A shop that stopped a month ago, right after an order whose stock was not committed yet.
#[test]
fn action_of_a_stopped_shop_does_not_age() {
    let aged = format!("created_at = created_at - {}", 30 * DAY_MS);
    let settle = fill("UPDATE orders SET settle = 'COMMIT' WHERE order_number = '{recent}'");
    assert_clean(&[
        ("order", &format!("UPDATE orders SET {aged}; UPDATE idempotency_keys SET {aged}; DELETE FROM leases; {settle}")),
        ("notification", &format!("UPDATE notifications SET {aged}; UPDATE inbox SET applied_at = applied_at - {}", 30 * DAY_MS)),
    ]);
}

/// Lines of refused orders may be deleted.
#[test]
fn rejected_order_without_lines_is_clean() {
    let delete = fill("DELETE FROM order_lines WHERE order_id = (SELECT id FROM orders WHERE order_number = '{rejected}')");
    assert_clean(&[("order", &delete)]);
}

#[test]
fn violation_exits_with_1_also_if_the_file_is_damaged() {
    let data = copy_of_baseline();
    std::fs::write(data.path().join("inventory.db"), "this is no database at all, whatever its name says").unwrap();
    let (code, text) = audit(data.path(), &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("FILE: ") && text.contains("inventory.db: file is not a database"), "{text}");
    std::fs::remove_file(data.path().join("inventory.db")).unwrap();
    let (code, text) = audit(data.path(), &["--quick"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("inventory.db is missing, but product.db has 3 products, order.db has 4 orders"), "{text}");
}

#[test]
fn folder_without_a_shop_exits_with_2_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("nowhere");
    for data in [missing.as_path(), dir.path()] {
        let (code, text) = audit(data, &[]);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains(&*data.to_string_lossy()) && text.contains("is no data folder of a shop"), "{text}");
        assert!(!text.contains("INV-"), "{text}");
    }
    assert!(!missing.exists(), "an audit creates nothing");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// An audit of a working shop: concurrent changes are not contradictions.
async fn audit_beside_work(shape: Shape) {
    let mut shop = Shop::start(shape, |s| s.order.lease_seconds = 60).await;
    let c = &shop.client;
    c.stocked("s", "1", 1_000_000).await;
    let working = Cell::new(8);
    let customers = (0..working.get()).map(|_| async {
        place_and_cancel(c, 40).await;
        working.set(working.get() - 1);
    });
    let auditor = async {
        let mut audits = 0;
        while working.get() > 0 {
            let settings = shop.settings.clone();
            let report = actix_web::rt::task::spawn_blocking(move || run(&settings).unwrap()).await.unwrap();
            assert_eq!(report.violations, []);
            audits += 1;
        }
        assert!(audits > 0);
    };
    futures_util::future::join(futures_util::future::join_all(customers), auditor).await;
    shop.assert_sound().await;
    shop.stop().await;
}

async fn place_and_cancel(c: &Client, times: u32) {
    for _ in 0..times {
        let id = c.order(&[("s", 1)]).await.expect(201).json()["id"].clone();
        c.post(&c.alice, &format!("/api/v1/orders/{id}/cancel"), json!({})).await.expect(200);
    }
}

#[test]
fn working_shop_is_always_clean() {
    on_system(audit_beside_work(Shape::Local));
}

#[test]
fn working_shop_in_loopback_is_always_clean() {
    on_system(audit_beside_work(Shape::Loopback));
}
