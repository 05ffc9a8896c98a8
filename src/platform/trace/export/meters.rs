//! What is counted of an exporter, at `/actuator/prometheus`.

use crate::platform::host::StartError;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// `tradepost_spans_total`: what became of the spans that one exporter was given.
#[derive(Debug, Clone)]
pub(super) struct Meters {
    /// They are where they were sent.
    pub(super) exported: IntCounter,
    /// The queue was full.
    pub(super) dropped: IntCounter,
    /// They were sent and not taken.
    pub(super) failed: IntCounter,
}

impl Meters {
    /// For one exporter of this name.
    pub(super) fn new(registry: &Registry, exporter: &str) -> Result<Self, StartError> {
        let opts = Opts::new("tradepost_spans_total", "Recorded spans by what became of them.").const_label("exporter", exporter);
        let spans = IntCounterVec::new(opts, &["outcome"]).map_err(wrong)?;
        registry.register(Box::new(spans.clone())).map_err(wrong)?;
        let of = |outcome| spans.with_label_values(&[outcome]);
        Ok(Self { exported: of("exported"), dropped: of("dropped"), failed: of("failed") })
    }
}

/// `tradepost_queue_depth` and `tradepost_queue_capacity` of a bounded queue of this name.
pub(super) fn queue(
    registry: &Registry,
    name: &str,
    capacity: usize,
    depth: impl Fn() -> usize + Send + Sync + 'static,
) -> Result<(), StartError> {
    let of = |metric: &str, help: &str| IntGauge::with_opts(Opts::new(metric, help).const_label("queue", name)).map_err(wrong);
    let depths = of("tradepost_queue_depth", "What waits in a bounded queue of this process.")?;
    let capacities = of("tradepost_queue_capacity", "What a bounded queue of this process takes; beyond it, callers wait or are refused.")?;
    capacities.set(capacity.try_into().unwrap_or(i64::MAX));
    registry.register(Box::new(capacities)).map_err(wrong)?;
    registry.register(Box::new(Watched { gauge: depths, now: depth })).map_err(wrong)
}

/// A gauge that is set whenever somebody looks.
struct Watched<F> {
    gauge: IntGauge,
    now: F,
}

impl<F: Fn() -> usize + Send + Sync> Collector for Watched<F> {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gauge.set((self.now)().try_into().unwrap_or(i64::MAX));
        self.gauge.collect()
    }
}

fn wrong(error: prometheus::Error) -> StartError {
    StartError(format!("metrics: {error}"))
}
