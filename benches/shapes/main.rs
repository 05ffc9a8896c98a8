//! The same shop in one process and in one process a module, side by side: what splitting costs.
//!
//! `cargo bench --bench shapes` places orders against both in turn, several rounds in one run, and writes
//! `benches/SHAPES.md` in the form that Service Weaver's paper has made known (HotOS '23, table 2).
//! `SHAPES_BENCH_SECONDS`, `SHAPES_BENCH_ROUNDS`: 4 and 3.
#![cfg(feature = "all-in-one")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a measurement that fails stops")]

#[path = "../shop/load.rs"]
mod load;
#[path = "../shop/numbers.rs"]
mod numbers;
#[path = "../shop/process.rs"]
#[allow(dead_code, reason = "the other benches use all of it")]
mod process;

use load::Until;
use numbers::{median, number};
use process::Server;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// For [`process`]; nothing bare is measured here.
const BARE: &str = "--bare-actix";
const CONNECTIONS: usize = 32;
const SKUS: usize = 200;

#[derive(Default)]
struct Measured {
    per_second: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    cores: Vec<f64>,
    cpu_us: Vec<f64>,
    memory_mb: Vec<f64>,
}

fn round(measured: &mut Measured, shop: Server, time: Duration) {
    let admin = shop.token("admin");
    let make = |path: &str, body: &dyn Fn(usize) -> String| {
        let requests: Vec<_> = (0..SKUS).map(|n| load::request("POST", path, &admin, &body(n))).collect();
        let made = load::run(shop.address, &requests, 4, Until::Sent, 201);
        assert_eq!(made.good, SKUS, "{:?}", made.first_bad);
    };
    make("/api/v1/products", &|n| format!(r#"{{"skuCode":"S-{n}","name":"product {n}","price":"19.99"}}"#));
    make("/api/v1/inventory", &|n| format!(r#"{{"skuCode":"S-{n}","quantity":2000000000}}"#));
    let token = shop.token("alice");
    let order = |n: usize| format!(r#"{{"orderLineItems":[{{"skuCode":"S-{n}","quantity":1}}]}}"#);
    let orders: Vec<_> = (0..SKUS).map(|n| load::request("POST", "/api/v1/orders", &token, &order(n))).collect();
    load::run(shop.address, &orders, CONNECTIONS, Until::Elapsed(Duration::from_secs(1)), 201);
    let before = shop.cpu_of_all();
    let outcome = load::run(shop.address, &orders, CONNECTIONS, Until::Elapsed(time), 201);
    let cpu = shop.cpu_of_all() - before;
    assert!(outcome.bad * 1000 <= outcome.good, "{} of {}: {:?}", outcome.bad, outcome.good, outcome.first_bad);
    measured.per_second.push(outcome.per_second());
    measured.p50.push(outcome.percentile(0.50));
    measured.p99.push(outcome.percentile(0.99));
    measured.cores.push(cpu.as_secs_f64() / outcome.took.as_secs_f64());
    measured.cpu_us.push(cpu.as_micros() as f64 / outcome.good as f64);
    measured.memory_mb.push(shop.resident_of_all() as f64 / 1024.0 / 1024.0);
    shop.stop();
}

fn main() {
    let binary = Path::new(env!("CARGO_BIN_EXE_tradepost"));
    let (time, rounds) = (Duration::from_secs(number("SHAPES_BENCH_SECONDS", 4)), number("SHAPES_BENCH_ROUNDS", 3));
    let (mut local, mut split) = (Measured::default(), Measured::default());
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    for n in 1..=rounds {
        eprintln!("round {n} of {rounds}");
        // on the disk, wherever that is: /tmp may be memory, where an fsync costs nothing
        let data = || tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (one, many) = (data(), data());
        round(&mut local, Server::shop(binary, one.path()), time);
        round(&mut split, Server::split(binary, many.path()), time);
    }
    let mut text = format!(
        "# The shop in one process and in one a module\n\nWritten by `cargo bench --bench shapes`; do not edit. How it is measured: `benches/shapes/main.rs`.\n\n\
         - {} cores; load average at the start {}\n- {rounds} rounds of {} s each, in turn; medians\n\
         - 1-line orders, {CONNECTIONS} keep-alive connections in a closed loop, a token checked with each, all commits synchronous=FULL\n\
         - split: seven processes on the same cores (`tradepost up --split`), orders through the gateway; cores, CPU and memory are those of all of them\n\n\
         | metric | one process | a process a module |\n|---|---|---|\n",
        std::thread::available_parallelism().map_or(0, usize::from),
        load.split_whitespace().take(3).collect::<Vec<_>>().join(" "),
        time.as_secs(),
    );
    let mut row = |name: &str, of: fn(&Measured) -> &Vec<f64>, digits: usize| {
        let _ = writeln!(text, "| {name} | {:.digits$} | {:.digits$} |", median(of(&local)), median(of(&split)));
    };
    row("orders/s", |m| &m.per_second, 0);
    row("cores in use", |m| &m.cores, 2);
    row("median latency, ms", |m| &m.p50, 1);
    row("99th percentile, ms", |m| &m.p99, 1);
    row("CPU us/order", |m| &m.cpu_us, 0);
    row("resident memory, MB", |m| &m.memory_mb, 0);
    println!("{text}");
    std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/SHAPES.md"), text).unwrap();
}
