//! Throughput and cost of the shop, compared with the upper limits of this machine.
//!
//! `cargo bench --bench shop` measures the release binary as a separate process and writes
//! `benches/RESULTS.md`. All compared values are measured in one run, in turn, in several rounds,
//! and ratios are taken within a round: on a shared machine absolute numbers mean little.
//!
//! - `SHOP_BENCH_SECONDS`, `SHOP_BENCH_ROUNDS`: duration and number of rounds; 5 and 5.
//! - `SHOP_BENCH_BEFORE=/path/to/tradepost`: another build, measured in turn with this one.
#![cfg(feature = "all-in-one")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a failing measurement panics")]

#[path = "../common/mod.rs"]
mod common;
mod report;
mod seam;
mod straight;

use common::goods::{self, orders, sku};
use common::load::{self, Until};
use common::numbers::{self, mb, median, number, ratio, spread};
use common::process::{self, Server};
use common::{bare, report as machine};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 32;
const SKUS: usize = 1000;
const SUBJECT: &str = "8f14e45f-ceea-467f-a9f1-0d9f0e6c1f00";

/// One server under load.
#[derive(Default)]
struct Measured {
    name: String,
    load: numbers::Measured,
    /// CPU time of the load generator per order.
    load_cpu_us: Vec<f64>,
    /// Time from the last response until all background work is done.
    behind_ms: Vec<f64>,
    idle_mb: Vec<f64>,
    loaded_mb: Vec<f64>,
    bad: usize,
}

#[derive(Default)]
struct Results {
    servers: Vec<Measured>,
    straight: Vec<(usize, usize, Vec<f64>, Vec<f64>)>,
    start_ms: Vec<(String, Vec<f64>)>,
    seam: Option<seam::Costs>,
}

fn main() {
    bare::serve_if_asked();
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_tradepost"));
    let before = std::env::var_os("SHOP_BENCH_BEFORE").map(PathBuf::from);
    let seconds = Duration::from_secs(number("SHOP_BENCH_SECONDS", 5));
    let rounds = number("SHOP_BENCH_ROUNDS", 5) as usize;
    let scratch = process::folder();
    let stocked = scratch.path().join("stocked");
    let response = stock(&binary, &stocked);

    let mut shops = vec![("shop", binary.clone())];
    shops.extend(before.map(|path| ("shop before", path)));
    let mut results = Results::default();
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        for lines in [1, 5] {
            for (name, path) in &shops {
                let data = copy(&stocked, scratch.path());
                shop_round(results.server(&format!("{name}, {lines}-line orders")), path, &data, lines, seconds);
                std::fs::remove_dir_all(&data).unwrap();
            }
            for group in [32, 256] {
                let data = copy(&stocked, scratch.path());
                let (per_second, cpu) = straight::run(&data, group, lines, SKUS, seconds);
                std::fs::remove_dir_all(&data).unwrap();
                let row = results.straight(lines, group);
                row.2.push(per_second);
                row.3.push(cpu);
            }
        }
        bare_round(results.server("bare actix"), &response, seconds);
    }
    let data = copy(&stocked, scratch.path());
    for (name, path) in &shops {
        process::start_up(path, &data); // migrations have run, pages are cached
        results.start_ms.push((name.to_string(), Vec::new()));
    }
    for _ in 0..20 {
        for ((_, path), (_, row)) in shops.iter().zip(&mut results.start_ms) {
            row.push(process::start_up(path, &data).as_secs_f64() * 1000.0);
        }
    }
    let shop = Server::shop(&binary, &data);
    results.seam = Some(seam::measure(&shop, &copy(&stocked, scratch.path())));
    shop.stop();
    let text = report::text(&mut results, rounds, seconds);
    machine::keep("RESULTS.md", &text);
}

impl Results {
    fn server(&mut self, name: &str) -> &mut Measured {
        let at = self.servers.iter().position(|m| m.name == name).unwrap_or(self.servers.len());
        if at == self.servers.len() {
            self.servers.push(Measured { name: name.into(), ..Measured::default() });
        }
        &mut self.servers[at]
    }

    fn straight(&mut self, lines: usize, group: usize) -> &mut (usize, usize, Vec<f64>, Vec<f64>) {
        let at = self.straight.iter().position(|m| (m.0, m.1) == (lines, group)).unwrap_or(self.straight.len());
        if at == self.straight.len() {
            self.straight.push((lines, group, Vec::new(), Vec::new()));
        }
        &mut self.straight[at]
    }
}

/// Creates a data folder with a thousand products that never sell out; returns the response body of an order.
fn stock(binary: &Path, data: &Path) -> String {
    let shop = Server::shop(binary, data);
    goods::stock(&shop, SKUS);
    let response = load::once(shop.address, goods::order(1, 0, SKUS, &shop.token("alice")), 201);
    wait_until_done(data);
    shop.stop();
    String::from_utf8(response).unwrap()
}

/// Copies the data folder: every round starts with the same data.
fn copy(from: &Path, into: &Path) -> PathBuf {
    let to = into.join(uuid::Uuid::now_v7().to_string());
    let done = std::process::Command::new("cp").arg("-a").args([from, &to]).status().unwrap();
    assert!(done.success());
    to
}

fn wait_until_done(data: &Path) -> Duration {
    let started = Instant::now();
    while straight::remaining_work(data) > 0 {
        assert!(started.elapsed() < Duration::from_secs(120), "work is left after 120 s");
        std::thread::sleep(Duration::from_millis(10));
    }
    started.elapsed()
}

fn shop_round(measured: &mut Measured, binary: &Path, data: &Path, lines: usize, seconds: Duration) {
    let shop = Server::shop(binary, data);
    std::thread::sleep(Duration::from_secs(1));
    measured.idle_mb.push(mb(shop.resident()));
    let requests = orders(lines, SKUS, &shop.token("alice"));
    load::run(shop.address, &requests, CONNECTIONS, Until::Elapsed(Duration::from_secs(1)), 201);
    wait_until_done(data);
    let before = straight::placed_and_notified(data);
    let (cpu, own) = (shop.cpu(), process::cpu("/proc/self/stat"));
    let outcome = load::run(shop.address, &requests, CONNECTIONS, Until::Elapsed(seconds), 201);
    let own = process::cpu("/proc/self/stat") - own;
    let behind = wait_until_done(data);
    measured.add(&outcome, shop.cpu() - cpu, own);
    measured.behind_ms.push(behind.as_secs_f64() * 1000.0);
    measured.loaded_mb.push(mb(shop.most_resident()));
    shop.stop();
    // exactly one notification per placed order, or the measurement is invalid
    let (placed, notified) = straight::placed_and_notified(data);
    assert_eq!((placed - before.0, notified - before.1), (outcome.good as i64, outcome.good as i64));
}

fn bare_round(measured: &mut Measured, response: &str, seconds: Duration) {
    let server = Server::bare(response);
    let requests = orders(1, SKUS, &"x".repeat(900));
    load::run(server.address, &requests, CONNECTIONS, Until::Elapsed(Duration::from_secs(1)), 201);
    let (cpu, own) = (server.cpu(), process::cpu("/proc/self/stat"));
    let outcome = load::run(server.address, &requests, CONNECTIONS, Until::Elapsed(seconds.min(Duration::from_secs(3))), 201);
    measured.add(&outcome, server.cpu() - cpu, process::cpu("/proc/self/stat") - own);
}

impl Measured {
    /// Adds a round with the CPU times of the server and of the load generator.
    fn add(&mut self, outcome: &load::Outcome, cpu: Duration, own: Duration) {
        if let Some(bad) = &outcome.first_bad {
            eprintln!("{}: {} responses were not 201, the first:\n{bad}", self.name, outcome.bad);
        }
        self.bad += outcome.bad;
        self.load.add(outcome, cpu);
        self.load_cpu_us.push(own.as_micros() as f64 / outcome.good as f64);
    }
}
