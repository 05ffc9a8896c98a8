//! Cost of tracing: the same orders with tracing off, at 1 %, at 100 %, and at 100 % with a Zipkin that is up,
//! stopped, silent or refusing.
//!
//! `cargo bench --bench tracing` starts one shop per variant, all at once, and places orders at each in turn, several
//! rounds in one run. The result of a variant is the median of its ratios to `off` in the same round. The collector is
//! a thread of the bench on the same cores; it reads and discards the spans. Writes `benches/TRACING.md`.
//! `TRACING_BENCH_SECONDS`, `TRACING_BENCH_ROUNDS`: 4 and 5.
#![cfg(feature = "all-in-one")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a failing measurement panics")]

mod collector;
#[path = "../common/mod.rs"]
mod common;

use collector::{Behavior, Collector};
use common::load::{self, Until};
use common::numbers::{Measured, mb, median, number, ratio};
use common::process::{self, Server};
use common::{goods, report};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

const CONNECTIONS: usize = 32;
const SKUS: usize = 200;

struct Variant {
    name: &'static str,
    place: usize,
    shop: Server,
    orders: Vec<Vec<u8>>,
    /// Deleted on drop.
    _data: tempfile::TempDir,
    measured: Measured,
}

impl Variant {
    fn start(binary: &Path, name: &'static str, settings: &[(&str, String)]) -> Self {
        let data = process::folder();
        let shop = Server::shop_with(binary, data.path(), settings);
        goods::stock(&shop, SKUS);
        let orders = goods::orders(1, SKUS, &shop.token("alice"));
        load::run(shop.address, &orders, CONNECTIONS, Until::Elapsed(Duration::from_secs(1)), 201);
        Self { name, place: 0, shop, orders, _data: data, measured: Measured::default() }
    }

    fn round(&mut self, time: Duration) {
        let before = self.shop.cpu();
        let outcome = load::run(self.shop.address, &self.orders, CONNECTIONS, Until::Elapsed(time), 201);
        assert_eq!(outcome.bad, 0, "{}: {:?}", self.name, outcome.first_bad);
        self.measured.add(&outcome, self.shop.cpu() - before);
    }

    /// Span counts by outcome, from the metrics.
    fn spans(&self) -> String {
        let metrics = load::request("GET", "/actuator/prometheus", "", "");
        let text = String::from_utf8(load::once(self.shop.address, metrics, 200)).unwrap();
        let of = |outcome: &str| {
            let line = text.lines().find(|l| l.starts_with("tradepost_spans_total") && l.contains(outcome));
            line.and_then(|l| l.rsplit(' ').next()).unwrap_or("-").to_string()
        };
        format!("{} / {} / {}", of("exported"), of("dropped"), of("failed"))
    }
}

fn main() {
    let binary = Path::new(env!("CARGO_BIN_EXE_tradepost"));
    let (time, rounds) = (Duration::from_secs(number("TRACING_BENCH_SECONDS", 4)), number("TRACING_BENCH_ROUNDS", 5));
    let load = report::load_average();
    let [accepting, silent, refusing] = [Behavior::Accept, Behavior::Silent, Behavior::Refuse].map(Collector::start);
    let share = |share: &str, first: &str| {
        let (share, first) = (share.to_string(), first.to_string());
        vec![("TRADEPOST__TELEMETRY__SAMPLE", share), ("TRADEPOST__TELEMETRY__SAMPLE_FIRST", first)]
    };
    let all_to = |url: String| [share("1", "0"), vec![("TRADEPOST__TELEMETRY__ZIPKIN", url)]].concat();
    let with_zipkin = |mut settings: Vec<(&'static str, String)>| {
        settings.push(("TRADEPOST__TELEMETRY__ZIPKIN", accepting.url()));
        settings
    };
    let mut variants = vec![
        Variant::start(binary, "off", &share("0", "0")),
        Variant::start(binary, "1 %", &with_zipkin(share("0.01", "0"))),
        Variant::start(binary, "default (10 %, first 10 per second)", &with_zipkin(vec![])),
        Variant::start(binary, "100 %, in memory only", &share("1", "0")),
        Variant::start(binary, "100 %", &with_zipkin(share("1", "0"))),
        Variant::start(binary, "100 %, Zipkin stopped", &all_to(collector::unreachable_url())),
        Variant::start(binary, "100 %, Zipkin silent", &all_to(silent.url())),
        Variant::start(binary, "100 %, Zipkin refusing", &all_to(refusing.url())),
        // a control: the difference between two equal variants
        Variant::start(binary, "off, repeated", &share("0", "0")),
    ];
    variants.iter_mut().enumerate().for_each(|(place, variant)| variant.place = place);
    for n in 1..=rounds {
        eprintln!("round {n} of {rounds}");
        // each round begins with another variant, so that background load affects all variants alike
        variants.rotate_left(2);
        variants.iter_mut().for_each(|variant| variant.round(time));
    }
    let mut text = format!(
        "# What tracing costs\n\nWritten by `cargo bench --bench tracing`; do not edit. Method: `benches/tracing/main.rs`.\n\n\
         - {} cores; load average at the start {load}\n- {rounds} rounds of {} s each, in turn; medians; lost: median of the ratios to `off` in the same round\n\
         - 1-line orders, {CONNECTIONS} keep-alive connections in a closed loop, all modules in one process, all commits synchronous=FULL\n\
         - the collector discards what it reads, on the same cores\n\n\
         | tracing | orders/s | lost, % | p50, ms | p99, ms | CPU us/order | peak memory, MB | spans exported / dropped / failed |\n|---|---|---|---|---|---|---|---|\n",
        report::cores(),
        time.as_secs(),
    );
    variants.sort_by_key(|variant| variant.place);
    let off = variants[0].measured.per_second.clone();
    for v in &variants {
        let measured = &v.measured;
        let _ = writeln!(
            text,
            "| {} | {:.0} | {:.1} | {:.1} | {:.1} | {:.0} | {:.0} | {} |",
            v.name,
            median(&measured.per_second),
            // throughput loss in per cent: 1 minus the median ratio to `off`
            (1.0 - ratio(&measured.per_second, &off)) * 100.0,
            median(&measured.p50),
            median(&measured.p99),
            median(&measured.cpu_us),
            mb(v.shop.most_resident()),
            v.spans()
        );
    }
    let _ = writeln!(text, "\nThe accepting collector received {} MB.", accepting.bytes() / 1_000_000);
    report::keep("TRACING.md", &text);
    variants.into_iter().for_each(|variant| variant.shop.stop());
}
