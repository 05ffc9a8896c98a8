//! A step of a trace while it lasts.

use super::{Trace, export};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry::{Context, KeyValue, Value};
use std::sync::Arc;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// What marks the spans that become OpenTelemetry's among all of `tracing`'s.
pub const TARGET: &str = "tradepost::span";

/// Characters of an attribute at most.
const LONGEST: usize = 2048;

tokio::task_local! {
    static CURRENT: Span;
}

/// Whose side of what a span tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request that is answered.
    Server,
    /// One that is made.
    Client,
    /// An event that is sent.
    Producer,
    /// One that is applied.
    Consumer,
    /// What stays within the process.
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

    /// Whether what it follows from is commonly in another process.
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

/// A step under way: it ends when the last clone is dropped. Where its trace is not sampled it is two ids.
#[derive(Debug, Clone)]
pub struct Span {
    trace: Trace,
    /// The vendors' part of a W3C context, handed on as it came.
    state: Option<Arc<str>>,
    /// Ends it when the last clone is dropped.
    _open: tracing::Span,
    /// What it is to OpenTelemetry, once it has begun: the way by `tracing` is longer.
    recorded: Option<Context>,
}

impl Span {
    /// One that is not recorded.
    pub fn unrecorded(trace: Trace) -> Self {
        Self { trace, state: None, _open: tracing::Span::none(), recorded: None }
    }

    /// The first of a trace that is recorded.
    pub fn root(kind: Kind, name: &str) -> Self {
        Self::open(None, kind, name)
    }

    /// The next step of a trace, recorded where the trace is.
    pub fn child(parent: Trace, kind: Kind, name: impl FnOnce() -> String) -> Self {
        if !parent.sampled || !export::is_watched() {
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
            // nobody records here: logging was not started
            None => Self::unrecorded(Trace { sampled: false, ..parent.map_or_else(Trace::start, Trace::child) }),
        }
    }

    /// With the vendors' part of the context that it came with.
    pub fn with_state(self, state: Option<Arc<str>>) -> Self {
        Self { state, ..self }
    }

    /// What follows from it belongs here.
    pub fn trace(&self) -> Trace {
        self.trace
    }

    /// The vendors' part of the context.
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// Whether anybody will see it: what costs something to find out need not be found out otherwise.
    pub fn is_recorded(&self) -> bool {
        self.recorded.is_some()
    }

    /// Sets an attribute, once: the recorder would keep both. Text is cut: it may be a stranger's.
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        if let Some(recorded) = &self.recorded {
            recorded.span().set_attribute(KeyValue::new(key, cut(value.into())));
        }
    }

    /// Gives it another name: where what is done is known only while it is done.
    pub fn rename(&self, name: impl Into<String>) {
        if let Some(recorded) = &self.recorded {
            recorded.span().update_name(name.into());
        }
    }

    /// It did not do what it was to do; `kind` is one of few words, or a status. Once, too.
    pub fn fail(&self, kind: impl Into<String>) {
        if let Some(recorded) = &self.recorded {
            self.set("error.type", kind.into());
            recorded.span().set_status(Status::error(""));
        }
    }

    /// Points at a step that it has to do with, beside the one it follows from.
    pub fn link(&self, to: Trace) {
        if let Some(recorded) = &self.recorded {
            recorded.span().add_link(remote(to, true), Vec::new());
        }
    }

    /// Whatever is done meanwhile is done in this span: stores and logs see it.
    pub fn scope<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        CURRENT.scope(self.clone(), work)
    }

    /// The same on this thread, for what does not wait.
    pub fn sync_scope<T>(&self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.clone(), work)
    }
}

fn cut(value: Value) -> Value {
    match value {
        Value::String(text) if text.as_str().len() > LONGEST => text.as_str().chars().take(LONGEST).collect::<String>().into(),
        value => value,
    }
}

fn remote(trace: Trace, remote: bool) -> SpanContext {
    let flags = TraceFlags::default().with_sampled(trace.sampled);
    let (trace_id, span_id) = (TraceId::from(trace.trace_id), SpanId::from(trace.span_id));
    SpanContext::new(trace_id, span_id, flags, remote, TraceState::NONE)
}

/// The span that is under way here.
pub fn current() -> Option<Span> {
    CURRENT.try_with(Clone::clone).ok()
}

/// A span for work on a store, where it is done in one that is recorded.
pub fn on_store(system: &'static str, store: &str) -> Option<Span> {
    let parent = CURRENT.try_with(|span| span.is_recorded().then_some(span.trace)).ok().flatten()?;
    let span = Span::child(parent, Kind::Client, || store.to_string());
    span.set("db.system.name", system);
    span.set("db.namespace", store.to_string());
    Some(span)
}

/// Work for another task, in the span of this one.
pub fn inherit<F: Future>(work: F) -> impl Future<Output = F::Output> + use<F> {
    current().unwrap_or_else(|| Span::unrecorded(Trace::start())).scope(work)
}
