//! A buffer with the last traces of this process, for installations without Zipkin.

use super::sinks::Sink;
use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_sdk::trace::SpanData;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

const MAX_SPANS_PER_TRACE: usize = 250;

/// The last traces, each with its first spans. Evicts the oldest trace.
#[derive(Debug)]
pub struct TraceBuffer {
    capacity: usize,
    buffer: Mutex<BufferedTraces>,
}

#[derive(Debug, Default)]
struct BufferedTraces {
    traces: HashMap<TraceId, Spans>,
    oldest_first: VecDeque<TraceId>,
}

/// The spans of a trace, in the order in which they ended.
#[derive(Debug, Clone, Default)]
pub struct Spans {
    pub spans: Vec<Arc<SpanData>>,
    /// Number of dropped spans.
    pub dropped: usize,
}

impl TraceBuffer {
    /// `capacity`: number of traces, at least 1.
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), buffer: Mutex::default() }
    }

    /// All traces, the newest first.
    pub fn all(&self) -> Vec<(TraceId, Spans)> {
        let buffer = self.buffer.lock();
        buffer.oldest_first.iter().rev().filter_map(|id| Some((*id, buffer.traces.get(id)?.clone()))).collect()
    }

    pub fn get(&self, id: TraceId) -> Option<Spans> {
        self.buffer.lock().traces.get(&id).cloned()
    }
}

impl Sink for TraceBuffer {
    fn take(&self, span: &Arc<SpanData>) {
        let id = span.span_context.trace_id();
        let mut buffer = self.buffer.lock();
        let mut evicted = None;
        if !buffer.traces.contains_key(&id) {
            if buffer.oldest_first.len() >= self.capacity {
                evicted = buffer.oldest_first.pop_front().and_then(|oldest| buffer.traces.remove(&oldest));
            }
            buffer.oldest_first.push_back(id);
        }
        let trace = buffer.traces.entry(id).or_default();
        if trace.spans.len() < MAX_SPANS_PER_TRACE {
            trace.spans.push(span.clone());
        } else {
            trace.dropped += 1;
            // the root span ends last, and the waterfall needs it
            if span.parent_span_id == SpanId::INVALID || span.parent_span_is_remote {
                trace.spans.pop();
                trace.spans.push(span.clone());
            }
        }
        // free the evicted trace outside the lock
        drop(buffer);
        drop(evicted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::trace::export::tests::{of_trace, span};

    #[test]
    fn full_buffer_evicts_oldest_trace_and_adds_late_spans() {
        let memory = TraceBuffer::new(2);
        for trace in 1..=3 {
            memory.take(&of_trace(trace, 1, None, "a"));
        }
        memory.take(&of_trace(2, 2, Some(1), "late"));
        let buffer: Vec<_> = memory.all().into_iter().map(|(id, spans)| (u128::from_be_bytes(id.to_bytes()), spans.spans.len())).collect();
        assert_eq!(buffer, [(3, 1), (2, 2)]);
        assert!(memory.get(TraceId::from(1_u128)).is_none());
    }

    #[test]
    fn endless_trace_is_truncated_and_counts_dropped_spans() {
        let memory = TraceBuffer::new(1);
        (0..MAX_SPANS_PER_TRACE as u64 + 7).for_each(|id| memory.take(&span(id + 1, None, "a")));
        let buffer = memory.get(TraceId::from(1_u128)).unwrap();
        assert_eq!((buffer.spans.len(), buffer.dropped), (MAX_SPANS_PER_TRACE, 7));
    }
}
