//! Metrics at `/actuator/prometheus`: helpers to register them, and the metrics of every process.
//!
//! Label values are fixed words, names from the settings and route templates, never an id, a user or other client
//! input: each value takes memory here and is a series in Prometheus for the lifetime of the process.
//!
//! Values in memory are read at each scrape ([`on_scrape`]). Values in a store are read periodically ([`refresh_periodically`]),
//! so that scrapes cause no load on stores.

mod process;

use crate::kernel::build;
use crate::kernel::clock;
use crate::kernel::error::StartError;
use crate::kernel::error::StoreError;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Upper bounds of all latency buckets, in seconds: Prometheus' defaults, with finer ones for the shop's typical latency.
pub const BUCKETS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

const POLL_INTERVAL: Duration = Duration::from_secs(10);

pub fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, StartError> {
    let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

pub fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, StartError> {
    let gauges = IntGaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(gauges.clone()))?;
    Ok(gauges)
}

/// Histograms of durations in seconds, with [`BUCKETS`].
pub fn times(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec, StartError> {
    let times = HistogramVec::new(HistogramOpts::new(name, help).buckets(BUCKETS.to_vec()), labels)?;
    registry.register(Box::new(times.clone()))?;
    Ok(times)
}

/// Converts to a gauge's value, saturating.
pub fn gauge_value(n: impl TryInto<i64>) -> i64 {
    n.try_into().unwrap_or(i64::MAX)
}

/// Age in seconds of a time in milliseconds since 1970; 0 for `None`.
pub fn age_seconds(since_ms: Option<i64>) -> i64 {
    // a time in the future was stored before the clock was set back: an age of 0 would hide what is stuck
    since_ms.map_or(0, |since| (clock::now_ms() - since).abs() / 1000)
}

/// Registers gauges that `set` updates at each scrape. `set` must not block.
pub fn on_scrape(
    registry: &Registry,
    gauges: Vec<IntGaugeVec>,
    set: impl Fn(&[IntGaugeVec]) + Send + Sync + 'static,
) -> Result<(), StartError> {
    Ok(registry.register(Box::new(OnScrape { gauges, set }))?)
}

struct OnScrape<F> {
    gauges: Vec<IntGaugeVec>,
    set: F,
}

impl<F: Fn(&[IntGaugeVec]) + Send + Sync> Collector for OnScrape<F> {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges.iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        (self.set)(&self.gauges);
        self.gauges.iter().flat_map(Collector::collect).collect()
    }
}

/// Registers `tradepost_queue_depth` and `tradepost_queue_capacity` of a bounded queue. `name` must be unique in the
/// process.
pub fn queue(
    registry: &Registry,
    name: &str,
    capacity: usize,
    depth: impl Fn() -> usize + Send + Sync + 'static,
) -> Result<(), StartError> {
    let of = |metric: &str, help: &str| IntGaugeVec::new(Opts::new(metric, help).const_label("queue", name), &[]);
    let depths = of("tradepost_queue_depth", "Entries that wait in a bounded queue of this process.")?;
    let capacities =
        of("tradepost_queue_capacity", "Capacity of a bounded queue of this process; callers of a full queue wait or are rejected.")?;
    on_scrape(registry, vec![depths, capacities], move |gauges| {
        for (gauge, now) in gauges.iter().zip([depth(), capacity]) {
            gauge.with_label_values::<&str>(&[]).set(gauge_value(now));
        }
    })
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Pool {
    pub idle: usize,
    pub in_use: usize,
    pub max: usize,
    /// Tasks that wait for a connection.
    pub waiting: usize,
}

/// Registers `tradepost_pool_connections` and `tradepost_pool_waiting`. `store` is the module's name.
pub fn pool(registry: &Registry, store: &str, now: impl Fn() -> Pool + Send + Sync + 'static) -> Result<(), StartError> {
    let of = |metric: &str, help: &str, labels: &[&str]| IntGaugeVec::new(Opts::new(metric, help).const_label("store", store), labels);
    let connections = of("tradepost_pool_connections", "Connections of a store's pool by state, and its capacity (max).", &["state"])?;
    let waiting = of("tradepost_pool_waiting", "Tasks that wait for a connection of a store's pool.", &[])?;
    on_scrape(registry, vec![connections, waiting], move |gauges| {
        let [connections, waiting] = gauges else { return };
        let Pool { idle, in_use, max, waiting: wait } = now();
        for (state, n) in [("idle", idle), ("in_use", in_use), ("max", max)] {
            connections.with_label_values(&[state]).set(gauge_value(n));
        }
        waiting.with_label_values::<&str>(&[]).set(gauge_value(wait));
    })
}

/// Registers the metrics that every process has: its build and its resource usage.
pub fn process(registry: &Registry) -> Result<(), StartError> {
    let info = gauges(registry, "tradepost_build_info", "1, with the version and commit of this process.", &["version", "commit"])?;
    info.with_label_values(&[build::VERSION, build::COMMIT]).set(1);
    process::register(registry)
}

/// Calls `refresh` now and every 10 s until `stop` is cancelled. If a store fails, gauges keep their last value.
pub async fn refresh_periodically(what: &str, stop: CancellationToken, refresh: impl AsyncFn() -> Result<(), StoreError>) {
    let refreshing = async {
        loop {
            if let Err(cause) = refresh().await {
                tracing::debug!(%cause, what, "cannot refresh gauges");
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    let _: Option<()> = stop.run_until_cancelled(refreshing).await;
}
