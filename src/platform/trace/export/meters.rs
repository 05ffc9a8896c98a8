//! What is counted of an exporter, at `/actuator/prometheus`.

use crate::platform::host::StartError;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

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

fn wrong(error: prometheus::Error) -> StartError {
    StartError(format!("metrics: {error}"))
}
