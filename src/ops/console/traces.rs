//! The list of traces.

use super::filter::Filter;
use super::participant::Participant;
use crate::kernel::clock::rfc3339;
use crate::kernel::html::render;
use crate::kernel::problem::Problem;
use crate::observe::trace::export::zipkin::Span;
use crate::observe::trace::waterfall::{Waterfall, time};
use askama::Template;
use opentelemetry::trace::TraceId;
use serde::Serialize;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    trace_id: String,
    /// Name of the first span.
    name: String,
    /// Start in microseconds since 1970.
    timestamp: u64,
    /// In microseconds.
    duration: u64,
    /// Modules and services of its spans.
    services: Vec<String>,
    /// Number of spans, also of those not stored.
    spans: usize,
    /// Number of failed spans among the stored ones.
    errors: usize,
}

impl Summary {
    pub(super) fn of(id: &TraceId, spans: &[Span], cut: usize) -> Self {
        let fall = Waterfall::of(spans);
        Self {
            trace_id: id.to_string(),
            name: fall.root().map(|span| span.name.clone()).unwrap_or_default(),
            timestamp: fall.start,
            duration: fall.duration,
            services: fall.parties().into_iter().map(String::from).collect(),
            spans: spans.len() + cut,
            errors: fall.errors(),
        }
    }

    pub(super) fn matches(&self, filter: &Filter) -> bool {
        let query = filter.q.trim().to_lowercase();
        let mut texts = [&self.name, &self.trace_id].into_iter().chain(&self.services);
        (filter.errors.is_none() || self.errors > 0) && texts.any(|text| text.to_lowercase().contains(&query))
    }
}

#[derive(Template)]
#[template(path = "ops/console/templates/traces.html")]
struct Page<'a> {
    service: &'a str,
    filter: &'a Filter,
    rows: Vec<TraceRow<'a>>,
}

struct TraceRow<'a> {
    trace: &'a Summary,
    began: String,
    day: String,
    clock: String,
    participants: Vec<Participant<'a>>,
    duration: String,
}

impl<'a> TraceRow<'a> {
    fn of(trace: &'a Summary) -> Self {
        let began = rfc3339((trace.timestamp / 1000) as i64);
        let (day, clock) = began.split_once('T').unwrap_or_default();
        Self {
            trace,
            day: day.to_string(),
            clock: clock.trim_end_matches('Z').to_string(),
            participants: trace.services.iter().map(|name| Participant::of(name)).collect(),
            duration: time(trace.duration),
            began,
        }
    }
}

pub(super) fn page(service: &str, filter: &Filter, summaries: &[Summary]) -> Result<String, Problem> {
    render(&Page { service, filter, rows: summaries.iter().map(TraceRow::of).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::trace::export::tests::{span, span_with};
    use opentelemetry::KeyValue;
    use opentelemetry::trace::Status;

    fn summary(failed: bool) -> Summary {
        let first = span_with(1, None, "POST /<script>", |span| span.attributes = vec![KeyValue::new("tradepost.module", "order")]);
        let second = span_with(2, Some(1), "INSERT orders", |span| {
            if failed {
                span.status = Status::error("");
            }
        });
        let spans = [first, second, span(3, Some(1), "x")].map(|span| Span::of(&span, "tradepost").unwrap());
        Summary::of(&TraceId::from(1_u128), &spans, 4)
    }

    #[test]
    fn filter_by_name_module_id_or_errors_matches() {
        let filter = |q: &str, errors: bool| Filter { q: q.into(), errors: errors.then(|| "1".to_string()) };
        for (q, errors, found) in
            [("", false, true), (" post ", false, true), ("ORDER", false, true), ("0001", true, true), ("email", false, false)]
        {
            assert_eq!(summary(true).matches(&filter(q, errors)), found, "{q}");
        }
        assert!(!summary(false).matches(&filter("", true)));
    }

    /// Traces with no, one and several errors.
    fn summaries() -> Vec<Summary> {
        let trace = |id: &str, name: &str, errors, services: &[&str]| Summary {
            trace_id: id.into(),
            name: name.into(),
            timestamp: 1_700_000_000_123_000,
            duration: 12_345,
            services: services.iter().map(|name| name.to_string()).collect(),
            spans: 7,
            errors,
        };
        vec![
            trace("0af7651916cd43dd8448eb211c80319c", "POST /<script>", 0, &["gateway", "order", "s<v>c"]),
            trace("1af7651916cd43dd8448eb211c80319c", "", 1, &["tradepost"]),
            trace("2af7651916cd43dd8448eb211c80319c", "GET /api/v1/products", 2, &[]),
        ]
    }

    #[test]
    fn summary_with_cut_spans_counts_them() {
        assert_eq!(summary(true).spans, 7);
    }

    #[test]
    fn traces_page_matches_snapshots() {
        let filter = |q: &str, errors: Option<&str>| Filter { q: q.into(), errors: errors.map(String::from) };
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!("traces", page("tradepost", &filter("\"><b>", Some("1")), &summaries()).unwrap());
            insta::assert_snapshot!("traces-none", page("<shop>", &Filter::default(), &[]).unwrap());
            insta::assert_snapshot!("traces-nothing-found", page("tradepost", &filter("x", None), &[]).unwrap());
        });
    }
}
