//! What is counted and shown at `/actuator/prometheus`: how modules register it, and what every process shows.
//!
//! Labels are fixed words, names that an operator gave and templates of routes: never an id, a user, or anything
//! else that a client made up. Each value of a label is memory here and a series in Prometheus for as long as the
//! process lives.
//!
//! What is known in memory is looked up when somebody asks ([`watched`]). What has to be asked of a store is not:
//! [`keep_fresh`] does it now and then, so that no scrape, and no number of them, is a store's load.

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

/// Upper ends of the buckets of all times, in seconds: Prometheus' own, and finer below, where the shop's answers are.
pub const BUCKETS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// How often a store is asked for what is shown of it.
const LOOK: Duration = Duration::from_secs(10);

/// Counters of this name, one for each combination of labels that is counted.
pub fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, StartError> {
    let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

/// The same of gauges.
pub fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, StartError> {
    let gauges = IntGaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(gauges.clone()))?;
    Ok(gauges)
}

/// Histograms of times in seconds, in [`BUCKETS`].
pub fn times(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec, StartError> {
    let times = HistogramVec::new(HistogramOpts::new(name, help).buckets(BUCKETS.to_vec()), labels)?;
    registry.register(Box::new(times.clone()))?;
    Ok(times)
}

/// A number to show as a gauge; what is beyond its range is its end.
pub fn number(n: impl TryInto<i64>) -> i64 {
    n.try_into().unwrap_or(i64::MAX)
}

/// How many seconds ago this was, in milliseconds since 1970; 0 where there is none.
pub fn age_seconds(since_ms: Option<i64>) -> i64 {
    since_ms.map_or(0, |since| (clock::now_ms() - since).max(0) / 1000)
}

/// Gauges that `set` is asked to set whenever somebody looks. It must not wait for anything.
pub fn watched(
    registry: &Registry,
    gauges: Vec<IntGaugeVec>,
    set: impl Fn(&[IntGaugeVec]) + Send + Sync + 'static,
) -> Result<(), StartError> {
    Ok(registry.register(Box::new(Watched { gauges, set }))?)
}

struct Watched<F> {
    gauges: Vec<IntGaugeVec>,
    set: F,
}

impl<F: Fn(&[IntGaugeVec]) + Send + Sync> Collector for Watched<F> {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges.iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        (self.set)(&self.gauges);
        self.gauges.iter().flat_map(Collector::collect).collect()
    }
}

/// `tradepost_queue_depth` and `tradepost_queue_capacity` of a bounded queue of this name, which no other in the
/// process has: `depth` answers how many wait in it now.
pub fn queue(
    registry: &Registry,
    name: &str,
    capacity: usize,
    depth: impl Fn() -> usize + Send + Sync + 'static,
) -> Result<(), StartError> {
    let of = |metric: &str, help: &str| IntGaugeVec::new(Opts::new(metric, help).const_label("queue", name), &[]);
    let depths = of("tradepost_queue_depth", "What waits in a bounded queue of this process.")?;
    let capacities = of("tradepost_queue_capacity", "What a bounded queue of this process takes; beyond it, callers wait or are refused.")?;
    watched(registry, vec![depths, capacities], move |gauges| {
        for (gauge, now) in gauges.iter().zip([depth(), capacity]) {
            gauge.with_label_values::<&str>(&[]).set(number(now));
        }
    })
}

/// Connections of a store's pool, at a moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pool {
    /// Made, and lent to nobody.
    pub idle: usize,
    /// Lent.
    pub in_use: usize,
    /// As many as there may be.
    pub max: usize,
    /// Who waits for one.
    pub waiting: usize,
}

/// `tradepost_pool_connections` and `tradepost_pool_waiting` of the pool of this store, a module's name.
pub fn pool(registry: &Registry, store: &str, now: impl Fn() -> Pool + Send + Sync + 'static) -> Result<(), StartError> {
    let of = |metric: &str, help: &str, labels: &[&str]| IntGaugeVec::new(Opts::new(metric, help).const_label("store", store), labels);
    let connections =
        of("tradepost_pool_connections", "Connections of a store's pool by state, and how many there may be (max).", &["state"])?;
    let waiting = of("tradepost_pool_waiting", "Who waits for a connection of a store's pool.", &[])?;
    watched(registry, vec![connections, waiting], move |gauges| {
        let [connections, waiting] = gauges else { return };
        let Pool { idle, in_use, max, waiting: wait } = now();
        for (state, n) in [("idle", idle), ("in_use", in_use), ("max", max)] {
            connections.with_label_values(&[state]).set(number(n));
        }
        waiting.with_label_values::<&str>(&[]).set(number(wait));
    })
}

/// What is shown of every process, whatever runs in it: which build it is, and what it uses.
pub fn process(registry: &Registry) -> Result<(), StartError> {
    let info = gauges(registry, "tradepost_build_info", "1; which build this process runs.", &["version", "commit"])?;
    info.with_label_values(&[build::VERSION, build::COMMIT]).set(1);
    process::show(registry)
}

/// Looks at once, and then every 10 s, until told to stop. While a store does not answer, what was known last stays.
pub async fn keep_fresh(what: &str, stop: CancellationToken, look: impl AsyncFn() -> Result<(), StoreError>) {
    let looking = async {
        loop {
            if let Err(cause) = look().await {
                tracing::debug!(%cause, what, "gauges are not refreshed");
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let _: Option<()> = stop.run_until_cancelled(looking).await;
}
