//! Orders beside clients that page through long lists; pages far from the start of a list; memory.
//!
//! `cargo bench --bench lists` fills the stores of order and notification with SQL, for each number of orders, and
//! measures a shop on them in several rounds: orders with an `Idempotency-Key` alone and beside the list clients; the
//! first page, a page by number far from the start, and a page by `after`; lists of orders with many lines. Ratios are
//! taken within a round. Writes `benches/LISTS.md`.
//! `LISTS_BENCH_SECONDS`, `LISTS_BENCH_ROUNDS`: 10 and 3. `LISTS_BENCH_ORDERS`: `100000 1000000`.
//! `LISTS_BENCH_BINARY`: another build, measured instead of this one; the report is then only printed.
#![cfg(feature = "all-in-one")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a failing measurement panics")]

#[path = "../common/mod.rs"]
mod common;

use common::load::{self, Outcome, Until};
use common::numbers::{mb, median, number, ratio};
use common::process::{self, Server};
use common::{goods, report};
use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SKUS: usize = 200;
const LIST_CLIENTS: usize = 8;
/// Distinct list requests; each client sends the next one.
const LISTS: usize = 997;
/// Orders with this many lines follow the others.
const LONG_ORDERS: usize = 20;
const LINES: usize = 1000;
const LONG_CALLERS: usize = 6;

/// Values per round.
#[derive(Default)]
struct Measured {
    alone_p50: Vec<f64>,
    alone_p99: Vec<f64>,
    beside_p50: Vec<f64>,
    beside_p99: Vec<f64>,
    lists_per_second: Vec<f64>,
    lists_p99: Vec<f64>,
    first_page: Vec<f64>,
    far_page: Vec<f64>,
    after_page: Vec<f64>,
    memory_mb: f64,
    memory_long_mb: f64,
}

/// Orders of 2,000 customers; alice has placed one already, and each third one is hers. One notification per order.
fn fill(data: &Path, orders: usize) {
    let rows = format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {orders}) ");
    let customer = "CASE i % 3 WHEN 0 THEN (SELECT customer FROM {first} LIMIT 1) ELSE printf('customer-%05d', i % 2000) END";
    let number = "printf('00000000-0000-4000-8000-%012x', i)";
    let run = |file: &str, statements: &[String]| {
        let mut store = SqliteConnection::establish(&data.join(file).to_string_lossy()).unwrap();
        store.batch_execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; BEGIN").unwrap();
        statements.iter().for_each(|statement| store.batch_execute(statement).unwrap());
        store.batch_execute("COMMIT; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    };
    let of_orders = customer.replace("{first}", "orders");
    let long = format!("WITH RECURSIVE o(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM o WHERE i < {LONG_ORDERS}) ");
    let lines = format!("l(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM l WHERE k < {LINES}) ");
    let columns = "(id, order_number, customer, customer_name, status, total, lease_until, created_at, hidden)";
    run(
        "order.db",
        &[
            format!(
                "{rows} INSERT INTO orders {columns} SELECT i + 1, {number}, {of_orders}, 'name', \
                 CASE i % 20 WHEN 0 THEN 'REJECTED' WHEN 1 THEN 'CANCELLED' ELSE 'PLACED' END, '19.99', 0, 1700000000000 + i, i % 100 = 1 FROM n"
            ),
            "INSERT INTO order_lines (order_id, sku_code, quantity, price) SELECT id, 'SKU-00001', 1, '19.99' FROM orders WHERE id > 1"
                .into(),
            format!(
                "{long} INSERT INTO orders {columns} SELECT {orders} + 1 + i, printf('00000000-0000-4000-9000-%012x', i), 'long', 'name', \
                 'PLACED', '19990.00', 0, 1700000000000, 0 FROM o"
            ),
            format!(
                "{}, {lines} INSERT INTO order_lines (order_id, sku_code, quantity, price) SELECT {orders} + 1 + i, 'SKU-00001', 1, '19.99' \
                 FROM o, l ORDER BY i, k",
                long.trim_end()
            ),
        ],
    );
    let of_notifications = customer.replace("{first}", "notifications");
    run(
        "notification.db",
        &[format!(
            "{rows} INSERT INTO notifications (id, event_id, customer, type, order_number, title, message, created_at) SELECT i + 1000, \
             'e' || i, {of_notifications}, 'order.placed', {number}, 'Order placed', 'Your order is placed.', 1700000000000 + i FROM n"
        )],
    );
}

/// A shop with this many orders, after its data was filled.
fn filled(binary: &Path, data: &Path, orders: usize) -> Server {
    let shop = Server::shop(binary, data);
    goods::stock(&shop, SKUS);
    let alice = shop.token("alice");
    load::once(shop.address, goods::order(1, 0, SKUS, &alice), 201);
    let inbox = load::request("GET", "/api/v1/notifications", &alice, "");
    while !String::from_utf8_lossy(&load::once(shop.address, inbox.clone(), 200)).contains("\"totalElements\":1") {
        std::thread::sleep(Duration::from_millis(50));
    }
    shop.stop();
    fill(data, orders);
    Server::shop(binary, data)
}

/// Orders with a key each.
fn keyed(token: &str, round: u64, phase: &str) -> Vec<Vec<u8>> {
    let order = |n: usize| {
        let key = format!("\r\nidempotency-key: {phase}-{round}-{n}\r\ncontent-length: ");
        let text = String::from_utf8(goods::order(1, n, SKUS, token)).unwrap();
        text.replacen("\r\ncontent-length: ", &key, 1).into_bytes()
    };
    (0..20_000).map(order).collect()
}

/// Pages from all over the lists of all orders, of alice's orders and of her notifications.
fn lists(shop: &Server, orders: usize) -> Vec<Vec<u8>> {
    let (admin, alice) = (shop.token("admin"), shop.token("alice"));
    let list = |n: usize| {
        let (path, token, pages) = match n % 3 {
            0 => ("orders", &admin, orders * 9 / 100),
            1 => ("orders", &alice, orders * 9 / 300),
            _ => ("notifications", &alice, orders * 9 / 300),
        };
        load::request("GET", &format!("/api/v1/{path}?page={}", n * 7919 % pages), token, "")
    };
    (0..LISTS).map(list).collect()
}

fn run(shop: &Server, requests: &[Vec<u8>], connections: usize, time: Duration, status: u16) -> Outcome {
    let outcome = load::run(shop.address, requests, connections, Until::Elapsed(time), status);
    assert!(outcome.good > 0 && outcome.bad * 1000 <= outcome.good, "{} of {}: {:?}", outcome.bad, outcome.good, outcome.first_bad);
    outcome
}

fn round(shop: &Server, measured: &mut Measured, orders: usize, round: u64, time: Duration) {
    let (alice, admin) = (shop.token("alice"), shop.token("admin"));
    let alone = run(shop, &keyed(&alice, round, "alone"), 1, time, 201);
    let lists = lists(shop, orders);
    let (beside, listed) = std::thread::scope(|scope| {
        let listing = scope.spawn(|| run(shop, &lists, LIST_CLIENTS, time, 200));
        (run(shop, &keyed(&alice, round, "beside"), 1, time, 201), listing.join().unwrap())
    });
    measured.alone_p50.push(alone.percentile(0.50));
    measured.alone_p99.push(alone.percentile(0.99));
    measured.beside_p50.push(beside.percentile(0.50));
    measured.beside_p99.push(beside.percentile(0.99));
    measured.lists_per_second.push(listed.per_second());
    measured.lists_p99.push(listed.percentile(0.99));
    let page = |query: &str| {
        let request = load::request("GET", &format!("/api/v1/orders?{query}"), &admin, "");
        run(shop, &[request], 1, time / 5, 200).percentile(0.50)
    };
    measured.first_page.push(page("page=0"));
    measured.far_page.push(page(&format!("page={}", far_page(orders))));
    measured.after_page.push(page(&format!("after={}", orders / 2)));
}

/// Page 10,000, or on a shorter list one near its end.
fn far_page(orders: usize) -> usize {
    (orders * 9 / 100).min(10_000)
}

fn measure(binary: &Path, orders: usize, rounds: u64, time: Duration) -> Measured {
    let (data, mut measured) = (process::folder(), Measured::default());
    eprintln!("filling {orders} orders");
    let shop = filled(binary, data.path(), orders);
    for n in 1..=rounds {
        eprintln!("{orders} orders: round {n} of {rounds}");
        round(&shop, &mut measured, orders, n, time);
    }
    measured.memory_mb = mb(shop.most_resident());
    let long = load::request("GET", &format!("/api/v1/orders?size=1000&after={}", orders + 1), &shop.token("admin"), "");
    run(&shop, &[long], LONG_CALLERS, time / 5, 200);
    measured.memory_long_mb = mb(shop.most_resident());
    shop.stop();
    measured
}

fn main() {
    let other = std::env::var_os("LISTS_BENCH_BINARY").map(PathBuf::from);
    let binary = other.clone().unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_tradepost")));
    let (time, rounds) = (Duration::from_secs(number("LISTS_BENCH_SECONDS", 10)), number("LISTS_BENCH_ROUNDS", 3));
    let sizes = std::env::var("LISTS_BENCH_ORDERS").unwrap_or_else(|_| "100000 1000000".into());
    let sizes: Vec<usize> = sizes.split(' ').map(|size| size.parse().unwrap()).collect();
    let load = report::load_average();
    let all: Vec<Measured> = sizes.iter().map(|orders| measure(&binary, *orders, rounds, time)).collect();
    let mut text = format!(
        "# Orders beside long lists\n\nWritten by `cargo bench --bench lists`; do not edit. Method: `benches/lists/main.rs`.\n\n\
         - {} cores; load average at the start {load}; {} build\n- {rounds} rounds of {} s each; medians; ratios are taken within a round\n\
         - orders: 1 line, with a key, one client in a closed loop; lists: {LIST_CLIENTS} clients in a closed loop, 10 items per page, \
         pages from all over the lists of all orders, of one customer's orders and notifications (a third of all each)\n\
         - load generator and shop share the cores\n\n| metric |",
        report::cores(),
        if cfg!(debug_assertions) { "debug" } else { "release" },
        time.as_secs(),
    );
    let _ = writeln!(text, "{}", sizes.iter().map(|orders| format!(" {orders} orders |")).collect::<String>());
    let _ = writeln!(text, "|---|{}", "---|".repeat(sizes.len()));
    let mut row = |name: &str, of: &dyn Fn(&Measured) -> f64, digits: usize| {
        let _ = writeln!(text, "| {name} |{}", all.iter().map(|m| format!(" {:.digits$} |", of(m))).collect::<String>());
    };
    row("an order alone, median, ms", &|m| median(&m.alone_p50), 1);
    row("an order alone, 99th percentile, ms", &|m| median(&m.alone_p99), 1);
    row("an order beside the lists, median, ms", &|m| median(&m.beside_p50), 1);
    row("an order beside the lists, 99th percentile, ms", &|m| median(&m.beside_p99), 1);
    row("ratio of the 99th percentiles (goal: at most 3)", &|m| ratio(&m.beside_p99, &m.alone_p99), 1);
    row("lists/s beside the orders", &|m| median(&m.lists_per_second), 0);
    row("a list beside the orders, 99th percentile, ms", &|m| median(&m.lists_p99), 1);
    row("page 0 of all orders, median, ms", &|m| median(&m.first_page), 2);
    row("page 10,000 (of 100,000 orders: 9,000), median, ms", &|m| median(&m.far_page), 2);
    row("ratio of these two pages", &|m| ratio(&m.far_page, &m.first_page), 2);
    row("a page by `after`, median, ms", &|m| median(&m.after_page), 2);
    row("peak resident memory, MB (goal: below 120)", &|m| m.memory_mb, 0);
    row(&format!("the same after {LONG_CALLERS} clients listed orders of {LINES} lines, MB"), &|m| m.memory_long_mb, 0);
    match other {
        None => report::keep("LISTS.md", &text),
        Some(_) => println!("{text}"),
    }
}
