//! The layout of a trace as a waterfall: a tree of spans, each below its parent, on one time axis.

use super::export::zipkin::Span;
use std::collections::{HashMap, HashSet};

#[derive(Debug)]
pub struct Waterfall<'a> {
    /// From top to bottom.
    pub rows: Vec<Row<'a>>,
    /// Start of the first span, in microseconds since 1970.
    pub start: u64,
    /// From the first start to the last end, in microseconds, at least 1.
    pub duration: u64,
}

#[derive(Debug)]
pub struct Row<'a> {
    pub span: &'a Span,
    /// Number of ancestors.
    pub depth: usize,
    /// Start relative to the trace, in microseconds.
    pub after: u64,
    /// The module or service that recorded the span.
    pub party: String,
    /// Whether the span's parent is missing.
    pub orphan: bool,
}

impl<'a> Waterfall<'a> {
    /// Lays out the spans of one trace, given in any order.
    pub fn of(spans: &'a [Span]) -> Self {
        let start = spans.iter().map(|span| span.timestamp).min().unwrap_or_default();
        let end = spans.iter().map(Span::end).max().unwrap_or_default();
        let known: HashSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
        let mut children: HashMap<Option<&str>, Vec<&Span>> = HashMap::new();
        for span in spans {
            let parent = span.parent_id.as_deref().filter(|parent| known.contains(parent) && *parent != span.id);
            children.entry(parent).or_default().push(span);
        }
        // in reverse order, as `stack` is last in, first out
        children.values_mut().for_each(|all| all.sort_by_key(|span| std::cmp::Reverse((span.timestamp, u64::MAX - span.duration))));
        let mut waterfall = Self { rows: Vec::with_capacity(spans.len()), start, duration: end.saturating_sub(start).max(1) };
        let roots = children.remove(&None).unwrap_or_default();
        let mut stack: Vec<_> = roots.into_iter().map(|span| (span, 0, None::<(String, &str)>)).collect();
        while let Some((span, depth, parent)) = stack.pop() {
            let who = party(span, parent);
            let below = children.remove(&Some(span.id.as_str())).unwrap_or_default();
            stack.extend(below.into_iter().map(|child| (child, depth + 1, Some((who.clone(), span.service_name())))));
            let orphan = depth == 0 && span.parent_id.is_some();
            waterfall.rows.push(Row { span, depth, after: span.timestamp.saturating_sub(start), party: who, orphan });
        }
        waterfall
    }

    /// The first span, which names the trace.
    pub fn root(&self) -> Option<&Span> {
        self.rows.first().map(|row| row.span)
    }

    pub fn errors(&self) -> usize {
        self.rows.iter().filter(|row| row.span.error().is_some()).count()
    }

    /// Modules and services of the trace, in order of appearance.
    pub fn parties(&self) -> Vec<&str> {
        let mut parties: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !parties.contains(&row.party.as_str()) {
                parties.push(&row.party);
            }
        }
        parties
    }
}

/// The span's module or consumer group; else that of its parent, if the parent is in the same service; else the
/// service.
fn party(span: &Span, parent: Option<(String, &str)>) -> String {
    let own = ["tradepost.module", "messaging.consumer.group.name"].into_iter().find_map(|key| span.tags.get(key));
    let inherited = parent.filter(|(_, service)| *service == span.service_name()).map(|(party, _)| party);
    own.cloned().or(inherited).unwrap_or_else(|| span.service_name().to_string())
}

/// Formats microseconds: `940 µs`, `12.3 ms`, `4.56 s`.
pub fn time(us: u64) -> String {
    match us {
        0..1000 => format!("{us} µs"),
        1000..10_000 => format!("{:.2} ms", us as f64 / 1e3),
        10_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn span(id: &str, parent: Option<&str>, at: u64, service: &str) -> Span {
        let json = json!({ "traceId": "1", "id": id, "parentId": parent, "name": id, "timestamp": at, "duration": 10,
                           "localEndpoint": { "serviceName": service } });
        serde_json::from_value(json).unwrap()
    }

    fn lines(spans: &[Span]) -> Vec<String> {
        let waterfall = Waterfall::of(spans);
        let mark = |row: &Row<'_>| if row.orphan { "?" } else { "" };
        waterfall
            .rows
            .iter()
            .map(|row| format!("{}{}{} +{} {}", " ".repeat(row.depth), row.span.id, mark(row), row.after, row.party))
            .collect()
    }

    #[test]
    fn spans_in_any_order_are_sorted_below_their_parent_by_start() {
        let mut place = span("place", Some("post"), 101, "tradepost");
        place.tags.insert("tradepost.module".into(), "order".into());
        let spans = [
            span("email", Some("place"), 300, "tradepost"),
            span("insert", Some("place"), 105, "tradepost"),
            place,
            span("post", None, 100, "tradepost"),
            span("product", Some("place"), 102, "product-service"),
        ];
        assert_eq!(
            lines(&spans),
            ["post +0 tradepost", " place +1 order", "  product +2 product-service", "  insert +5 order", "  email +200 order"]
        );
        assert_eq!(Waterfall::of(&spans).duration, 210);
        assert_eq!(Waterfall::of(&spans).parties(), ["tradepost", "order", "product-service"]);
    }

    #[test]
    fn span_with_missing_parent_is_an_orphan_root() {
        assert_eq!(lines(&[span("b", Some("far"), 2, "x"), span("a", None, 1, "x")]), ["a +0 x", "b? +1 x"]);
        assert!(lines(&[]).is_empty());
    }

    #[test]
    fn cyclic_parents_do_not_loop() {
        let ring = [span("a", Some("b"), 1, "x"), span("b", Some("a"), 2, "x"), span("c", Some("c"), 3, "x")];
        assert_eq!(lines(&ring), ["c? +2 x"]);
    }

    #[test]
    fn times_are_formatted_with_a_unit() {
        assert_eq!([7, 1234, 12_345, 1_234_567].map(time), ["7 µs", "1.23 ms", "12.3 ms", "1.23 s"]);
    }
}
