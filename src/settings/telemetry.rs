//! What is told to those who watch: traces.

use crate::kernel::secret::Secret;
use serde::{Deserialize, Serialize};

/// Headers that carry a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TraceFormat {
    /// `traceparent` and `tracestate`.
    W3c,
    /// `b3`.
    B3,
    /// `X-B3-TraceId` and so on.
    B3Multi,
}

/// `telemetry.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Telemetry {
    /// Zipkin's address, e.g. `http://127.0.0.1:9411`, with `user:password@` in front of the host where it asks for
    /// them; its path is `/api/v2/spans` where none is given. None: off.
    pub zipkin: Option<Secret>,
    /// An OTLP collector's address by HTTP, e.g. `http://127.0.0.1:4318`, likewise; its path is `/v1/traces` where
    /// none is given. None: off. Needs the feature `otlp`.
    pub otlp: Option<Secret>,
    /// Share of the traces that are recorded, 0 to 1, of those that begin here.
    pub sample: f64,
    /// And so many of each second, whatever the share.
    pub sample_first: u32,
    /// Formats in which a trace is told to others; all are understood.
    pub propagation: Vec<TraceFormat>,
    /// What the process is called in traces; by default its one module's service name, or `tradepost`.
    pub service: Option<String>,
    /// Spans that wait to be exported at most, to each of the two; more are dropped, and counted.
    pub queue: usize,
    /// Traces kept in memory, to be shown at `/console/traces`; 0 for none.
    pub memory: usize,
}

impl Telemetry {
    /// Whether anybody takes recorded spans.
    pub fn is_watched(&self) -> bool {
        self.zipkin.is_some() || self.otlp.is_some() || self.memory > 0
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            zipkin: None,
            otlp: None,
            sample: 0.1,
            sample_first: 10,
            propagation: vec![TraceFormat::W3c, TraceFormat::B3],
            service: None,
            queue: 8192,
            memory: 200,
        }
    }
}
