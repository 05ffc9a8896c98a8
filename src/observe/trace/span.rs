//! An open span of a trace.

use super::{Trace, export};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry::{Context, KeyValue, Value};
use std::sync::Arc;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// `tracing` target of the spans that are converted to OpenTelemetry spans.
pub const TARGET: &str = "tradepost::span";

/// Text of more bytes is truncated to as many characters.
const MAX_ATTRIBUTE_LEN: usize = 2048;

tokio::task_local! {
    static CURRENT: Span;
}

/// OpenTelemetry's span kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Server,
    Client,
    Producer,
    Consumer,
    Internal,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Server => "server",
            Kind::Client => "client",
            Kind::Producer => "producer",
            Kind::Consumer => "consumer",
            Kind::Internal => "internal",
        }
    }

    /// Whether the parent span is usually in another process.
    fn is_entry(self) -> bool {
        matches!(self, Kind::Server | Kind::Consumer)
    }
}

impl From<&SpanKind> for Kind {
    fn from(kind: &SpanKind) -> Self {
        match kind {
            SpanKind::Server => Kind::Server,
            SpanKind::Client => Kind::Client,
            SpanKind::Producer => Kind::Producer,
            SpanKind::Consumer => Kind::Consumer,
            SpanKind::Internal => Kind::Internal,
        }
    }
}

/// An open span, which ends when its last clone is dropped. If its trace is not sampled, it only holds the ids.
#[derive(Debug, Clone)]
pub struct Span {
    trace: Trace,
    /// `tracestate`, forwarded unchanged.
    state: Option<Arc<str>>,
    /// Ends the recorded span on drop.
    _open: tracing::Span,
    /// Direct access to the OpenTelemetry span, as access through `tracing` is slower.
    recorded: Option<Context>,
}

impl Span {
    pub fn unrecorded(trace: Trace) -> Self {
        Self { trace, state: None, _open: tracing::Span::none(), recorded: None }
    }

    /// Starts a recorded trace.
    pub fn root(kind: Kind, name: &str) -> Self {
        Self::open(None, kind, name)
    }

    /// Starts a child span, which is recorded if the trace is sampled.
    pub fn child(parent: Trace, kind: Kind, name: impl FnOnce() -> String) -> Self {
        if !parent.sampled || !export::has_sinks() {
            return Self::unrecorded(parent.child());
        }
        let state = CURRENT.try_with(|span| span.state.clone().filter(|_| span.trace.trace_id == parent.trace_id));
        Self { state: state.ok().flatten(), ..Self::open(Some(parent), kind, &name()) }
    }

    fn open(parent: Option<Trace>, kind: Kind, name: &str) -> Self {
        let inner = tracing::info_span!(target: TARGET, parent: None, "span", otel.name = name, otel.kind = kind.name());
        if let Some(parent) = parent {
            let _ = inner.set_parent(Context::new().with_remote_span_context(remote(parent, kind.is_entry())));
        }
        let context = inner.context();
        let opened = context.span().span_context().clone();
        let (trace_id, span_id) = (u128::from_be_bytes(opened.trace_id().to_bytes()), u64::from_be_bytes(opened.span_id().to_bytes()));
        match (Trace { trace_id, span_id, sampled: true }).valid() {
            Some(trace) => Self { trace, state: None, _open: inner, recorded: Some(context) },
            // no subscriber: logging was not started
            None => Self::unrecorded(Trace { sampled: false, ..parent.map_or_else(Trace::start, Trace::child) }),
        }
    }

    pub fn with_state(self, state: Option<Arc<str>>) -> Self {
        Self { state, ..self }
    }

    /// The parent of child spans.
    pub fn trace(&self) -> Trace {
        self.trace
    }

    /// `tracestate`.
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// Lets callers skip expensive attributes.
    pub fn is_recorded(&self) -> bool {
        self.recorded.is_some()
    }

    /// Sets an attribute. Call it once per key, as a second value is added to the first. Text is truncated, as it may
    /// come from an untrusted client.
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        if let Some(recorded) = &self.recorded {
            recorded.span().set_attribute(KeyValue::new(key, truncate(value.into())));
        }
    }

    /// For spans whose name is known only after they started.
    pub fn rename(&self, name: impl Into<String>) {
        if let Some(recorded) = &self.recorded {
            recorded.span().update_name(name.into());
        }
    }

    /// Marks the span as failed. `kind` is one of few words, or a status. Call it once.
    pub fn fail(&self, kind: impl Into<String>) {
        if let Some(recorded) = &self.recorded {
            self.set("error.type", kind.into());
            recorded.span().set_status(Status::error(""));
        }
    }

    /// Links to a related span that is not the parent.
    pub fn link(&self, to: Trace) {
        if let Some(recorded) = &self.recorded {
            recorded.span().add_link(remote(to, true), Vec::new());
        }
    }

    /// Runs `work` with this span as the current one, which stores and logs use.
    pub fn scope<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        CURRENT.scope(self.clone(), work)
    }

    /// [`Span::scope`] for synchronous work.
    pub fn sync_scope<T>(&self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.clone(), work)
    }
}

fn truncate(value: Value) -> Value {
    match value {
        Value::String(text) if text.as_str().len() > MAX_ATTRIBUTE_LEN => {
            text.as_str().chars().take(MAX_ATTRIBUTE_LEN).collect::<String>().into()
        }
        value => value,
    }
}

fn remote(trace: Trace, remote: bool) -> SpanContext {
    let flags = TraceFlags::default().with_sampled(trace.sampled);
    let (trace_id, span_id) = (TraceId::from(trace.trace_id), SpanId::from(trace.span_id));
    SpanContext::new(trace_id, span_id, flags, remote, TraceState::NONE)
}

/// The current span of this task.
pub fn current() -> Option<Span> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Starts a span for work on a store, if the current span is recorded.
pub fn store_span(system: &'static str, store: &str) -> Option<Span> {
    let parent = CURRENT.try_with(|span| span.is_recorded().then_some(span.trace)).ok().flatten()?;
    let span = Span::child(parent, Kind::Client, || store.to_string());
    span.set("db.system.name", system);
    span.set("db.namespace", store.to_string());
    Some(span)
}

/// Wraps work for another task, so that it runs in the current span.
pub fn in_current_span<F: Future>(work: F) -> impl Future<Output = F::Output> + use<F> {
    current().unwrap_or_else(|| Span::unrecorded(Trace::start())).scope(work)
}
