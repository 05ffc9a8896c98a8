//! What becomes of recorded spans: each is given to every [`Sink`] the moment it ends, on the thread that ended
//! it. A sink takes it or leaves it, and never waits.

use super::ids::Ids;
use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, Span, SpanData, SpanProcessor};
use std::fmt::Debug;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Takes spans that have ended.
pub trait Sink: Send + Sync + Debug {
    /// Takes this one, or counts it as lost.
    fn take(&self, span: &Arc<SpanData>);
}

/// A process has one recorder, whatever runs in it.
static SINKS: RwLock<Vec<Arc<dyn Sink>>> = RwLock::new(Vec::new());

/// From now on these get every span.
pub fn to(sinks: Vec<Arc<dyn Sink>>) {
    *SINKS.write().unwrap_or_else(PoisonError::into_inner) = sinks;
}

/// Makes spans. What is sampled was decided before there was a span: here all are.
pub fn provider() -> SdkTracerProvider {
    SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOn).with_id_generator(Ids).with_span_processor(HandOver).build()
}

#[derive(Debug)]
struct HandOver;

impl SpanProcessor for HandOver {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        let span = Arc::new(span);
        for sink in SINKS.read().unwrap_or_else(PoisonError::into_inner).iter() {
            sink.take(&span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
