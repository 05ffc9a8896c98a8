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
struct Good {
    data: TempDir,
    placed: String,
    cancelled: String,
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
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
            keep(shop.data.path(), &to);
            let number = |order: serde_json::Value| order["orderNumber"].as_str().unwrap().to_string();
            numbers.set((number(placed), number(cancelled)));
        });
        numbers.into_inner()
    })
    .join()
    .unwrap();
    Good { data, placed, cancelled }
});

const DATABASES: [&str; 5] = ["product", "inventory", "order", "notification", "bus"];

/// Takes a consistent copy, each database in one file: a shop that has just stopped may still be closing its files.
fn keep(from: &Path, to: &Path) {
    for name in DATABASES {
        Sql::open(from, name).run(&format!("VACUUM INTO '{}'", to.join(format!("{name}.db")).display()));
    }
}

fn copy_of_good() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in DATABASES.map(|name| format!("{name}.db")) {
        std::fs::copy(GOOD.data.path().join(&name), dir.path().join(&name)).unwrap();
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
fn wrong(module: &str, sql: &str, invariant: &str, whose: &str, what: &str) {
    let data = copy_of_good();
    Sql::open(data.path(), module).run(&format!("PRAGMA ignore_check_constraints = ON; {sql}"));
    let (code, words) = audit(data.path());
    assert_eq!(code, Some(1), "{words}");
    let found: Vec<&str> = words.lines().filter(|line| line.starts_with("INV-")).collect();
    assert!(found.iter().all(|line| line.starts_with(&format!("{invariant}: "))), "{words}");
    assert!(found.iter().any(|line| line.contains(whose) && line.contains(what)), "{words}");
}

/// After these statements the audit is clean: a crash may leave this state, and the next start resolves it.
#[track_caller]
fn right(changes: &[(&str, &str)]) {
    let data = copy_of_good();
    for (module, sql) in changes {
        Sql::open(data.path(), module).run(sql);
    }
    let (code, words) = audit(data.path());
    assert_eq!(code, Some(0), "{words}");
}

#[test]
fn good_data_is_good() {
    let data = copy_of_good();
    let (code, words) = audit(data.path());
    assert_eq!(code, Some(0), "{words}");
    for line in [
        "1 SKUs, 6 pieces to sell, 0 held, 4 sold",
        "3 orders: 1 placed, 1 rejected, 1 cancelled, 0 pending",
        "1 products, 0 of their events wait to be published",
        "4 order events applied, 0 under way",
    ] {
        assert!(words.contains(line), "{words}");
    }
    assert!(words.contains("INV-1 to INV-5 hold"), "{words}");
}

#[test]
fn a_quantity_off_by_one() {
    wrong("inventory", "UPDATE stock SET quantity = quantity + 1", "INV-1", "s:", "quantity 7 + held 0 + sold 4 is not received 10");
    wrong("inventory", "UPDATE stock SET sold = sold - 1", "INV-1", "s:", "quantity 6 + held 0 + sold 3 is not received 10");
}

#[test]
fn a_negative_quantity() {
    wrong("inventory", "UPDATE stock SET quantity = -1, received = 3", "INV-2", "s:", "quantity is -1");
}

#[test]
fn held_without_a_reservation() {
    wrong("inventory", "UPDATE stock SET quantity = 4, held = 2", "INV-1", "s:", "2 are held, reservations hold 0");
}

#[test]
fn a_reservation_of_what_is_not_held() {
    let reserve =
        |sku: &str| format!("INSERT INTO reservations VALUES ('11111111-1111-4111-8111-111111111111', 'HELD', '{{\"{sku}\":2}}', 0)");
    wrong("inventory", &reserve("s"), "INV-1", "s:", "0 are held, reservations hold 2");
    wrong("inventory", &reserve("ghost"), "INV-1", "ghost:", "there is no stock row");
}

#[test]
fn a_placed_order_whose_stock_was_given_back() {
    let number = &GOOD.placed;
    let back = "UPDATE stock SET quantity = 10, sold = 0;";
    let released = format!("{back} UPDATE reservations SET state = 'RELEASED' WHERE order_number = '{number}'");
    wrong("inventory", &released, "INV-4", number, "is PLACED, its reservation is RELEASED");
    let gone = format!("{back} DELETE FROM reservations WHERE order_number = '{number}'");
    wrong("inventory", &gone, "INV-4", number, "is PLACED, its reservation is none");
}

#[test]
fn a_cancelled_order_whose_stock_was_not_given_back() {
    let number = &GOOD.cancelled;
    let kept =
        format!("UPDATE reservations SET state = 'COMMITTED' WHERE order_number = '{number}'; UPDATE stock SET quantity = 5, sold = 5");
    wrong("inventory", &kept, "INV-4", number, "is CANCELLED, its reservation is COMMITTED");
}

#[test]
fn an_order_of_other_lines_than_were_reserved() {
    let number = &GOOD.placed;
    let other = format!("UPDATE order_lines SET quantity = 3 WHERE order_id = (SELECT id FROM orders WHERE order_number = '{number}')");
    wrong("order", &other, "INV-4", number, "its reservation");
}

#[test]
fn a_pending_order_beyond_its_lease() {
    let number = &GOOD.placed;
    let pending = |lease: i64| format!("UPDATE orders SET status = 'PENDING', lease_until = {lease} WHERE order_number = '{number}'");
    wrong("order", &pending(1), "INV-4", number, "is PENDING beyond its lease");
    right(&[("order", &pending(i64::MAX / 2))]);
}

#[test]
fn an_order_with_two_keys() {
    let number = &GOOD.placed;
    let second = "INSERT INTO idempotency_keys SELECT scope, 'another', fingerprint, order_id, created_at FROM idempotency_keys";
    wrong("order", second, "INV-3", number, "has 2 idempotency keys");
}

#[test]
fn a_lost_event() {
    let number = &GOOD.placed;
    let lost = format!("DELETE FROM notifications WHERE order_number = '{number}'");
    wrong("notification", &lost, "INV-5", number, "order.placed of order");
    let cancellation = "DELETE FROM notifications WHERE type = 'order.cancelled'";
    wrong("notification", cancellation, "INV-5", &GOOD.cancelled, "order.cancelled of order");
    wrong("notification", "DELETE FROM notifications WHERE type = 'order.rejected'", "INV-5", "order.rejected", "was lost");
}

#[test]
fn an_event_applied_twice() {
    let columns = "customer, type, order_number, title, message, created_at, read";
    let twice = format!(
        "INSERT INTO notifications (event_id, {columns}) SELECT 'another', {columns} FROM notifications WHERE type = 'order.cancelled'"
    );
    wrong("notification", &twice, "INV-5", &GOOD.cancelled, "was applied 2 times");
}

/// Pending work is not a contradiction: an event in transit, a reservation to commit or release.
#[test]
fn what_is_under_way_is_no_contradiction() {
    let placed = &GOOD.placed;
    let forgotten = format!("DELETE FROM notifications WHERE order_number = '{placed}'");
    right(&[("notification", &forgotten), ("bus", "UPDATE cursors SET position = 0")]);
    let body = Sql::open(GOOD.data.path(), "bus").value("body", &format!("messages WHERE body LIKE '%order.placed%{placed}%'"));
    right(&[("notification", &forgotten), ("order", &format!("INSERT INTO outbox (body) VALUES ('{body}')"))]);
    let held = format!("UPDATE reservations SET state = 'HELD' WHERE order_number = '{placed}'; UPDATE stock SET held = 4, sold = 0");
    right(&[("inventory", &held), ("order", &format!("UPDATE orders SET settle = 'COMMIT' WHERE order_number = '{placed}'"))]);
}

#[test]
fn a_missing_or_broken_data_folder_is_an_error_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("nowhere");
    for data in [missing.as_path(), dir.path()] {
        let (code, words) = audit(data);
        assert_eq!(code, Some(1), "{words}");
        assert!(words.contains(&*data.to_string_lossy()) && words.contains("there is no such file"), "{words}");
        assert!(!words.contains("INV-"), "{words}");
    }
    assert!(!missing.exists(), "an audit makes nothing");
    let broken = copy_of_good();
    std::fs::write(broken.path().join("inventory.db"), "this is no database at all, whatever its name says").unwrap();
    let (code, words) = audit(broken.path());
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("inventory.db") && words.contains("not a database"), "{words}");
}

/// An audit of a working shop: concurrent changes are not contradictions.
#[test]
fn a_shop_at_work_is_sound_at_every_moment() {
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
