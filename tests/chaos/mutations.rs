//! Corruptions of the data of a sound shop, each with the violation that the audit must report.
//!
//! `{placed}`, `{recent}`, `{cancelled}` and `{rejected}` are numbers of orders of the shop in `audit.rs`; all but the
//! recent one are a day old. `{soon}` and `{never}` are times.

use super::sql::Sql;
use std::fs;
use std::path::Path;

pub struct Mutation {
    pub area: &'static str,
    pub name: &'static str,
    pub change: Change,
    pub expected: Expected,
}

pub enum Change {
    /// Statements per database.
    Sql(Vec<(&'static str, String)>),
    /// A change of the files in the data folder. The second folder has the databases as of the first order.
    Files(fn(&Path, &Path)),
}

pub enum Expected {
    /// An invariant, and a part of the message.
    Violation(&'static str, &'static str),
    /// The audit cannot see it, and why.
    Unseen(&'static str),
}

fn mutation(
    area: &'static str,
    name: &'static str,
    changes: &[(&'static str, &str)],
    invariant: &'static str,
    part: &'static str,
) -> Mutation {
    let change = Change::Sql(changes.iter().map(|(module, sql)| (*module, sql.to_string())).collect());
    Mutation { area, name, change, expected: Expected::Violation(invariant, part) }
}

fn unseen(area: &'static str, name: &'static str, module: &'static str, sql: &str, reason: &'static str) -> Mutation {
    Mutation { area, name, change: Change::Sql(vec![(module, sql.into())]), expected: Expected::Unseen(reason) }
}

pub fn all() -> Vec<Mutation> {
    [stock(), reservations(), orders(), keys(), events(), products(), files()].into_iter().flatten().collect()
}

fn stock() -> Vec<Mutation> {
    let stock = |name, sql: &str, invariant, part| mutation("stock", name, &[("inventory", sql)], invariant, part);
    vec![
        stock(
            "one piece more",
            "UPDATE stock SET quantity = quantity + 1 WHERE sku_code = 's'",
            "INV-1",
            "s: quantity 7 + held 0 + sold 4 is not received 10",
        ),
        stock(
            "one sold piece less",
            "UPDATE stock SET sold = sold - 1 WHERE sku_code = 's'",
            "INV-1",
            "s: quantity 6 + held 0 + sold 3 is not received 10",
        ),
        stock("negative quantity", "UPDATE stock SET quantity = -1, received = 3 WHERE sku_code = 's'", "INV-2", "s: quantity is -1"),
        stock("negative held", "UPDATE stock SET held = -1, received = 9 WHERE sku_code = 's'", "INV-2", "s: held is -1"),
        stock("negative sold", "UPDATE stock SET sold = -1, received = 5 WHERE sku_code = 's'", "INV-2", "s: sold is -1"),
        stock(
            "held without a reservation",
            "UPDATE stock SET quantity = 4, held = 2 WHERE sku_code = 's'",
            "INV-1",
            "s: 2 are held, reservations hold 0",
        ),
        stock(
            "sold pieces of an order for sale again",
            "UPDATE stock SET quantity = 7, sold = 3 WHERE sku_code = 's'",
            "INV-1",
            "s: 3 are sold, reservations sold 4",
        ),
        stock(
            "row with orders deleted",
            "DELETE FROM stock WHERE sku_code = 's'",
            "INV-1",
            "s: reservations hold 0 and sold 4, but there is no stock row",
        ),
        stock(
            "row without orders deleted",
            "DELETE FROM stock WHERE sku_code = 'u'",
            "INV-1",
            "u: reservations hold 0 and sold 0, but there is no stock row",
        ),
        stock(
            "SKU renamed",
            "UPDATE stock SET sku_code = 'x' WHERE sku_code = 's'",
            "INV-1",
            "s: reservations hold 0 and sold 4, but there is no stock row",
        ),
        unseen(
            "stock",
            "one piece received more",
            "inventory",
            "UPDATE stock SET quantity = quantity + 1, received = received + 1",
            "as after a delivery of goods; events have changes, not results, and old ones are deleted",
        ),
        unseen(
            "stock",
            "sale without an order undone",
            "inventory",
            "UPDATE stock SET quantity = quantity + 1, sold = sold - 1 WHERE sku_code = 't'",
            "a sale without an order leaves only the sum",
        ),
    ]
}

fn reservations() -> Vec<Mutation> {
    const FREE_4: &str = "UPDATE stock SET quantity = 10, sold = 0 WHERE sku_code = 's'; \
     UPDATE stock SET quantity = quantity + 1, sold = sold - 1 WHERE sku_code = 't';";
    let free = |sql: &str| format!("{FREE_4} {sql}");
    let reservation = |name, sql: &str, invariant, part| mutation("reservations", name, &[("inventory", sql)], invariant, part);
    let hold_recent = "UPDATE reservations SET state = 'HELD', expires_at = {never} WHERE order_number = '{recent}'; \
        UPDATE stock SET held = 2, sold = sold - 2 WHERE sku_code = 't'";
    vec![
        reservation(
            "of a placed order deleted",
            &free("DELETE FROM reservations WHERE order_number = '{placed}'"),
            "INV-4",
            "order {placed} is PLACED, its reservation is none",
        ),
        reservation(
            "of a placed order released",
            &free("UPDATE reservations SET state = 'RELEASED' WHERE order_number = '{placed}'"),
            "INV-4",
            "order {placed} is PLACED, its reservation is RELEASED",
        ),
        reservation(
            "of a placed order held again",
            "UPDATE reservations SET state = 'HELD' WHERE order_number = '{placed}'; UPDATE stock SET held = 4, sold = 0 \
             WHERE sku_code = 's'; UPDATE stock SET held = 1, sold = sold - 1 WHERE sku_code = 't'",
            "INV-4",
            "order {placed} is PLACED, its reservation is HELD",
        ),
        reservation(
            "in an unknown state",
            "UPDATE reservations SET state = 'LOST' WHERE order_number = '{placed}'",
            "INV-4",
            "order {placed} is PLACED, its reservation is LOST",
        ),
        reservation(
            "of other lines",
            "UPDATE reservations SET lines = '{\"s\":3,\"t\":1}' WHERE order_number = '{placed}'; \
             UPDATE stock SET quantity = 7, sold = 3 WHERE sku_code = 's'",
            "INV-4",
            "order {placed} has",
        ),
        reservation(
            "with unreadable lines",
            "UPDATE reservations SET lines = '{\"s\":' WHERE order_number = '{placed}'",
            "DATA",
            "the reservation of order {placed} has unreadable lines",
        ),
        reservation(
            "committed without an order",
            "INSERT INTO reservations VALUES ('11111111-1111-4111-8111-111111111111', 'COMMITTED', '{\"s\":1}', 0); \
             UPDATE stock SET quantity = 5, sold = 5 WHERE sku_code = 's'",
            "INV-4",
            "11111111-1111-4111-8111-111111111111 is COMMITTED, but there is no such order",
        ),
        reservation(
            "held without an order",
            "INSERT INTO reservations VALUES ('11111111-1111-4111-8111-111111111111', 'HELD', '{\"s\":1}', 0); \
             UPDATE stock SET quantity = 5, held = 1 WHERE sku_code = 's'",
            "INV-4",
            "11111111-1111-4111-8111-111111111111 is HELD, but there is no such order",
        ),
        reservation(
            "of a cancelled order committed",
            "UPDATE reservations SET state = 'COMMITTED' WHERE order_number = '{cancelled}'; UPDATE stock SET quantity = 5, sold = 5 \
             WHERE sku_code = 's'",
            "INV-4",
            "order {cancelled} is CANCELLED, its reservation is COMMITTED",
        ),
        reservation(
            "of a rejected order committed",
            "INSERT INTO reservations VALUES ('{rejected}', 'COMMITTED', '{\"s\":1}', 0); UPDATE stock SET quantity = 5, sold = 5 \
             WHERE sku_code = 's'",
            "INV-4",
            "order {rejected} is REJECTED, its reservation is COMMITTED",
        ),
        mutation(
            "reservations",
            "held for years",
            &[("inventory", hold_recent), ("order", "UPDATE orders SET settle = 'COMMIT' WHERE order_number = '{recent}'")],
            "INV-4",
            "the reservation of order {recent} is HELD until",
        ),
        unseen(
            "reservations",
            "of a cancelled order deleted",
            "inventory",
            "DELETE FROM reservations WHERE order_number = '{cancelled}'",
            "a released reservation holds no stock, and may be deleted",
        ),
    ]
}

fn orders() -> Vec<Mutation> {
    let order = |name, sql: &str, invariant, part| mutation("orders", name, &[("order", sql)], invariant, part);
    let lines = "order_id = (SELECT id FROM orders WHERE order_number = '{placed}')";
    let of_lines = |change: &str| format!("{change} WHERE {lines} AND sku_code = 's'");
    let pending = |until: &str| format!("UPDATE orders SET status = 'PENDING', lease_until = {until} WHERE order_number = '{{placed}}'");
    let renumber = |table: &str| format!("UPDATE {table} SET order_number = 'x' WHERE order_number = '{{placed}}'");
    vec![
        order(
            "total changed",
            "UPDATE orders SET total = '12.00' WHERE order_number = '{placed}'",
            "DATA",
            "order {placed} has the total 12.00, and its lines are 11.00",
        ),
        order(
            "total unreadable",
            "UPDATE orders SET total = 'many' WHERE order_number = '{placed}'",
            "DATA",
            "order {placed} has the total `many`",
        ),
        order("quantity of a line changed", &of_lines("UPDATE order_lines SET quantity = 3"), "INV-4", "order {placed} has {\"s\": 3"),
        order("quantity of a line negative", &of_lines("UPDATE order_lines SET quantity = -4"), "DATA", "order {placed} has -4 of s"),
        order(
            "price of a line changed",
            &of_lines("UPDATE order_lines SET price = '2.00'"),
            "DATA",
            "order {placed} has the total 11.00, and its lines are 9.00",
        ),
        order(
            "price of a line removed",
            &of_lines("UPDATE order_lines SET price = NULL"),
            "DATA",
            "order {placed} has the total 11.00, and its lines are 1.00",
        ),
        order("a line deleted", &of_lines("DELETE FROM order_lines"), "DATA", "order {placed} has the total 11.00, and its lines are 1.00"),
        order("all lines deleted", &format!("DELETE FROM order_lines WHERE {lines}"), "DATA", "order {placed} has no lines"),
        order(
            "lines of no order",
            "INSERT INTO order_lines (order_id, sku_code, quantity, price) VALUES (999, 's', 1, '1.00')",
            "DATA",
            "1 lines are of the order with id 999, which does not exist",
        ),
        order(
            "unknown status",
            "UPDATE orders SET status = 'LOST' WHERE order_number = '{placed}'",
            "INV-4",
            "order {placed} has the unknown status LOST",
        ),
        order(
            "placed made rejected",
            "UPDATE orders SET status = 'REJECTED' WHERE order_number = '{placed}'",
            "INV-4",
            "order {placed} is REJECTED, its reservation is COMMITTED",
        ),
        order(
            "rejected made placed",
            "UPDATE orders SET status = 'PLACED', reason = NULL WHERE order_number = '{rejected}'",
            "INV-4",
            "order {rejected} is PLACED, its reservation is none",
        ),
        order("pending beyond its lease", &pending("1"), "INV-4", "order {placed} is PENDING beyond its lease"),
        order("pending for a day on renewed leases", &pending("{soon}"), "INV-4", "order {placed} is PENDING since"),
        order("pending with a lease of years", &pending("{never}"), "INV-4", "order {placed} is PENDING with a lease until"),
        order(
            "never settled",
            "UPDATE orders SET settle = 'COMMIT' WHERE order_number = '{placed}'",
            "INV-4",
            "order {placed} is PLACED, and settlement has not done its COMMIT since",
        ),
        order(
            "placed, to be released",
            "UPDATE orders SET settle = 'RELEASE' WHERE order_number = '{recent}'",
            "INV-4",
            "order {recent} is PLACED, and settlement is to RELEASE its reservation",
        ),
        order(
            "deleted",
            "DELETE FROM idempotency_keys; DELETE FROM order_lines; DELETE FROM orders",
            "INV-4",
            "the reservation of order {placed} is COMMITTED, but there is no such order",
        ),
        order(
            "of another customer",
            "UPDATE orders SET customer = 'mallory' WHERE order_number = '{recent}'",
            "INV-5",
            "order.placed of order {recent} is in the inbox of",
        ),
        order(
            "without a customer",
            "UPDATE orders SET customer = '' WHERE order_number = '{recent}'",
            "DATA",
            "order {recent} has no customer",
        ),
        order(
            "placed and hidden",
            "UPDATE orders SET hidden = TRUE WHERE order_number = '{placed}'",
            "DATA",
            "order {placed} is PLACED, and hidden",
        ),
        order(
            "unreadable reason",
            "UPDATE orders SET reason = '{' WHERE order_number = '{rejected}'",
            "DATA",
            "order {rejected} has an unreadable reason",
        ),
        mutation(
            "orders",
            "invalid number",
            &[("order", &renumber("orders")), ("inventory", &renumber("reservations")), ("notification", &renumber("notifications"))],
            "DATA",
            "order x has no valid number",
        ),
        unseen(
            "orders",
            "prices and total changed together",
            "order",
            "UPDATE orders SET total = '21.00' WHERE order_number = '{placed}'; UPDATE order_lines SET price = '5.00' \
             WHERE sku_code = 's' AND order_id = (SELECT id FROM orders WHERE order_number = '{placed}')",
            "only the published event has the old price, and old events are deleted",
        ),
        unseen("orders", "mail address changed", "order", "UPDATE orders SET email = 'mallory@example.com'", "no other store has it"),
    ]
}

fn keys() -> Vec<Mutation> {
    let key = |name, sql: &str, part| mutation("keys", name, &[("order", sql)], "INV-3", part);
    vec![
        key(
            "second key of an order",
            "INSERT INTO idempotency_keys SELECT scope, 'another', fingerprint, order_id, created_at FROM idempotency_keys \
             WHERE idem_key = 'k'",
            "order {placed} has 2 idempotency keys",
        ),
        key(
            "key of no order",
            "UPDATE idempotency_keys SET order_id = 999 WHERE idem_key = 'k'",
            "is of the order with id 999, which does not exist",
        ),
        key(
            "key of another customer",
            "UPDATE idempotency_keys SET scope = 'POST /api/v1/orders mallory' WHERE idem_key = 'k'",
            "order {placed} has an idempotency key that is not of its customer",
        ),
        key(
            "key of another request",
            "UPDATE idempotency_keys SET fingerprint = 'f' WHERE idem_key = 'k'",
            "order {placed} has an idempotency key that was sent with other lines",
        ),
        key(
            "key moved to another order",
            "UPDATE idempotency_keys SET order_id = (SELECT id FROM orders WHERE order_number = '{cancelled}') WHERE idem_key = 'k'",
            "order {cancelled} has an idempotency key that was sent with other lines",
        ),
        key(
            "key of an order that was not placed for a passing cause",
            "UPDATE orders SET reason = NULL WHERE order_number = '{rejected}'",
            "order {rejected} was refused for a cause that passes",
        ),
        key(
            "key from the future",
            "UPDATE idempotency_keys SET created_at = {never} WHERE idem_key = 'k'",
            "order {placed} has an idempotency key from the future",
        ),
        unseen(
            "keys",
            "key deleted",
            "order",
            "DELETE FROM idempotency_keys WHERE idem_key = 'k'",
            "keys are deleted after order.idempotency_hours",
        ),
    ]
}

fn events() -> Vec<Mutation> {
    let event = |name, sql: &str, part| mutation("events", name, &[("notification", sql)], "INV-5", part);
    const COLUMNS: &str = "customer, type, order_number, title, message, created_at, read";
    let twice = format!(
        "INSERT INTO notifications (event_id, {COLUMNS}) SELECT 'another', {COLUMNS} FROM notifications WHERE type = 'order.cancelled'"
    );
    let unknown = format!(
        "INSERT INTO notifications (event_id, {COLUMNS}) \
         SELECT 'another', customer, type, '11111111-1111-4111-8111-111111111111', title, message, created_at, read \
         FROM notifications WHERE order_number = '{{placed}}'"
    );
    let delivery = |event: &str, state: &str| {
        format!(
            "INSERT INTO deliveries (event_id, channel, target, event_type, body, state, attempts) \
             VALUES ({event}, 'email', 'a@example.com', 'order.placed', '', '{state}', 0)"
        )
    };
    let known = "(SELECT min(event_id) FROM inbox)";
    vec![
        event(
            "notification of a placed order deleted",
            "DELETE FROM notifications WHERE order_number = '{placed}'",
            "order.placed of order {placed} was lost",
        ),
        event(
            "notification of a rejected order deleted",
            "DELETE FROM notifications WHERE order_number = '{rejected}'",
            "order.rejected of order {rejected} was lost",
        ),
        event(
            "notification of a cancellation deleted",
            "DELETE FROM notifications WHERE type = 'order.cancelled'",
            "order.cancelled of order {cancelled} was lost",
        ),
        event("event applied twice", &twice, "order.cancelled of order {cancelled} was applied 2 times"),
        event(
            "event in another inbox",
            "UPDATE notifications SET customer = 'mallory' WHERE order_number = '{placed}'",
            "order.placed of order {placed} is in the inbox of mallory",
        ),
        event(
            "another type",
            "UPDATE notifications SET type = 'order.rejected' WHERE order_number = '{placed}'",
            "order.rejected of order {placed} was applied, but the order is PLACED",
        ),
        event(
            "event of no order",
            &unknown,
            "order.placed of order 11111111-1111-4111-8111-111111111111 was applied, but there is no such order",
        ),
        event(
            "id not in the inbox",
            "DELETE FROM inbox WHERE event_id = (SELECT event_id FROM notifications WHERE order_number = '{recent}')",
            "which the inbox does not have",
        ),
        event(
            "delivery of an unknown event",
            &delivery("'another'", "pending"),
            "a delivery is of event another, which the inbox does not have",
        ),
        event("delivery that is never due", &delivery(known, "pending"), "is pending, and has no time of its next attempt"),
        event("delivery in an unknown state", &delivery(known, "lost"), "has the unknown state lost"),
        mutation(
            "events",
            "position beyond the newest event",
            &[("bus", "UPDATE cursors SET position = 1000000")],
            "INV-5",
            "the group notification is at position 1000000 of the bus",
        ),
        mutation(
            "events",
            "event deleted before it was applied",
            &[
                ("bus", "DELETE FROM messages WHERE body LIKE '%{recent}%'; UPDATE cursors SET position = 0"),
                ("notification", "DELETE FROM notifications WHERE order_number = '{recent}'; DELETE FROM inbox"),
            ],
            "INV-5",
            "order.placed of order {recent} was lost",
        ),
    ]
}

fn products() -> Vec<Mutation> {
    let product = |name, sql: &str, invariant, part| mutation("products", name, &[("product", sql)], invariant, part);
    vec![
        product(
            "SKU only in the column changed",
            "UPDATE products SET sku_code = 'x' WHERE sku_code = 's'",
            "DATA",
            "has the SKU `x` in its column, and `s` in its document",
        ),
        product(
            "name only in the document changed",
            "UPDATE products SET doc = json_set(doc, '$.name', 'x') WHERE sku_code = 's'",
            "DATA",
            "has the name `the s` in its column, and `x` in its document",
        ),
        product("unreadable document", "UPDATE products SET doc = '{' WHERE sku_code = 's'", "DATA", "has an unreadable document"),
        product(
            "negative price",
            "UPDATE products SET doc = json_set(doc, '$.price', -1) WHERE sku_code = 's'",
            "DATA",
            "has the price -1",
        ),
        product("version 0", "UPDATE products SET version = 0 WHERE sku_code = 's'", "DATA", "has the version 0"),
        product("deleted without an event", "DELETE FROM products WHERE sku_code = 's'", "INV-5", "but there is no such product"),
        unseen(
            "products",
            "price changed",
            "product",
            "UPDATE products SET doc = json_set(doc, '$.price', 9) WHERE sku_code = 's'",
            "an order keeps its own price, and only the published event has the old one",
        ),
    ]
}

fn files() -> Vec<Mutation> {
    let files = |name, change, invariant, part| Mutation {
        area: "files",
        name,
        change: Change::Files(change),
        expected: Expected::Violation(invariant, part),
    };
    let schema = |name, module, sql: &str, part| mutation("files", name, &[(module, sql)], "FILE", part);
    let swapped = "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema \
     WHERE name = 'idempotency_keys_age') WHERE name = 'orders_customer'";
    let unchecked =
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'CHECK (held >= 0)', '') WHERE name = 'stock'";
    vec![
        files(
            "order.db deleted",
            |data, _| fs::remove_file(data.join("order.db")).unwrap(),
            "FILE",
            "order.db is missing, but product.db has 3 products, inventory.db has 3 reservations",
        ),
        files(
            "notification.db deleted",
            |data, _| fs::remove_file(data.join("notification.db")).unwrap(),
            "FILE",
            "notification.db is missing, but",
        ),
        files(
            "older order.db",
            |data, old| older(data, old, "order"),
            "INV-4",
            "the reservation of order {recent} is COMMITTED, but there is no such order",
        ),
        files(
            "older inventory.db",
            |data, old| older(data, old, "inventory"),
            "INV-4",
            "order {recent} is PLACED, its reservation is none",
        ),
        files("older notification.db", |data, old| older(data, old, "notification"), "INV-5", "order.placed of order {recent} was lost"),
        files("older product.db", |data, old| older(data, old, "product"), "INV-5", "but there is no such product"),
        files(
            "no database",
            |data, _| fs::write(data.join("inventory.db"), "no database").unwrap(),
            "FILE",
            "inventory.db: file is not a database",
        ),
        files("empty file", |data, _| fs::write(data.join("order.db"), "").unwrap(), "FILE", "order.db: the file is empty"),
        files("damaged pages", |data, _| damage(&data.join("notification.db")), "FILE", "notification.db: "),
        files("truncated file", |data, _| truncate(&data.join("inventory.db")), "FILE", "inventory.db: "),
        schema("index dropped", "order", "DROP INDEX orders_pending", "order.db: the index orders_pending is missing"),
        schema("table dropped", "inventory", "DROP TABLE outbox_refused", "inventory.db: the table outbox_refused is missing"),
        schema("check removed", "inventory", unchecked, "inventory.db: the table stock is not as the migrations make it"),
        schema("index with entries of another", "order", swapped, "order.db: "),
        Mutation {
            area: "files",
            name: "older bus.db",
            change: Change::Files(|data, old| older(data, old, "bus")),
            expected: Expected::Unseen("all its events were applied before; nothing is lost"),
        },
    ]
}

fn older(data: &Path, old: &Path, module: &str) {
    let file = format!("{module}.db");
    fs::copy(old.join(&file), data.join(&file)).unwrap();
}

/// Overwrites all pages but the first.
fn damage(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    bytes[4096..].fill(7);
    fs::write(file, bytes).unwrap();
}

fn truncate(file: &Path) {
    let bytes = fs::read(file).unwrap();
    fs::write(file, &bytes[..bytes.len() / 2 / 4096 * 4096]).unwrap();
}

impl Change {
    /// Applies the change to a data folder. `fill` replaces the names of orders.
    pub fn apply(&self, data: &Path, old: &Path, fill: impl Fn(&str) -> String) {
        match self {
            Change::Files(change) => change(data, old),
            Change::Sql(changes) => {
                for (module, sql) in changes {
                    let unchecked = "PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF;";
                    Sql::open(data, module).run(&format!("{unchecked} {}", fill(sql)));
                }
            }
        }
    }
}
