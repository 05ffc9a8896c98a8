//! `tradepost audit` accepts consistent data, and reports each contradiction with its invariant and location.

use super::sql::Sql;
use crate::support::process::tradepost;
use crate::support::{Shape, Shop, on_system};
use serde_json::json;
use std::cell::Cell;
use std::path::Path;
use std::sync::LazyLock;
use tempfile::TempDir;

/// Data of a shop that was stopped regularly: a placed order of 4, a cancelled one, a rejected one.
struct Baseline {
    data: TempDir,
    placed: String,
    cancelled: String,
}

static BASELINE: LazyLock<Baseline> = LazyLock::new(|| {
    let data = tempfile::tempdir().unwrap();
    let to = data.path().to_path_buf();
    // Uses its own thread, because the first test may already have an actix system.
    let (placed, cancelled) = std::thread::spawn(move || {
        let numbers = Cell::default();
        on_system(async {
            let mut shop = Shop::start(Shape::Local, |_| {}).await;
            let c = &shop.client;
            c.stocked("s", "1", 10).await;
            let placed = c.order_with_key("k", &[("s", 4)]).await.expect(201).json();
            let cancelled = c.order(&[("s", 1)]).await.expect(201).json();
            c.post(&c.alice, &format!("/api/v1/orders/{}/cancel", cancelled["id"]), json!({})).await.expect(200);
            c.order(&[("s", 99)]).await.expect(400);
            shop.assert_sound().await;
            shop.stop().await;
            copy_databases(shop.data.path(), &to);
            let number = |order: serde_json::Value| order["orderNumber"].as_str().unwrap().to_string();
            numbers.set((number(placed), number(cancelled)));
        });
        numbers.into_inner()
    })
    .join()
    .unwrap();
    Baseline { data, placed, cancelled }
});

const DATABASES: [&str; 5] = ["product", "inventory", "order", "notification", "bus"];

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

/// Runs the audit; returns its exit code and its output.
fn audit(data: &Path) -> (Option<i32>, String) {
    let output = tradepost(&["audit", "--data", &data.to_string_lossy()]).output().unwrap();
    (output.status.code(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

/// After these statements the audit fails, and reports only this invariant, with this subject and message.
#[track_caller]
fn assert_violation(module: &str, sql: &str, invariant: &str, subject: &str, message: &str) {
    let data = copy_of_baseline();
    Sql::open(data.path(), module).run(&format!("PRAGMA ignore_check_constraints = ON; {sql}"));
    let (code, text) = audit(data.path());
    assert_eq!(code, Some(1), "{text}");
    let found: Vec<&str> = text.lines().filter(|line| line.starts_with("INV-")).collect();
    assert!(found.iter().all(|line| line.starts_with(&format!("{invariant}: "))), "{text}");
    assert!(found.iter().any(|line| line.contains(subject) && line.contains(message)), "{text}");
}

/// After these statements the audit is clean: a crash may leave this state, and the next start resolves it.
#[track_caller]
fn assert_clean(changes: &[(&str, &str)]) {
    let data = copy_of_baseline();
    for (module, sql) in changes {
        Sql::open(data.path(), module).run(sql);
    }
    let (code, text) = audit(data.path());
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn consistent_data_is_clean() {
    let data = copy_of_baseline();
    let (code, text) = audit(data.path());
    assert_eq!(code, Some(0), "{text}");
    for line in [
        "1 SKUs, 6 pieces to sell, 0 held, 4 sold",
        "3 orders: 1 placed, 1 rejected, 1 cancelled, 0 pending",
        "1 products, 0 of their events wait to be published",
        "4 order events applied, 0 under way",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert!(text.contains("INV-1 to INV-5 hold"), "{text}");
}

#[test]
fn wrong_quantity_is_reported() {
    assert_violation(
        "inventory",
        "UPDATE stock SET quantity = quantity + 1",
        "INV-1",
        "s:",
        "quantity 7 + held 0 + sold 4 is not received 10",
    );
    assert_violation("inventory", "UPDATE stock SET sold = sold - 1", "INV-1", "s:", "quantity 6 + held 0 + sold 3 is not received 10");
}

#[test]
fn negative_quantity_is_reported() {
    assert_violation("inventory", "UPDATE stock SET quantity = -1, received = 3", "INV-2", "s:", "quantity is -1");
}

#[test]
fn held_stock_without_reservation_is_reported() {
    assert_violation("inventory", "UPDATE stock SET quantity = 4, held = 2", "INV-1", "s:", "2 are held, reservations hold 0");
}

#[test]
fn reservation_without_held_stock_is_reported() {
    let reserve =
        |sku: &str| format!("INSERT INTO reservations VALUES ('11111111-1111-4111-8111-111111111111', 'HELD', '{{\"{sku}\":2}}', 0)");
    assert_violation("inventory", &reserve("s"), "INV-1", "s:", "0 are held, reservations hold 2");
    assert_violation("inventory", &reserve("ghost"), "INV-1", "ghost:", "there is no stock row");
}

#[test]
fn placed_order_with_released_stock_is_reported() {
    let number = &BASELINE.placed;
    let back = "UPDATE stock SET quantity = 10, sold = 0;";
    let released = format!("{back} UPDATE reservations SET state = 'RELEASED' WHERE order_number = '{number}'");
    assert_violation("inventory", &released, "INV-4", number, "is PLACED, its reservation is RELEASED");
    let gone = format!("{back} DELETE FROM reservations WHERE order_number = '{number}'");
    assert_violation("inventory", &gone, "INV-4", number, "is PLACED, its reservation is none");
}

#[test]
fn cancelled_order_with_committed_stock_is_reported() {
    let number = &BASELINE.cancelled;
    let kept =
        format!("UPDATE reservations SET state = 'COMMITTED' WHERE order_number = '{number}'; UPDATE stock SET quantity = 5, sold = 5");
    assert_violation("inventory", &kept, "INV-4", number, "is CANCELLED, its reservation is COMMITTED");
}

#[test]
fn order_lines_unlike_the_reservation_are_reported() {
    let number = &BASELINE.placed;
    let other = format!("UPDATE order_lines SET quantity = 3 WHERE order_id = (SELECT id FROM orders WHERE order_number = '{number}')");
    assert_violation("order", &other, "INV-4", number, "its reservation");
}

#[test]
fn pending_order_beyond_its_lease_is_reported() {
    let number = &BASELINE.placed;
    let pending = |lease: i64| format!("UPDATE orders SET status = 'PENDING', lease_until = {lease} WHERE order_number = '{number}'");
    assert_violation("order", &pending(1), "INV-4", number, "is PENDING beyond its lease");
    assert_clean(&[("order", &pending(i64::MAX / 2))]);
}

#[test]
fn order_with_two_keys_is_reported() {
    let number = &BASELINE.placed;
    let second = "INSERT INTO idempotency_keys SELECT scope, 'another', fingerprint, order_id, created_at FROM idempotency_keys";
    assert_violation("order", second, "INV-3", number, "has 2 idempotency keys");
}

#[test]
fn lost_event_is_reported() {
    let number = &BASELINE.placed;
    let lost = format!("DELETE FROM notifications WHERE order_number = '{number}'");
    assert_violation("notification", &lost, "INV-5", number, "order.placed of order");
    let cancellation = "DELETE FROM notifications WHERE type = 'order.cancelled'";
    assert_violation("notification", cancellation, "INV-5", &BASELINE.cancelled, "order.cancelled of order");
    assert_violation("notification", "DELETE FROM notifications WHERE type = 'order.rejected'", "INV-5", "order.rejected", "was lost");
}

#[test]
fn event_applied_twice_is_reported() {
    let columns = "customer, type, order_number, title, message, created_at, read";
    let twice = format!(
        "INSERT INTO notifications (event_id, {columns}) SELECT 'another', {columns} FROM notifications WHERE type = 'order.cancelled'"
    );
    assert_violation("notification", &twice, "INV-5", &BASELINE.cancelled, "was applied 2 times");
}

/// Pending work is not a contradiction: an event in transit, a reservation to commit or release.
#[test]
fn pending_work_is_clean() {
    let placed = &BASELINE.placed;
    let unapplied = format!("DELETE FROM notifications WHERE order_number = '{placed}'");
    assert_clean(&[("notification", &unapplied), ("bus", "UPDATE cursors SET position = 0")]);
    let body = Sql::open(BASELINE.data.path(), "bus").value("body", &format!("messages WHERE body LIKE '%order.placed%{placed}%'"));
    assert_clean(&[("notification", &unapplied), ("order", &format!("INSERT INTO outbox (body) VALUES ('{body}')"))]);
    let held = format!("UPDATE reservations SET state = 'HELD' WHERE order_number = '{placed}'; UPDATE stock SET held = 4, sold = 0");
    assert_clean(&[("inventory", &held), ("order", &format!("UPDATE orders SET settle = 'COMMIT' WHERE order_number = '{placed}'"))]);
}

#[test]
fn missing_or_broken_data_folder_is_a_separate_error() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("nowhere");
    for data in [missing.as_path(), dir.path()] {
        let (code, text) = audit(data);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(&*data.to_string_lossy()) && text.contains("there is no such file"), "{text}");
        assert!(!text.contains("INV-"), "{text}");
    }
    assert!(!missing.exists(), "an audit creates nothing");
    let broken = copy_of_baseline();
    std::fs::write(broken.path().join("inventory.db"), "this is no database at all, whatever its name says").unwrap();
    let (code, text) = audit(broken.path());
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("inventory.db") && text.contains("not a database"), "{text}");
}

/// An audit of a working shop: concurrent changes are not contradictions.
#[test]
fn working_shop_is_always_clean() {
    on_system(async {
        let mut shop = Shop::start(Shape::Local, |s| s.order.lease_seconds = 60).await;
        let c = &shop.client;
        c.stocked("s", "1", 1_000_000).await;
        let working = Cell::new(8);
        let customers = (0..working.get()).map(|_| async {
            for _ in 0..40 {
                let id = c.order(&[("s", 1)]).await.expect(201).json()["id"].clone();
                c.post(&c.alice, &format!("/api/v1/orders/{id}/cancel"), json!({})).await.expect(200);
            }
            working.set(working.get() - 1);
        });
        let auditor = async {
            let mut audits = 0;
            while working.get() > 0 {
                let settings = shop.settings.clone();
                let report = actix_web::rt::task::spawn_blocking(move || tradepost::app::audit::run(&settings).unwrap()).await.unwrap();
                assert_eq!(report.violations, []);
                audits += 1;
            }
            assert!(audits > 0);
        };
        futures_util::future::join(futures_util::future::join_all(customers), auditor).await;
        shop.assert_sound().await;
        shop.stop().await;
    });
}
