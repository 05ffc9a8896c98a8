//! Export of recorded spans: to Zipkin, to an OTLP collector, and to a buffer in memory.

#[cfg(feature = "otlp")]
mod otlp;
mod queue;
mod sinks;
pub mod target;
pub mod trace_buffer;
pub mod zipkin;

use crate::kernel::error::{OutOfRange, StartError};
use crate::observe::metrics;
use crate::settings::Telemetry;
use std::sync::Arc;
use std::time::Duration;
use target::Target;
use trace_buffer::TraceBuffer;

pub use sinks::{Sink, has_sinks, provider};

#[derive(Debug, Default)]
pub struct Exports {
    /// The last traces, if `telemetry.trace_buffer_size` is set.
    pub memory: Option<Arc<TraceBuffer>>,
    /// This process's service name in spans.
    pub service: String,
    exporters: Vec<queue::Exporter>,
}

#[cfg(not(feature = "otlp"))]
#[derive(Debug, thiserror::Error)]
#[error("telemetry.otlp needs a build with the feature `otlp`")]
struct OtlpNotCompiledIn;

#[cfg(not(feature = "otlp"))]
impl crate::kernel::error::ComponentError for OtlpNotCompiledIn {}

const SHUTDOWN_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Starts the exporters that the settings configure. `telemetry.service` overrides `service`.
pub fn start(settings: &Telemetry, service: &str, registry: &prometheus::Registry) -> Result<Exports, StartError> {
    for (key, value, range) in [("queue", settings.queue, 1..=1_000_000), ("trace_buffer_size", settings.trace_buffer_size, 0..=1_000)] {
        if !range.contains(&value) {
            return Err(OutOfRange::new(format!("telemetry.{key}"), value, format!("{} to {}", range.start(), range.end())).into());
        }
    }
    let labels = ["exporter", "outcome"];
    let spans = metrics::counters(registry, "tradepost_spans_total", "Recorded spans by exporter and outcome.", &labels)?;
    let service = settings.service.as_deref().unwrap_or(service);
    let mut sinks = Vec::<Arc<dyn Sink>>::new();
    let mut exports = Exports { service: service.into(), ..Exports::default() };
    if let Some(setting) = &settings.zipkin {
        let target = Target::parse("telemetry.zipkin", setting, zipkin::PATH, zipkin::CONTENT_TYPE)?;
        let (sink, exporter) = queue::start("zipkin", settings.queue, target, Box::new(zipkin::encode(service)), &spans, registry)?;
        sinks.push(sink);
        exports.exporters.push(exporter);
    }
    #[cfg(feature = "otlp")]
    if let Some(setting) = &settings.otlp {
        let target = Target::parse("telemetry.otlp", setting, otlp::PATH, otlp::CONTENT_TYPE)?;
        let instance = uuid::Uuid::new_v4().to_string();
        let (sink, exporter) = queue::start("otlp", settings.queue, target, Box::new(otlp::encode(service, &instance)), &spans, registry)?;
        sinks.push(sink);
        exports.exporters.push(exporter);
    }
    #[cfg(not(feature = "otlp"))]
    if settings.otlp.is_some() {
        return Err(OtlpNotCompiledIn.into());
    }
    if settings.trace_buffer_size > 0 {
        let memory = Arc::new(TraceBuffer::new(settings.trace_buffer_size));
        sinks.push(memory.clone());
        exports.memory = Some(memory);
    }
    sinks::set_sinks(sinks);
    Ok(exports)
}

impl Exports {
    /// Flushes the exporters, within a time limit.
    pub async fn finish(self) {
        futures_util::future::join_all(self.exporters.into_iter().map(|exporter| exporter.finish(SHUTDOWN_FLUSH_TIMEOUT))).await;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
    use opentelemetry::{InstrumentationScope, KeyValue};
    use opentelemetry_sdk::trace::SpanData;
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    /// A span of trace 1 that starts `id` seconds after 1970 and lasts 1.5 ms.
    pub(crate) fn span(id: u64, parent: Option<u64>, name: &str) -> Arc<SpanData> {
        of_trace(1, id, parent, name)
    }

    pub(crate) fn span_with(id: u64, parent: Option<u64>, name: &str, change: impl FnOnce(&mut SpanData)) -> Arc<SpanData> {
        let mut span = span(id, parent, name);
        change(Arc::make_mut(&mut span));
        span
    }

    pub(crate) fn of_trace(trace: u128, id: u64, parent: Option<u64>, name: &str) -> Arc<SpanData> {
        let start_time = SystemTime::UNIX_EPOCH + Duration::from_secs(id);
        Arc::new(SpanData {
            span_context: SpanContext::new(TraceId::from(trace), SpanId::from(id), TraceFlags::SAMPLED, false, TraceState::NONE),
            parent_span_id: parent.map_or(SpanId::INVALID, SpanId::from),
            parent_span_is_remote: false,
            span_kind: SpanKind::Server,
            name: name.to_string().into(),
            start_time,
            end_time: start_time + Duration::from_micros(1500),
            attributes: vec![KeyValue::new("tradepost.module", "order")],
            dropped_attributes_count: 0,
            events: Default::default(),
            links: Default::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::builder("tradepost").build(),
        })
    }
}
