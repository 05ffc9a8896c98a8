//! Upper limit of the storage: the writes of an order, executed directly in SQLite by one thread.
//!
//! Prepared statements for all writes of an order in all databases, from the price query to the settled
//! reservation and the customer's inbox, in the shop's files and with its pragmas (WAL, synchronous=FULL).
//! Orders are processed in groups; each row below is one transaction per group.
//!
//! | database     | statements per order of n lines                                                |
//! | ------------ | ------------------------------------------------------------------------------ |
//! | product      | n x SELECT price (no transaction)                                              |
//! | order        | INSERT order, n x INSERT line                                                  |
//! | inventory    | INSERT reservation, n x UPDATE stock, INSERT outbox                            |
//! | order        | UPDATE order, INSERT outbox                                                    |
//! | bus          | INSERT message (order's), INSERT message (inventory's)                         |
//! | order, inventory | DELETE the group's outbox rows: one statement each                         |
//! | notification | 2 x INSERT inbox, INSERT notification; then bus: one upsert of the cursor per group |
//! | inventory    | UPDATE reservation, n x UPDATE stock                                           |
//! | order        | UPDATE order (settled)                                                         |
//!
//! Eleven commits per group. Other work of the shop (JSON, tokens, events, synchronization) is omitted on
//! purpose.

use rusqlite::{Connection, Statement, params};
use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// The databases of one shop.
struct Straight<'c> {
    order: Db<'c>,
    inventory: Db<'c>,
    product: Db<'c>,
    bus: Db<'c>,
    notification: Db<'c>,
}

/// A connection and its prepared statements. rusqlite has a statement cache, but its dependencies would enable features
/// of crates that the shop uses, and `cargo test` would recompile those after `cargo run`.
struct Db<'c> {
    conn: &'c Connection,
    statements: HashMap<&'static str, Statement<'c>>,
}

impl<'c> Db<'c> {
    fn on(conn: &'c Connection) -> Self {
        Self { conn, statements: HashMap::new() }
    }

    fn sql(&mut self, sql: &'static str) -> &mut Statement<'c> {
        self.statements.entry(sql).or_insert_with(|| self.conn.prepare(sql).unwrap())
    }

    fn begin(&self) {
        self.conn.execute_batch("BEGIN").unwrap();
    }

    fn commit(&self) {
        self.conn.execute_batch("COMMIT").unwrap();
    }
}

fn open(data: &Path, name: &str) -> Connection {
    let conn = Connection::open(data.join(format!("{name}.db"))).unwrap();
    conn.execute_batch(
        "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 4000; PRAGMA cache_size = -4000;",
    )
    .unwrap();
    conn
}

/// The rows of one order.
struct Order {
    id: i64,
    number: String,
    skus: Vec<usize>,
}

/// Orders per second and CPU microseconds per order, in groups of this size, on the databases of a stopped shop with
/// stock.
pub fn run(data: &Path, group: usize, lines: usize, skus: usize, time: Duration) -> (f64, f64) {
    let [order, inventory, product, bus, notification] =
        ["order", "inventory", "product", "bus", "notification"].map(|name| open(data, name));
    let mut straight = Straight {
        order: Db::on(&order),
        inventory: Db::on(&inventory),
        product: Db::on(&product),
        bus: Db::on(&bus),
        notification: Db::on(&notification),
    };
    let (started, mut orders) = (Instant::now(), 0usize);
    let cpu = super::process::cpu("/proc/thread-self/stat");
    while started.elapsed() < time {
        straight.group(group, lines, skus, orders);
        orders += group;
    }
    let cpu = super::process::cpu("/proc/thread-self/stat") - cpu;
    (orders as f64 / started.elapsed().as_secs_f64(), cpu.as_micros() as f64 / orders as f64)
}

impl Straight<'_> {
    fn group(&mut self, group: usize, lines: usize, skus: usize, from: usize) {
        let mut orders = Vec::with_capacity(group);
        for n in from..from + group {
            let skus: Vec<usize> = (0..lines).map(|line| super::goods::pick(n, line, skus)).collect();
            for sku in &skus {
                let price = self.product.sql("SELECT doc FROM products WHERE sku_code = ?");
                let _: String = price.query_row([super::sku(*sku)], |row| row.get(0)).unwrap();
            }
            orders.push(Order { id: 0, number: Uuid::now_v7().to_string(), skus });
        }
        self.begin(&mut orders);
        self.reserve(&orders);
        self.end(&orders);
        relay(&mut self.inventory, &mut self.bus, "stock");
        relay(&mut self.order, &mut self.bus, "order");
        self.notify(&orders);
        self.settle(&orders);
    }

    fn begin(&mut self, orders: &mut [Order]) {
        let db = &mut self.order;
        db.begin();
        for order in orders {
            let insert = db.sql(
                "INSERT INTO orders (order_number, customer, customer_name, email, status, total, reason, lease_until, created_at)
                     VALUES (?, ?, 'alice', 'alice@example.com', 'PENDING', '19.99', NULL, ?, ?) RETURNING id",
            );
            order.id =
                insert.query_row(params![order.number, super::SUBJECT, 1_900_000_000_000i64, 1_900_000_000_000i64], |r| r.get(0)).unwrap();
            for sku in &order.skus {
                let sql = "INSERT INTO order_lines (order_id, sku_code, quantity, price) VALUES (?, ?, ?, '19.99') RETURNING id";
                let _: i64 = db.sql(sql).query_row(params![order.id, super::sku(*sku), 1], |r| r.get(0)).unwrap();
            }
        }
        db.commit();
    }

    fn reserve(&mut self, orders: &[Order]) {
        let db = &mut self.inventory;
        db.begin();
        for order in orders {
            let lines =
                serde_json::to_string(&order.skus.iter().map(|s| (super::sku(*s), 1)).collect::<std::collections::BTreeMap<_, _>>());
            let sql = "INSERT OR IGNORE INTO reservations (order_number, state, lines, expires_at) VALUES (?, 'HELD', ?, ?)";
            assert_eq!(db.sql(sql).execute(params![order.number, lines.unwrap(), 1_900_000_000_000i64]).unwrap(), 1);
            for sku in &order.skus {
                let sql = "UPDATE stock SET quantity = quantity - ?1, held = held + ?1
                           WHERE sku_code = ?2 AND quantity >= ?1 AND removed = 0 RETURNING quantity";
                let _: i64 = db.sql(sql).query_row(params![1, super::sku(*sku)], |r| r.get(0)).unwrap();
            }
            assert_eq!(db.sql("INSERT INTO outbox (body) VALUES (?)").execute([body(&order.number, 350)]).unwrap(), 1);
        }
        db.commit();
    }

    fn end(&mut self, orders: &[Order]) {
        let db = &mut self.order;
        db.begin();
        for order in orders {
            let sql = "UPDATE orders SET status = 'PLACED', settle = 'COMMIT', reason = NULL WHERE id = ? AND status = 'PENDING'";
            assert_eq!(db.sql(sql).execute([order.id]).unwrap(), 1);
            let body = body(&order.number, 430 + 50 * order.skus.len());
            db.sql("INSERT INTO outbox (body) VALUES (?)").execute([body]).unwrap();
        }
        db.commit();
    }

    fn notify(&mut self, orders: &[Order]) {
        let events: Vec<(i64, String)> = {
            let sql = "SELECT position, body FROM messages WHERE position > coalesce((SELECT position FROM cursors WHERE consumer = ?), 0)
                       AND topic IN ('order', 'stock', 'product') ORDER BY position";
            let fetch = self.bus.sql(sql);
            let rows = fetch.query_map(["straight"], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            rows.map(Result::unwrap).collect()
        };
        let db = &mut self.notification;
        db.begin();
        for _ in &events {
            let sql = "INSERT OR IGNORE INTO inbox (event_id, applied_at) VALUES (?, ?)";
            db.sql(sql).execute(params![Uuid::now_v7().to_string(), 1_900_000_000_000i64]).unwrap();
        }
        for order in orders {
            let sql = "INSERT INTO notifications (event_id, customer, type, order_number, title, message, created_at, read)
                       VALUES (?, ?, 'order.placed', ?, 'Order placed', ?, ?, 0)";
            let message = format!("Your order {} is placed: 1 line, 19.99 in all.", order.number);
            let values = params![Uuid::now_v7().to_string(), super::SUBJECT, order.number, message, 1_900_000_000_000i64];
            db.sql(sql).execute(values).unwrap();
        }
        db.commit();
        let last = events.last().unwrap().0;
        let sql = "INSERT INTO cursors (consumer, position) VALUES (?1, ?2) ON CONFLICT (consumer) DO UPDATE SET position = ?2";
        self.bus.sql(sql).execute(params!["straight", last]).unwrap();
    }

    fn settle(&mut self, orders: &[Order]) {
        let db = &mut self.inventory;
        db.begin();
        for order in orders {
            let sql = "UPDATE reservations SET state = 'COMMITTED' WHERE order_number = ? AND state = 'HELD' RETURNING lines";
            let _: String = db.sql(sql).query_row([&order.number], |row| row.get(0)).unwrap();
            for sku in &order.skus {
                let sql = "UPDATE stock SET held = held - ?1, sold = sold + ?1 WHERE sku_code = ?2";
                db.sql(sql).execute(params![1, super::sku(*sku)]).unwrap();
            }
        }
        db.commit();
        let db = &mut self.order;
        db.begin();
        for order in orders {
            let sql = "UPDATE orders SET settle = NULL WHERE order_number = ? AND settle = 'COMMIT'";
            db.sql(sql).execute([&order.number]).unwrap();
        }
        db.commit();
    }
}

/// An event body with the size of the shop's events.
fn body(number: &str, length: usize) -> String {
    format!("{{\"orderNumber\":\"{number}\",\"data\":\"{:x<1$}\"}}", "", length.saturating_sub(number.len() + 28))
}

fn relay(from: &mut Db, bus: &mut Db, topic: &str) {
    let rows: Vec<(i64, String)> = {
        let all = from.sql("SELECT seq, body FROM outbox ORDER BY seq");
        all.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    };
    bus.begin();
    for (_, body) in &rows {
        bus.sql("INSERT INTO messages (topic, body) VALUES (?, ?)").execute(params![topic, body]).unwrap();
    }
    bus.commit();
    let (first, last) = (rows.first().unwrap().0, rows.last().unwrap().0);
    from.sql("DELETE FROM outbox WHERE seq BETWEEN ? AND ?").execute([first, last]).unwrap();
}

/// Remaining background work of the shop on this folder: events to relay, events to apply, orders to settle.
pub fn remaining_work(data: &Path) -> i64 {
    let count = |name: &str, sql: &str| -> i64 { open(data, name).query_row(sql, [], |row| row.get(0)).unwrap() };
    count("order", "SELECT count(*) FROM outbox")
        + count("order", "SELECT count(*) FROM orders WHERE settle IS NOT NULL OR status = 'PENDING'")
        + count("inventory", "SELECT count(*) FROM outbox")
        + count(
            "bus",
            "SELECT count(*) FROM messages WHERE position > coalesce((SELECT position FROM cursors WHERE consumer = 'notification'), 0)",
        )
}

/// Number of placed orders and of their notifications.
pub fn placed_and_notified(data: &Path) -> (i64, i64) {
    let count = |name: &str, sql: &str| -> i64 { open(data, name).query_row(sql, [], |row| row.get(0)).unwrap() };
    (
        count("order", "SELECT count(*) FROM orders WHERE status = 'PLACED'"),
        count("notification", "SELECT count(*) FROM notifications WHERE type = 'order.placed'"),
    )
}
