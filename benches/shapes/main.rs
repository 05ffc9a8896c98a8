//! Cost of splitting: the same shop in one process, and with one process per module.
//!
//! `cargo bench --bench shapes` places orders against both in turn, several rounds in one run, and writes
//! `benches/SHAPES.md` in the form of the Service Weaver paper (HotOS '23, table 2).
//! `SHAPES_BENCH_SECONDS`, `SHAPES_BENCH_ROUNDS`: 4 and 3.
#![cfg(feature = "all-in-one")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a failing measurement panics")]

#[path = "../common/mod.rs"]
mod common;

use common::load::{self, Until};
use common::numbers::{self, mb, median, number};
use common::process::{self, Server};
use common::{goods, report};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

const CONNECTIONS: usize = 32;
const SKUS: usize = 200;

#[derive(Default)]
struct Measured {
    load: numbers::Measured,
    cores: Vec<f64>,
    memory_mb: Vec<f64>,
}

fn round(measured: &mut Measured, shop: Server, time: Duration) {
    goods::stock(&shop, SKUS);
    let orders = goods::orders(1, SKUS, &shop.token("alice"));
    load::run(shop.address, &orders, CONNECTIONS, Until::Elapsed(Duration::from_secs(1)), 201);
    let before = shop.cpu_of_all();
    let outcome = load::run(shop.address, &orders, CONNECTIONS, Until::Elapsed(time), 201);
    let cpu = shop.cpu_of_all() - before;
    assert!(outcome.bad * 1000 <= outcome.good, "{} of {}: {:?}", outcome.bad, outcome.good, outcome.first_bad);
    measured.load.add(&outcome, cpu);
    measured.cores.push(cpu.as_secs_f64() / outcome.took.as_secs_f64());
    measured.memory_mb.push(mb(shop.resident_of_all()));
    shop.stop();
}

fn main() {
    let binary = Path::new(env!("CARGO_BIN_EXE_tradepost"));
    let (time, rounds) = (Duration::from_secs(number("SHAPES_BENCH_SECONDS", 4)), number("SHAPES_BENCH_ROUNDS", 3));
    let (mut local, mut split) = (Measured::default(), Measured::default());
    let load = report::load_average();
    for n in 1..=rounds {
        eprintln!("round {n} of {rounds}");
        let (one, many) = (process::folder(), process::folder());
        round(&mut local, Server::shop(binary, one.path()), time);
        round(&mut split, Server::split(binary, many.path()), time);
    }
    let mut text = format!(
        "# The shop in one process, and with one process per module\n\nWritten by `cargo bench --bench shapes`; do not edit. Method: `benches/shapes/main.rs`.\n\n\
         - {} cores; load average at the start {load}\n- {rounds} rounds of {} s each, in turn; medians\n\
         - 1-line orders, {CONNECTIONS} keep-alive connections in a closed loop, a token check per request, all commits synchronous=FULL\n\
         - split: seven processes on the same cores (`tradepost up --split`), orders through the gateway; cores, CPU and memory are totals of all processes\n\n\
         | metric | one process | one process per module |\n|---|---|---|\n",
        report::cores(),
        time.as_secs(),
    );
    let mut row = |name: &str, of: fn(&Measured) -> &Vec<f64>, digits: usize| {
        let _ = writeln!(text, "| {name} | {:.digits$} | {:.digits$} |", median(of(&local)), median(of(&split)));
    };
    row("orders/s", |m| &m.load.per_second, 0);
    row("cores in use", |m| &m.cores, 2);
    row("median latency, ms", |m| &m.load.p50, 1);
    row("99th percentile, ms", |m| &m.load.p99, 1);
    row("CPU us/order", |m| &m.load.cpu_us, 0);
    row("resident memory, MB", |m| &m.memory_mb, 0);
    report::keep("SHAPES.md", &text);
}
