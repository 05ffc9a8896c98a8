//! Prepares each state in which a crash can leave an order. The next start resolves it correctly, and the audit is
//! clean.

use super::sql::Sql;
use crate::support::client::Client;
use crate::support::{Shape, Shop, on_system, wait_for};
use serde_json::{Value, json};
use uuid::Uuid;

/// A stopped shop with one order of 4 units, of 10 in stock, and its databases.
struct Stopped {
    shop: Shop,
    order: Sql,
    inventory: Sql,
    notification: Sql,
    bus: Sql,
    number: String,
    id: i64,
}

const KEY: &str = "k";
const PIECES: i64 = 4;

/// Places the order through the gateway and stops the shop once nothing is pending.
async fn ordered(shape: Shape) -> Stopped {
    let mut shop = Shop::start(shape, |s| s.inventory.reservation_seconds = 1).await;
    let c = &shop.client;
    c.stocked("s", "2.50", 10).await;
    let placed = c.order_with_key(KEY, &[("s", 1), ("s", PIECES - 1)]).await.expect(201).json();
    shop.assert_sound().await;
    shop.stop().await;
    let open = |module| Sql::open(shop.data.path(), module);
    Stopped {
        order: open("order"),
        inventory: open("inventory"),
        notification: open("notification"),
        bus: open("bus"),
        number: placed["orderNumber"].as_str().unwrap().into(),
        id: placed["id"].as_i64().unwrap(),
        shop,
    }
}

impl Stopped {
    /// As if the order had completed only its first transaction: PENDING.
    fn only_begun(&mut self) {
        self.order.run("UPDATE orders SET status = 'PENDING', settle = NULL, lease_until = 0; DELETE FROM outbox");
        self.inventory.run("DELETE FROM reservations; DELETE FROM outbox; UPDATE stock SET quantity = 10, held = 0, sold = 0");
        self.notification.run("DELETE FROM notifications; DELETE FROM inbox");
        self.bus.run("DELETE FROM messages; DELETE FROM cursors");
    }

    /// As if the stock had been reserved, and the answer lost.
    fn reserved(&mut self) {
        self.only_begun();
        self.inventory.run("UPDATE stock SET quantity = 6, held = 4");
        let row = format!("('{}', 'HELD', '{{\"s\":{PIECES}}}', 0)", self.number);
        self.inventory.run(&format!("INSERT INTO reservations (order_number, state, lines, expires_at) VALUES {row}"));
    }

    /// As if inventory had not received the commit or release.
    fn unsettled(&mut self, settle: &str) {
        self.order.run(&format!("UPDATE orders SET settle = '{settle}'"));
        self.inventory.run("UPDATE reservations SET state = 'HELD', expires_at = 0; UPDATE stock SET quantity = 6, held = 4, sold = 0");
    }

    /// The event of the placement, with another type and id.
    fn event(&mut self, kind: &str) -> Value {
        let body = self.bus.value("body", "messages WHERE body LIKE '%order.placed%'");
        let mut event: Value = serde_json::from_str(&body).unwrap();
        event["type"] = json!(kind);
        event["id"] = json!(Uuid::now_v7());
        event
    }

    async fn start(self) -> (Shop, Order) {
        let order = Order { id: self.id, number: self.number };
        (self.shop.restart().await, order)
    }
}

/// The order, as queried after the start.
struct Order {
    id: i64,
    number: String,
}

impl Order {
    /// Waits until the order has this status, with this stock left and sold; then the shop must be consistent.
    async fn ends_as(&self, shop: &Shop, status: &str, quantity: i64, sold: i64) {
        let c = &shop.client;
        wait_for(&format!("the order is {status}, {quantity} are left"), || async {
            let order = c.get(&c.alice, &format!("/api/v1/orders/{}", self.id)).await.expect(200).json();
            let row = c.stock("s").await;
            let right = order["status"] == status && row["quantity"] == quantity && row["held"] == 0 && row["sold"] == sold;
            if right { Ok(()) } else { Err(format!("{order} {row}")) }
        })
        .await;
        shop.assert_sound().await;
    }

    /// Number of notifications of this type that the customer received.
    async fn notification_count(&self, c: &Client, kind: &str) -> usize {
        let page = c.get(&c.alice, "/api/v1/notifications?size=1000").await.expect(200).json();
        let all = page["content"].as_array().unwrap();
        all.iter().filter(|one| one["type"] == kind && one["orderNumber"] == json!(self.number)).count()
    }
}

/// Defines a crash point once, as a test in each deployment mode.
macro_rules! crash_point {
    ($(#[doc = $doc:literal])* async fn $name:ident($stopped:ident) $body:block) => {
        $(#[doc = $doc])*
        mod $name {
            use super::*;
            async fn run(shape: Shape) {
                #[allow(unused_mut, reason = "most crash points change the data")]
                let mut $stopped = ordered(shape).await;
                let mut shop: Shop = $body;
                shop.assert_sound().await;
                shop.stop().await;
            }
            #[test]
            fn local() { on_system(run(Shape::Local)); }
            #[test]
            fn loopback() { on_system(run(Shape::Loopback)); }
        }
    };
}

crash_point! {
    /// PENDING, nothing reserved: the order is reserved and placed, and a retry of the customer returns it.
    async fn begun_not_reserved_is_placed(stopped) {
        stopped.only_begun();
        let (shop, order) = stopped.start().await;
        order.ends_as(&shop, "PLACED", 6, 4).await;
        assert_eq!(order.notification_count(&shop.client, "order.placed").await, 1);
        let retried = shop.client.order_with_key(KEY, &[("s", 1), ("s", PIECES - 1)]).await.expect(201).json();
        assert_eq!(retried["orderNumber"], json!(order.number));
        shop
    }
}

crash_point! {
    /// PENDING, and the stock was sold to others: REJECTED with the reason, also on a retry.
    async fn begun_without_stock_is_rejected(stopped) {
        stopped.only_begun();
        stopped.inventory.run("UPDATE stock SET quantity = 3, received = 3");
        let (shop, order) = stopped.start().await;
        order.ends_as(&shop, "REJECTED", 3, 0).await;
        assert_eq!(order.notification_count(&shop.client, "order.rejected").await, 1);
        let retried = shop.client.order_with_key(KEY, &[("s", 1), ("s", PIECES - 1)]).await.expect(400).json();
        assert_eq!(retried["insufficient"], json!(["s"]));
        shop
    }
}

crash_point! {
    /// PENDING with reserved stock: the order is placed with this reservation, and no stock is taken twice. An expired
    /// reservation makes no difference, because inventory queries the order first.
    async fn reserved_not_placed_is_placed(stopped) {
        stopped.reserved();
        let (shop, order) = stopped.start().await;
        order.ends_as(&shop, "PLACED", 6, 4).await;
        assert_eq!(order.notification_count(&shop.client, "order.placed").await, 1);
        shop
    }
}

crash_point! {
    /// PENDING with the last units reserved: the order gets them although no stock is left.
    async fn reserved_last_units_is_placed(stopped) {
        stopped.reserved();
        stopped.inventory.run("UPDATE stock SET quantity = 0, received = 4");
        let (shop, order) = stopped.start().await;
        order.ends_as(&shop, "PLACED", 0, 4).await;
        shop
    }
}

crash_point! {
    /// PENDING with its reservation released: REJECTED without a stock reason, so the key is free again. A retry is a
    /// new order; it never returns the rejected one as placed.
    async fn reservation_released_is_rejected(stopped) {
        stopped.reserved();
        stopped.inventory.run("UPDATE reservations SET state = 'RELEASED'; UPDATE stock SET quantity = 10, held = 0");
        let (shop, order) = stopped.start().await;
        order.ends_as(&shop, "REJECTED", 10, 0).await;
        let retried = shop.client.order_with_key(KEY, &[("s", 1), ("s", PIECES - 1)]).await.expect(201).json();
        assert_ne!(retried["orderNumber"], json!(order.number), "a rejected order was returned as placed");
        assert_eq!(shop.client.quantity("s").await, 6);
        shop
    }
}

crash_point! {
    /// PLACED, and inventory has no commit yet: the reserved stock becomes sold.
    async fn placed_not_committed_is_committed(stopped) {
        stopped.unsettled("COMMIT");
        let (shop, order) = stopped.start().await;
        order.ends_as(&shop, "PLACED", 6, 4).await;
        assert_eq!(order.notification_count(&shop.client, "order.placed").await, 1);
        shop
    }
}

crash_point! {
    /// PLACED and committed, but not marked as done: the repeated commit changes nothing.
    async fn committed_not_marked_done_is_unchanged(stopped) {
        stopped.order.run("UPDATE orders SET settle = 'COMMIT'");
        let (shop, order) = stopped.start().await;
        order.ends_as(&shop, "PLACED", 6, 4).await;
        shop
    }
}

crash_point! {
    /// CANCELLED while the stock was reserved, and inventory has no release yet: the stock is released once.
    async fn cancelled_not_released_is_released(stopped) {
        stopped.unsettled("RELEASE");
        let (shop, order) = cancelled(stopped).await;
        order.ends_as(&shop, "CANCELLED", 10, 0).await;
        assert_eq!((order.notification_count(&shop.client, "order.placed").await, order.notification_count(&shop.client, "order.cancelled").await), (1, 1));
        shop
    }
}

crash_point! {
    /// CANCELLED after the stock was sold, and inventory has no release yet: the stock is returned once.
    async fn cancelled_not_returned_is_returned(stopped) {
        stopped.order.run("UPDATE orders SET settle = 'RELEASE'");
        let (shop, order) = cancelled(stopped).await;
        order.ends_as(&shop, "CANCELLED", 10, 0).await;
        shop
    }
}

/// The order is cancelled in its own transaction only.
async fn cancelled(mut stopped: Stopped) -> (Shop, Order) {
    let event = stopped.event("order.cancelled");
    stopped.order.run(&format!("UPDATE orders SET status = 'CANCELLED'; INSERT INTO outbox (body) VALUES ('{event}')"));
    stopped.start().await
}

/// The order is abandoned in its own transaction only.
async fn abandoned(mut stopped: Stopped, prepare: impl FnOnce(&mut Stopped)) -> (Shop, Order) {
    let event = stopped.event("order.rejected");
    prepare(&mut stopped);
    stopped.order.run("UPDATE orders SET status = 'REJECTED', settle = 'RELEASE'; DELETE FROM idempotency_keys");
    stopped.order.run(&format!("INSERT INTO outbox (body) VALUES ('{event}')"));
    stopped.start().await
}

crash_point! {
    /// REJECTED because inventory did not answer, although it had reserved: the stock is released.
    async fn abandoned_not_released_is_released(stopped) {
        let (shop, order) = abandoned(stopped, Stopped::reserved).await;
        order.ends_as(&shop, "REJECTED", 10, 0).await;
        assert_eq!((order.notification_count(&shop.client, "order.placed").await, order.notification_count(&shop.client, "order.rejected").await), (0, 1));
        shop
    }
}

crash_point! {
    /// REJECTED because inventory did not answer and had not reserved: a late reservation is refused.
    async fn abandoned_not_reserved_refuses_late_reservation(stopped) {
        let (shop, order) = abandoned(stopped, Stopped::only_begun).await;
        let mut inventory = Sql::open(shop.data.path(), "inventory");
        wait_for("the release is stored", || {
            let rows = inventory.column("SELECT order_number || ' ' || state AS value FROM reservations");
            let done = rows == [format!("{} RELEASED", order.number)];
            async move { if done { Ok(()) } else { Err(format!("{rows:?}")) } }
        })
        .await;
        let c = &shop.client;
        let service = shop.service_token().await;
        let late = json!({ "orderNumber": order.number, "lines": { "s": PIECES } });
        assert_eq!(c.post(&service, "/api/v1/inventory/reservations", late).await.expect(200).json()["state"], "RELEASED");
        order.ends_as(&shop, "REJECTED", 10, 0).await;
        shop
    }
}

crash_point! {
    /// The event is only in the outbox: it is relayed and applied.
    async fn outbox_event_not_relayed_is_applied(stopped) {
        let body = stopped.bus.value("body", "messages WHERE body LIKE '%order.placed%'");
        stopped.bus.run("DELETE FROM messages WHERE body LIKE '%order.placed%'");
        stopped.notification.run("DELETE FROM notifications; DELETE FROM inbox");
        stopped.order.run(&format!("INSERT INTO outbox (body) VALUES ('{body}')"));
        let (shop, order) = stopped.start().await;
        order.ends_as(&shop, "PLACED", 6, 4).await;
        assert_eq!(order.notification_count(&shop.client, "order.placed").await, 1);
        shop
    }
}

crash_point! {
    /// The event was relayed, but is still in the outbox: it is relayed again and applied once.
    async fn relayed_event_still_in_outbox_is_applied_once(stopped) {
        let body = stopped.bus.value("body", "messages WHERE body LIKE '%order.placed%'");
        stopped.order.run(&format!("INSERT INTO outbox (body) VALUES ('{body}')"));
        let (shop, order) = stopped.start().await;
        order.ends_as(&shop, "PLACED", 6, 4).await;
        assert_eq!(order.notification_count(&shop.client, "order.placed").await, 1);
        let mut bus = Sql::open(shop.data.path(), "bus");
        assert_eq!(bus.value("count(*)", "messages WHERE body LIKE '%order.placed%'"), "2", "the event is not on the bus twice");
        shop
    }
}

crash_point! {
    /// The event is on the bus, and its consumer has not processed it: it is applied.
    async fn published_event_not_consumed_is_applied(stopped) {
        stopped.notification.run("DELETE FROM notifications; DELETE FROM inbox");
        stopped.bus.run("DELETE FROM cursors");
        let (shop, order) = stopped.start().await;
        order.ends_as(&shop, "PLACED", 6, 4).await;
        assert_eq!(order.notification_count(&shop.client, "order.placed").await, 1);
        shop
    }
}

crash_point! {
    /// The event was applied, but its consumer's position was not saved: it is delivered again and applied once.
    async fn applied_event_redelivered_is_applied_once(stopped) {
        stopped.bus.run("UPDATE cursors SET position = 0; INSERT INTO messages (topic, body) SELECT topic, body FROM messages");
        let (shop, order) = stopped.start().await;
        order.ends_as(&shop, "PLACED", 6, 4).await;
        assert_eq!(order.notification_count(&shop.client, "order.placed").await, 1);
        shop
    }
}
