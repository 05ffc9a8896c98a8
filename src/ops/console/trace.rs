//! One trace, as a waterfall.

use super::participant::Participant;
use crate::kernel::clock::rfc3339;
use crate::kernel::html::render;
use crate::kernel::problem::Problem;
use crate::observe::trace::export::zipkin::Span;
use crate::observe::trace::waterfall::{Row, Waterfall, time};
use askama::Template;
use std::borrow::Cow;

/// Deeper spans are not indented further, to leave room for their names.
const MAX_INDENT_DEPTH: usize = 16;

#[derive(Template)]
#[template(path = "ops/console/templates/trace.html")]
struct Page<'a> {
    id: &'a str,
    /// Name of the first span.
    name: &'a str,
    began: String,
    duration: String,
    /// Number of spans that were not stored.
    cut: usize,
    errors: usize,
    participants: Vec<Participant<'a>>,
    /// Marks of the time axis: position in percent, and time.
    axis: [(u64, String); 5],
    rows: Vec<SpanRow<'a>>,
}

struct SpanRow<'a> {
    /// In `rem`.
    indent: String,
    participant: Participant<'a>,
    name: &'a str,
    kind: String,
    error: Option<&'a str>,
    /// The parent span is not part of this trace's stored spans.
    orphan: bool,
    /// In percent of the trace's duration, as is `width`.
    left: String,
    width: String,
    /// CSS position of the duration label.
    label: String,
    duration: String,
    details: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// `cut` is the number of spans that were not stored.
pub(super) fn page(id: &str, spans: &[Span], cut: usize) -> Result<String, Problem> {
    let fall = Waterfall::of(spans);
    render(&Page {
        id,
        name: fall.root().map_or("", |span| span.name.as_str()),
        began: rfc3339((fall.start / 1000) as i64),
        duration: time(fall.duration),
        cut,
        errors: fall.errors(),
        participants: fall.parties().into_iter().map(Participant::of).collect(),
        axis: [0, 1, 2, 3, 4].map(|quarter| (quarter * 25, time(fall.duration / 4 * quarter))),
        rows: fall.rows.iter().map(|row| span_row(row, fall.duration)).collect(),
    })
}

fn span_row<'a>(row: &'a Row<'_>, duration: u64) -> SpanRow<'a> {
    let span = row.span;
    let share = |us: u64| us as f64 * 100.0 / duration as f64;
    let (left, width) = (share(row.after), share(span.duration));
    SpanRow {
        indent: (row.depth.min(MAX_INDENT_DEPTH) as f64 * 0.9).to_string(),
        participant: Participant::of(&row.party),
        name: if span.name.is_empty() { "(no name)" } else { &span.name },
        kind: span.kind.as_deref().unwrap_or("internal").to_lowercase(),
        error: span.error(),
        orphan: row.orphan,
        left: format!("{left:.3}"),
        width: format!("{width:.3}"),
        // right of the bar if there is room
        label: if left + width > 80.0 { format!("right:{:.3}%", 100.0 - left) } else { format!("left:{:.3}%", left + width) },
        duration: time(span.duration),
        details: details(row),
    }
}

fn details<'a>(row: &'a Row<'_>) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
    let span = row.span;
    let mut all: Vec<(Cow<'a, str>, Cow<'a, str>)> = vec![
        ("began".into(), format!("{} after the trace", time(row.after)).into()),
        ("service".into(), span.service_name().into()),
        ("span id".into(), span.id.as_str().into()),
        ("parent span".into(), span.parent_id.as_deref().unwrap_or("none").into()),
    ];
    if let Some(remote) = &span.remote_endpoint {
        let host = remote.ipv4.as_deref().or(remote.ipv6.as_deref());
        let port = remote.port.map(|port| format!(":{port}")).unwrap_or_default();
        let address = host.map(|host| format!("{host}{port}"));
        let remote = remote.service_name.iter().cloned().chain(address).collect::<Vec<_>>().join(" at ");
        all.push(("remote".into(), remote.into()));
    }
    all.extend(span.tags.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())));
    for annotation in &span.annotations {
        let at = time(annotation.timestamp.saturating_sub(span.timestamp));
        all.push((format!("after {at}").into(), annotation.value.as_str().into()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Covers the page's cases: modules, kinds, a failure, an orphan, a remote endpoint, an annotation, no name.
    fn order_trace() -> Vec<Span> {
        serde_json::from_value(json!([
            { "traceId": "1", "id": "a", "name": "POST /api/v1/orders", "timestamp": 1_700_000_000_000_000_u64, "duration": 24_000, "kind": "SERVER",
              "localEndpoint": { "serviceName": "gateway" }, "tags": { "http.status_code": "503", "k": "<i>&'\"" } },
            { "traceId": "1", "id": "b", "parentId": "a", "name": "order place", "timestamp": 1_700_000_000_002_000_u64, "duration": 21_500, "kind": "CLIENT",
              "localEndpoint": { "serviceName": "gateway" }, "remoteEndpoint": { "serviceName": "order-service", "ipv4": "10.0.0.7", "port": 8080 },
              "tags": { "tradepost.module": "order", "error": "5<0>3" }, "annotations": [{ "timestamp": 1_700_000_000_003_000_u64, "value": "again & again" }] },
            { "traceId": "1", "id": "c", "parentId": "b", "name": "", "timestamp": 1_700_000_000_005_000_u64, "duration": 900,
              "localEndpoint": { "serviceName": "tradepost" }, "remoteEndpoint": { "ipv6": "::1" } },
            { "traceId": "1", "id": "d", "parentId": "gone", "name": "send <order>", "timestamp": 1_700_000_000_020_000_u64, "duration": 4_000, "kind": "PRODUCER",
              "localEndpoint": { "serviceName": "s<v>c" } },
        ]))
        .unwrap()
    }

    #[test]
    fn trace_page_matches_snapshots() {
        let spans = order_trace();
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!("trace", page("0af7651916cd43dd8448eb211c80319c", &spans, 3).unwrap());
            insta::assert_snapshot!("trace-one", page("1", &spans[2..3], 0).unwrap());
        });
    }
}
