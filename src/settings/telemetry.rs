//! Settings of tracing.

use crate::kernel::secret::Secret;
use serde::{Deserialize, Serialize};

/// Headers of trace propagation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TraceFormat {
    /// `traceparent` and `tracestate`.
    W3c,
    /// `b3`.
    B3,
    /// `X-B3-TraceId` and the other headers of the multi-header form.
    B3Multi,
}

/// `telemetry.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Telemetry {
    /// URL of Zipkin, e.g. `http://127.0.0.1:9411`, optionally with `user:password@`; the default path is
    /// `/api/v2/spans`. Without it, Zipkin is off.
    pub zipkin: Option<Secret>,
    /// URL of an OTLP/HTTP collector, e.g. `http://127.0.0.1:4318`, optionally with `user:password@`; the default path is
    /// `/v1/traces`. Without it, OTLP is off. Needs the feature `otlp`.
    pub otlp: Option<Secret>,
    /// Sampling rate of traces that start in this process, 0 to 1.
    pub sample: f64,
    /// Traces recorded per second in any case; `sample` applies to the rest.
    pub sample_first: u32,
    /// Formats of outgoing headers; incoming headers are accepted in all formats.
    pub propagation: Vec<TraceFormat>,
    /// Service name in traces; by default the application name of the only module, or `tradepost`.
    pub service: Option<String>,
    /// Capacity of each exporter's queue, in spans; excess spans are dropped and counted.
    pub queue: usize,
    /// Size of the buffer for `/console/traces`, in traces; 0 turns it off.
    pub trace_buffer_size: usize,
}

impl Telemetry {
    /// Whether any exporter or the trace buffer is on.
    pub fn is_enabled(&self) -> bool {
        self.zipkin.is_some() || self.otlp.is_some() || self.trace_buffer_size > 0
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
            trace_buffer_size: 200,
        }
    }
}
