//! The wall clock is set back by days: stored ends lie far in the future, and nothing waits for them.

use super::sql::Sql;
use crate::support::{Shape, Shop, on_system, wait_for};
use serde_json::Value;

#[test]
fn clock_set_back_by_days_delays_no_order_no_event_and_no_recovery() {
    on_system(async {
        let mut shop = Shop::start(Shape::Local, |_| {}).await;
        let c = &shop.client;
        c.stocked("s", "1.00", 10).await;
        let pending = c.order(&[("s", 1)]).await.expect(201).json();
        wait_for("the order is settled", || async {
            let unsettled = Sql::open(shop.data.path(), "order").value("count(*)", "orders WHERE settle IS NOT NULL");
            if unsettled == "0" { Ok(()) } else { Err(unsettled) }
        })
        .await;

        // as three days ago, when the clock was three days ahead: a process died that held every lease, while placing an order
        let later = "(unixepoch() + 3 * 86400) * 1000";
        for database in ["product", "inventory", "order", "bus"] {
            Sql::open(shop.data.path(), database).run(&format!("UPDATE leases SET holder = 'dead', expires_at = {later}"));
        }
        Sql::open(shop.data.path(), "inventory")
            .run(&format!("UPDATE reservations SET state = 'HELD', expires_at = {later}; UPDATE stock SET held = 1, sold = 0"));
        Sql::open(shop.data.path(), "order")
            .run(&format!("UPDATE orders SET status = 'PENDING', lease_until = {later}, created_at = {later}"));

        let path = format!("/api/v1/orders/{}", pending["id"]);
        wait_for("recovery completes the order", || async {
            let order = c.get(&c.admin, &path).await.expect(200).json();
            if order["status"] == "PLACED" { Ok(()) } else { Err(order.to_string()) }
        })
        .await;
        let number = c.order(&[("s", 1)]).await.expect(201).json()["orderNumber"].clone();
        wait_for("its event arrives", || async {
            let inbox = c.get(&c.alice, "/api/v1/notifications").await.expect(200).json();
            let arrived = inbox["content"].as_array().unwrap().iter().any(|notification: &Value| notification["orderNumber"] == number);
            if arrived { Ok(()) } else { Err(inbox.to_string()) }
        })
        .await;
        shop.stop().await;
    });
}

/// An age of 0 would hide an order that is stuck since before the step.
#[test]
fn order_created_after_now_has_an_age() {
    on_system(async {
        let mut shop = Shop::start(Shape::Local, |s| s.order.lease_seconds = 86_400).await;
        let c = &shop.client;
        c.stocked("s", "1.00", 10).await;
        c.order(&[("s", 1)]).await.expect(201);
        let hour_ahead = "(unixepoch() + 3600) * 1000";
        Sql::open(shop.data.path(), "order")
            .run(&format!("UPDATE orders SET status = 'PENDING', lease_until = {hour_ahead}, created_at = {hour_ahead}"));
        wait_for("the age is shown", || async {
            let metrics = c.get(&c.admin, "/actuator/prometheus").await.expect(200).text;
            let age = metrics.lines().find_map(|line| line.strip_prefix("tradepost_orders_pending_oldest_seconds "));
            let age: f64 = age.ok_or("no gauge")?.parse().map_err(|_| "no number")?;
            if age > 3000.0 { Ok(()) } else { Err(age.to_string()) }
        })
        .await;
        shop.stop().await;
    });
}
