//! A trace as a waterfall: its spans as a tree, each after the one that it follows from, on one time axis.

use super::export::zipkin::Span;
use std::collections::{HashMap, HashSet};

/// A trace, laid out.
#[derive(Debug)]
pub struct Waterfall<'a> {
    /// Its spans from top to bottom.
    pub rows: Vec<Row<'a>>,
    /// When the first began, in microseconds since 1970.
    pub start: u64,
    /// How long it took from the first beginning to the last end, in microseconds, 1 at least.
    pub duration: u64,
}

/// A span in its place.
#[derive(Debug)]
pub struct Row<'a> {
    /// What it tells.
    pub span: &'a Span,
    /// How many stand above it.
    pub depth: usize,
    /// How long after the trace it began, in microseconds.
    pub after: u64,
    /// The module or service that did it.
    pub who: String,
    /// Whether it names a span as the one it follows from that is not here.
    pub orphan: bool,
}

impl<'a> Waterfall<'a> {
    /// Of one trace's spans, in any order.
    pub fn of(spans: &'a [Span]) -> Self {
        let start = spans.iter().map(|span| span.timestamp).min().unwrap_or_default();
        let end = spans.iter().map(Span::end).max().unwrap_or_default();
        let known: HashSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
        let mut below: HashMap<Option<&str>, Vec<&Span>> = HashMap::new();
        for span in spans {
            let parent = span.parent_id.as_deref().filter(|parent| known.contains(parent) && *parent != span.id);
            below.entry(parent).or_default().push(span);
        }
        // the last one is taken first
        below.values_mut().for_each(|all| all.sort_by_key(|span| std::cmp::Reverse((span.timestamp, u64::MAX - span.duration))));
        let mut fall = Self { rows: Vec::with_capacity(spans.len()), start, duration: end.saturating_sub(start).max(1) };
        let first = below.remove(&None).unwrap_or_default();
        let mut next: Vec<_> = first.into_iter().map(|span| (span, 0, None::<(String, &str)>)).collect();
        while let Some((span, depth, above)) = next.pop() {
            let who = who(span, above);
            let followers = below.remove(&Some(span.id.as_str())).unwrap_or_default();
            next.extend(followers.into_iter().map(|follower| (follower, depth + 1, Some((who.clone(), span.who())))));
            let orphan = depth == 0 && span.parent_id.is_some();
            fall.rows.push(Row { span, depth, after: span.timestamp.saturating_sub(start), who, orphan });
        }
        fall
    }

    /// The first span: what the trace is called by.
    pub fn root(&self) -> Option<&Span> {
        self.rows.first().map(|row| row.span)
    }

    /// How many spans failed.
    pub fn errors(&self) -> usize {
        self.rows.iter().filter(|row| row.span.error().is_some()).count()
    }

    /// Who took part, in the order in which they came in.
    pub fn parties(&self) -> Vec<&str> {
        let mut parties: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !parties.contains(&row.who.as_str()) {
                parties.push(&row.who);
            }
        }
        parties
    }
}

/// By the span itself; else whoever did what it follows from, where that is the same process.
fn who(span: &Span, above: Option<(String, &str)>) -> String {
    let own = ["tradepost.module", "messaging.consumer.group.name"].into_iter().find_map(|key| span.tags.get(key));
    let inherited = above.filter(|(_, service)| *service == span.who()).map(|(who, _)| who);
    own.cloned().or(inherited).unwrap_or_else(|| span.who().to_string())
}

/// A time in microseconds for people: `940 µs`, `12.3 ms`, `4.56 s`.
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
        let fall = Waterfall::of(spans);
        let mark = |row: &Row<'_>| if row.orphan { "?" } else { "" };
        fall.rows.iter().map(|row| format!("{}{}{} +{} {}", " ".repeat(row.depth), row.span.id, mark(row), row.after, row.who)).collect()
    }

    #[test]
    fn steps_stand_below_what_they_follow_from_in_the_order_in_which_they_began() {
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
    fn whose_parent_is_elsewhere_stands_at_the_left_and_is_marked() {
        assert_eq!(lines(&[span("b", Some("far"), 2, "x"), span("a", None, 1, "x")]), ["a +0 x", "b? +1 x"]);
        assert!(lines(&[]).is_empty());
    }

    #[test]
    fn a_ring_is_no_trap() {
        let ring = [span("a", Some("b"), 1, "x"), span("b", Some("a"), 2, "x"), span("c", Some("c"), 3, "x")];
        assert_eq!(lines(&ring), ["c? +2 x"]);
    }

    #[test]
    fn times_are_short() {
        assert_eq!([7, 1234, 12_345, 1_234_567].map(time), ["7 µs", "1.23 ms", "12.3 ms", "1.23 s"]);
    }
}
