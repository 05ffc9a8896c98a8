//! The last traces of this process, kept in memory: for whoever has no Zipkin yet.

use super::sinks::Sink;
use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_sdk::trace::SpanData;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Spans of one trace at most.
const MOST_SPANS: usize = 250;

/// So many traces, each with its first spans. The trace that began to be recorded first goes first.
#[derive(Debug)]
pub struct Memory {
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    traces: HashMap<TraceId, Spans>,
    order: VecDeque<TraceId>,
}

/// The spans of a trace, in the order in which they ended.
#[derive(Debug, Clone, Default)]
pub struct Spans {
    /// Those that are kept.
    pub spans: Vec<Arc<SpanData>>,
    /// How many more there were.
    pub cut: usize,
}

impl Memory {
    /// For so many traces, 1 at least.
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), kept: Mutex::default() }
    }

    /// All traces, the last to begin first.
    pub fn all(&self) -> Vec<(TraceId, Spans)> {
        let kept = self.kept.lock();
        kept.order.iter().rev().filter_map(|id| Some((*id, kept.traces.get(id)?.clone()))).collect()
    }

    /// One of them.
    pub fn get(&self, id: TraceId) -> Option<Spans> {
        self.kept.lock().traces.get(&id).cloned()
    }
}

impl Sink for Memory {
    fn take(&self, span: &Arc<SpanData>) {
        let id = span.span_context.trace_id();
        let mut kept = self.kept.lock();
        let mut gone = None;
        if !kept.traces.contains_key(&id) {
            if kept.order.len() >= self.most {
                gone = kept.order.pop_front().and_then(|oldest| kept.traces.remove(&oldest));
            }
            kept.order.push_back(id);
        }
        let trace = kept.traces.entry(id).or_default();
        if trace.spans.len() < MOST_SPANS {
            trace.spans.push(span.clone());
        } else {
            trace.cut += 1;
            // the first step ends last, and is what the others hang on
            if span.parent_span_id == SpanId::INVALID || span.parent_span_is_remote {
                trace.spans.pop();
                trace.spans.push(span.clone());
            }
        }
        // its memory is given back when nobody waits for the lock
        drop(kept);
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::trace::export::tests::{of_trace, span};

    #[test]
    fn the_oldest_trace_goes_and_what_comes_late_is_added() {
        let memory = Memory::new(2);
        for trace in 1..=3 {
            memory.take(&of_trace(trace, 1, None, "a"));
        }
        memory.take(&of_trace(2, 2, Some(1), "late"));
        let kept: Vec<_> = memory.all().into_iter().map(|(id, spans)| (u128::from_be_bytes(id.to_bytes()), spans.spans.len())).collect();
        assert_eq!(kept, [(3, 1), (2, 2)]);
        assert!(memory.get(TraceId::from(1_u128)).is_none());
    }

    #[test]
    fn a_trace_without_end_is_cut_and_says_so() {
        let memory = Memory::new(1);
        (0..MOST_SPANS as u64 + 7).for_each(|id| memory.take(&span(id + 1, None, "a")));
        let kept = memory.get(TraceId::from(1_u128)).unwrap();
        assert_eq!((kept.spans.len(), kept.cut), (MOST_SPANS, 7));
    }
}
