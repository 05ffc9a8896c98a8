//! Cost of the gateway compared with nginx, and cost of each filter.
//!
//! `cargo bench --bench gateway` proxies the same upstream through nginx (Debian's package) and through
//! the release binary, in turn, several rounds in one run, and writes `benches/GATEWAY.md`. Both have the
//! same number of workers, keep-alive connections to the upstream and no access log; JWT check and rate
//! limit are off unless a row names them.
//!
//! - `GATEWAY_BENCH_SECONDS`, `GATEWAY_BENCH_ROUNDS`, `GATEWAY_BENCH_WORKERS`: 3, 5 and 1.
#![cfg(feature = "all-in-one")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a failing measurement panics")]

#[path = "../common/mod.rs"]
mod common;
mod nginx;

use common::load::{self, Until};
use common::numbers::{Measured, median, number, ratio, spread};
use common::process::{self, Server};
use common::{bare, report};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Response size in bytes, as of a small read from the shop.
const ANSWER: usize = 512;

const ROUTES: &str = "
spring.cloud.gateway.routes:
- {id: plain, uri: 'UPSTREAM', predicates: ['Path=/open/plain,/closed/plain']}
- {id: limited, uri: 'UPSTREAM', predicates: [Path=/open/limited], filters: [{name: RequestRateLimiter, args: {redis-rate-limiter.replenishRate: 1000000, redis-rate-limiter.burstCapacity: 1000000}}]}
- {id: headers, uri: 'UPSTREAM', predicates: [Path=/open/headers], filters: ['AddRequestHeader=X-A, a', 'SetRequestHeader=X-B, b', 'AddResponseHeader=X-C, c', RemoveResponseHeader=X-D]}
- {id: secure, uri: 'UPSTREAM', predicates: [Path=/open/secure], filters: [SecureHeaders]}
- {id: rewritten, uri: 'UPSTREAM', predicates: [Path=/open/rewritten], filters: ['RewritePath=/open/(?<rest>.*), /$\\{rest}']}
- {id: guarded, uri: 'UPSTREAM', predicates: [Path=/open/guarded], filters: [CircuitBreaker=bench]}
- {id: retried, uri: 'UPSTREAM', predicates: [Path=/open/retried], filters: [Retry=3]}
- {id: all, uri: 'UPSTREAM', predicates: [Path=/closed/all], filters: ['AddRequestHeader=X-A, a', 'AddResponseHeader=X-C, c', SecureHeaders, CircuitBreaker=bench, Retry=3, {name: RequestRateLimiter, args: {redis-rate-limiter.replenishRate: 1000000, redis-rate-limiter.burstCapacity: 1000000}}]}
";

/// Measured rows: name, path, whether a token is sent.
const ROWS: [(&str, &str, bool); 9] = [
    ("gateway, plain", "/open/plain", false),
    ("JWT check", "/closed/plain", true),
    ("RequestRateLimiter", "/open/limited", false),
    ("four header filters", "/open/headers", false),
    ("SecureHeaders", "/open/secure", false),
    ("RewritePath", "/open/rewritten", false),
    ("CircuitBreaker", "/open/guarded", false),
    ("Retry, nothing to retry", "/open/retried", false),
    ("JWT, headers, SecureHeaders, CircuitBreaker, Retry, RequestRateLimiter", "/closed/all", true),
];

/// Measures one round against this address.
fn run(measured: &mut Measured, to: SocketAddr, path: &str, token: &str, connections: usize, time: Duration, cpu: impl Fn() -> Duration) {
    let requests = [load::request("GET", path, token, "")];
    let before = cpu();
    let outcome = load::run(to, &requests, connections, Until::Elapsed(time), 201);
    assert_eq!(outcome.bad, 0, "{path}: {:?}", outcome.first_bad);
    measured.add(&outcome, cpu() - before);
}

fn row(measured: &Measured, name: &str) -> String {
    let [p50, p99, cpu] = [&measured.p50, &measured.p99, &measured.cpu_us].map(|v| median(v));
    format!("| {name} | {} | {p50:.2} | {p99:.2} | {cpu:.1} |", spread(&measured.per_second, 0))
}

fn main() {
    bare::serve_if_asked();
    if !nginx::is_installed() {
        println!("nginx is not installed: nothing to compare with (apt-get install nginx-light)");
        return;
    }
    let (seconds, rounds) = (Duration::from_secs(number("GATEWAY_BENCH_SECONDS", 3)), number("GATEWAY_BENCH_ROUNDS", 5));
    let workers = number("GATEWAY_BENCH_WORKERS", 1);
    let binary = Path::new(env!("CARGO_BIN_EXE_tradepost"));
    let scratch = process::folder();
    let upstream = Server::bare(&"x".repeat(ANSWER));
    let issuer = Server::module(binary, &scratch.path().join("issuer"), "identity", &[]);
    let token = issuer.token("alice");
    let routes = scratch.path().join("routes.yml");
    std::fs::write(&routes, ROUTES.replace("UPSTREAM", &format!("http://{}", upstream.address))).unwrap();
    let gateway = [
        ("TRADEPOST__GATEWAY__ROUTES", routes.to_string_lossy().into_owned()),
        ("TRADEPOST__GATEWAY__PUBLIC", "/open/**,/actuator/health/**".into()),
        ("TRADEPOST__IDENTITY__ISSUER", format!("http://{}/realms/spring-cloud-microservices-realm", issuer.address)),
        ("TRADEPOST__SERVER__WORKERS", workers.to_string()),
    ];
    let gateway = Server::module(binary, &scratch.path().join("gateway"), "gateway", &gateway);
    let nginx = nginx::Nginx::start(scratch.path(), upstream.address, workers);

    let mut text = head(rounds, seconds, workers);
    for connections in [32, 64] {
        let (mut nginx_row, mut direct) = (Measured::default(), Measured::default());
        let mut rows: Vec<Measured> = ROWS.iter().map(|_| Measured::default()).collect();
        for round in 0..=rounds {
            eprintln!("{connections} connections, round {round} of {rounds}");
            let time = if round == 0 { Duration::from_millis(500) } else { seconds };
            if round == 1 {
                // discard the warm-up round
                (nginx_row, direct) = (Measured::default(), Measured::default());
                rows.iter_mut().for_each(|row| *row = Measured::default());
            }
            run(&mut direct, upstream.address, "/open/plain", "", connections, time, || upstream.cpu());
            for ((_, path, with_token), row) in ROWS.iter().zip(&mut rows) {
                // nginx runs directly before the plain gateway in every round
                if *path == "/open/plain" {
                    run(&mut nginx_row, nginx.address, path, "", connections, time, || nginx.cpu());
                }
                run(row, gateway.address, path, if *with_token { &token } else { "" }, connections, time, || gateway.cpu());
            }
        }
        let _ = writeln!(
            text,
            "\n## {connections} connections\n\n| through | requests/s | p50 ms | p99 ms | CPU us/request |\n|---|---|---|---|---|"
        );
        let _ = writeln!(text, "{}\n{}", row(&direct, "none: the upstream itself"), row(&nginx_row, "nginx"));
        for ((name, ..), measured) in ROWS.iter().zip(&rows) {
            let _ = writeln!(text, "{}", row(measured, name));
        }
        let added =
            |of: &[f64]| median(of) - if std::ptr::eq(of, &rows[0].p50[..]) { median(&nginx_row.p50) } else { median(&nginx_row.p99) };
        let _ = writeln!(
            text,
            "\n- the plain gateway has {:.2} of nginx's throughput (goal: 0.8), and adds {:.2} ms at p50 and {:.2} ms at p99 to what nginx takes",
            ratio(&rows[0].per_second, &nginx_row.per_second),
            added(&rows[0].p50),
            added(&rows[0].p99)
        );
        for ((name, ..), row) in ROWS.iter().zip(&rows).skip(1) {
            let cost = median(&row.cpu_us) - median(&rows[0].cpu_us);
            let _ = writeln!(
                text,
                "- {name}: {cost:+.1} us of CPU per request, {:.2} of the plain gateway's throughput",
                ratio(&row.per_second, &rows[0].per_second)
            );
        }
    }
    report::keep("GATEWAY.md", &text);
}

fn head(rounds: u64, seconds: Duration, workers: u64) -> String {
    format!(
        "# What the gateway costs\n\nWritten by `cargo bench --bench gateway`; do not edit. Method: `benches/gateway/main.rs`.\n\n\
         - commit {}; {}; {}\n- {} cores, Linux {}; load average at the start {}\n\
         - {rounds} rounds of {} s each, in turn; medians, with minimum and maximum in brackets; ratios are per round\n\
         - {workers} worker(s) in nginx and in the gateway each; upstream and load generator share the cores with them and with all other processes of the machine\n\
         - a GET with a response of {ANSWER} bytes, keep-alive on both sides, no access log, release build\n",
        report::output("git", &["rev-parse", "--short", "HEAD"]),
        report::output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        report::output("/usr/sbin/nginx", &["-v"]),
        report::cores(),
        report::output("uname", &["-r"]),
        report::load_average(),
        seconds.as_secs(),
    )
}
