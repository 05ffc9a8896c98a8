//! The shop on MySQL or MariaDB, compared with the same transactions sent directly to the same server.
//!
//! `MYSQL_BENCH_SERVER=mysql://root@127.0.0.1:3306 cargo bench --bench mysql --features mysql` measures both
//! in turn, several rounds in one run, and writes `benches/MYSQL.md`. Use a server for this bench only:
//! it drops and creates three databases with the prefix `tradepost_bench_`. `MYSQL_BENCH_SECONDS`,
//! `MYSQL_BENCH_ROUNDS`: 5 and 3.
#![cfg(all(feature = "all-in-one", feature = "mysql"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a failing measurement panics")]

#[path = "../common/mod.rs"]
mod common;
mod server;
mod straight;

use common::load::{self, Outcome, Until};
use common::numbers::{self, median, number, ratio};
use common::process::{self, Server};
use common::{goods, report as machine};
use server::{Counters, Sql};
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 32;
const SUBJECT: &str = "8f14e45f-ceea-467f-a9f1-0d9f0e6c1f00";
const ORDER: &str = "tradepost_bench_order";
const INVENTORY: &str = "tradepost_bench_inventory";
const NOTIFICATION: &str = "tradepost_bench_notification";

const SKUS: usize = 1000;

/// Results of all rounds for the shop or for the direct transactions. CPU time is that of the shop or of the client.
#[derive(Default)]
struct Measured {
    name: String,
    load: numbers::Measured,
    /// CPU time of the server per order.
    server_cpu_us: Vec<f64>,
    statements: Vec<f64>,
    prepared: Vec<f64>,
    commits: Vec<f64>,
    flushes: Vec<f64>,
}

impl Measured {
    fn add(&mut self, outcome: &Outcome, cpu: Duration, spent: &Counters) {
        let per_order = |n: f64| n / outcome.good as f64;
        self.load.add(outcome, cpu);
        self.server_cpu_us.push(per_order(spent.cpu.as_micros() as f64));
        self.statements.push(per_order(spent.statements as f64));
        self.prepared.push(per_order(spent.prepared as f64));
        self.commits.push(per_order(spent.commits as f64));
        self.flushes.push(per_order(spent.flushes as f64));
    }
}

fn settings(url: &str) -> Vec<(&'static str, String)> {
    let store = |database: &str| format!("{url}/{database}");
    vec![
        ("TRADEPOST__ORDER__STORE", store(ORDER)),
        ("TRADEPOST__INVENTORY__STORE", store(INVENTORY)),
        ("TRADEPOST__NOTIFICATION__STORE", store(NOTIFICATION)),
        ("TRADEPOST__MYSQL__MIGRATE", "true".into()),
    ]
}

fn shop_round(measured: &mut Measured, shop: &Server, sql: &mut Sql, lines: usize, time: Duration) {
    let requests = goods::orders(lines, SKUS, &shop.token("alice"));
    load::run(shop.address, &requests, CONNECTIONS, Until::Elapsed(Duration::from_secs(1)), 201);
    wait_until_done(sql);
    let (before, cpu) = (sql.counters(), shop.cpu());
    let outcome = load::run(shop.address, &requests, CONNECTIONS, Until::Elapsed(time), 201);
    wait_until_done(sql);
    assert_eq!(outcome.bad, 0, "{:?}", outcome.first_bad);
    measured.add(&outcome, shop.cpu() - cpu, &sql.counters().since(&before));
}

fn straight_round(measured: &mut Measured, url: &str, sql: &mut Sql, lines: usize, time: Duration) {
    let base = format!("{url}/{ORDER}");
    straight::run(&base, CONNECTIONS, lines, Duration::from_secs(1));
    let (before, cpu) = (sql.counters(), process::cpu("/proc/self/stat"));
    let outcome = straight::run(&base, CONNECTIONS, lines, time);
    let cpu = process::cpu("/proc/self/stat") - cpu;
    measured.add(&outcome, cpu, &sql.counters().since(&before));
    wait_until_done(sql);
}

fn wait_until_done(sql: &mut Sql) {
    let started = Instant::now();
    while sql.remaining_work() > 0 {
        assert!(started.elapsed() < Duration::from_secs(120), "work is left after 120 s: {}", sql.remaining_work());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn main() {
    let Ok(url) = std::env::var("MYSQL_BENCH_SERVER") else {
        panic!("set MYSQL_BENCH_SERVER=mysql://user:password@host:port to a server for this bench only");
    };
    let binary = Path::new(env!("CARGO_BIN_EXE_tradepost"));
    let (time, rounds) = (Duration::from_secs(number("MYSQL_BENCH_SECONDS", 5)), number("MYSQL_BENCH_ROUNDS", 3));
    let at_start = machine::load_average();
    let mut sql = Sql::open(&url);
    let mut rows: Vec<(Measured, Measured)> = Vec::new();
    for round in 0..rounds {
        for (at, lines) in [1, 5].into_iter().enumerate() {
            eprintln!("round {} of {rounds}, {lines} lines", round + 1);
            if rows.len() == at {
                let name = |kind: &str| Measured { name: format!("{kind}, {lines}-line orders"), ..Measured::default() };
                rows.push((name("shop"), name("straight")));
            }
            let data = process::folder();
            sql.create_databases();
            let shop = Server::shop_with(binary, data.path(), &settings(&url));
            goods::stock(&shop, SKUS);
            shop_round(&mut rows[at].0, &shop, &mut sql, lines, time);
            shop.stop();
            straight_round(&mut rows[at].1, &url, &mut sql, lines, time);
        }
    }
    let text = report(&sql.version(), &at_start, rounds, time, &rows);
    machine::keep("MYSQL.md", &text);
}

fn report(version: &str, at_start: &str, rounds: u64, time: Duration, rows: &[(Measured, Measured)]) -> String {
    let mut text = format!(
        "# The shop on MySQL, and the same transactions directly\n\nWritten by `cargo bench --bench mysql --features mysql`; do not edit. \
         Method: `benches/mysql/main.rs`; direct transactions (`straight`): `benches/mysql/straight.rs`.\n\n\
         - {version}; shop, server and load share {} cores; load average at the start {at_start}\n\
         - {rounds} rounds of {} s each, shop and straight in turn on the same tables; medians\n\
         - {CONNECTIONS} connections in a closed loop: to the shop over HTTP with a token check per request, or directly to the server over its protocol\n\
         - statements, commits and flushes per order as counted by the server, including the background work of each order\n\n\
         | | orders/s | p50 ms | p99 ms | CPU us/order | server's CPU us/order | statements | prepared | commits | log flushes |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
        machine::cores(),
        time.as_secs(),
    );
    for row in rows.iter().flat_map(|(shop, straight)| [shop, straight]) {
        let _ = writeln!(
            text,
            "| {} | {:.0} | {:.1} | {:.1} | {:.0} | {:.0} | {:.1} | {:.2} | {:.2} | {:.2} |",
            row.name,
            median(&row.load.per_second),
            median(&row.load.p50),
            median(&row.load.p99),
            median(&row.load.cpu_us),
            median(&row.server_cpu_us),
            median(&row.statements),
            median(&row.prepared),
            median(&row.commits),
            median(&row.flushes),
        );
    }
    text.push('\n');
    for (shop, straight) in rows {
        let share = ratio(&shop.load.per_second, &straight.load.per_second) * 100.0;
        let _ = writeln!(text, "- {}: {share:.0} % of the direct transactions (goal: 50 %)", shop.name);
    }
    text
}
