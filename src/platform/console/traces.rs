//! The list of traces.

use super::{Filter, style};
use crate::platform::clock::rfc3339;
use crate::platform::html::escape;
use crate::platform::trace::export::zipkin::Span;
use crate::platform::trace::waterfall::{Waterfall, time};
use opentelemetry::trace::TraceId;
use serde::Serialize;
use std::fmt::Write;

/// A trace in a line.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    trace_id: String,
    /// The name of its first span.
    name: String,
    /// When it began, in microseconds since 1970.
    timestamp: u64,
    /// In microseconds.
    duration: u64,
    /// Who took part.
    services: Vec<String>,
    /// How many spans there were.
    spans: usize,
    /// How many of those that are kept failed.
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
        let sought = filter.q.trim().to_lowercase();
        let mut texts = [&self.name, &self.trace_id].into_iter().chain(&self.services);
        (filter.errors.is_none() || self.errors > 0) && texts.any(|text| text.to_lowercase().contains(&sought))
    }
}

/// The page.
pub(super) fn page(service: &str, filter: &Filter, listed: &[Summary]) -> String {
    let checked = if filter.errors.is_some() { " checked" } else { "" };
    let mut body = format!(
        "<h1>Traces</h1>\n<p class=\"soft\">What <strong>{}</strong> did lately, as far as it was recorded. The newest come first.</p>\n\
         <form method=\"get\" action=\"/console/traces\" role=\"search\">\n\
         <label for=\"q\">Name, module or trace id</label>\n<input id=\"q\" name=\"q\" type=\"search\" value=\"{}\">\n\
         <label><input type=\"checkbox\" name=\"errors\" value=\"1\"{checked}> failed only</label>\n<button type=\"submit\">Show</button>\n</form>\n",
        escape(service),
        escape(&filter.q)
    );
    if listed.is_empty() {
        let why = if filter.q.is_empty() && filter.errors.is_none() {
            "No trace is kept yet: place an order and load this page again. <code>telemetry.sample</code> says how many are recorded."
        } else {
            "No trace that is kept matches. <a href=\"/console/traces\">Show all</a>"
        };
        let _ = writeln!(body, "<section><p class=\"soft\">{why}</p></section>");
        return style::document("Traces", &body);
    }
    body.push_str(
        "<section>\n<table>\n<thead><tr><th scope=\"col\">Began (UTC)</th><th scope=\"col\">Trace</th><th scope=\"col\">Who</th>\
         <th scope=\"col\" class=\"number\">Duration</th><th scope=\"col\" class=\"number\">Spans</th><th scope=\"col\">Outcome</th></tr></thead>\n<tbody>\n",
    );
    listed.iter().for_each(|trace| line(&mut body, trace));
    body.push_str("</tbody>\n</table>\n</section>\n");
    style::document("Traces", &body)
}

fn line(body: &mut String, trace: &Summary) {
    let began = rfc3339((trace.timestamp / 1000) as i64);
    let (day, clock) = began.split_once('T').unwrap_or_default();
    let who: String = trace.services.iter().map(|who| style::party(who)).collect::<Vec<_>>().join(" ");
    let outcome = match trace.errors {
        0 => "<span class=\"state\">ok</span>".to_string(),
        1 => "<span class=\"state bad\">1 error</span>".to_string(),
        many => format!("<span class=\"state bad\">{many} errors</span>"),
    };
    let _ = writeln!(
        body,
        "<tr><td><time datetime=\"{began}\"><span class=\"soft\">{day}</span> {}</time></td>\
         <td><a href=\"/console/traces/{}\">{}</a></td><td>{who}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td>{outcome}</td></tr>",
        clock.trim_end_matches('Z'),
        escape(&trace.trace_id),
        escape(if trace.name.is_empty() { "(no name)" } else { &trace.name }),
        time(trace.duration),
        trace.spans,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::trace::export::tests::{span, span_with};
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
    fn a_trace_is_found_by_name_module_and_id_and_by_its_errors() {
        let asks = |q: &str, errors: bool| Filter { q: q.into(), errors: errors.then(|| "1".to_string()) };
        for (q, errors, found) in
            [("", false, true), (" post ", false, true), ("ORDER", false, true), ("0001", true, true), ("email", false, false)]
        {
            assert_eq!(summary(true).matches(&asks(q, errors)), found, "{q}");
        }
        assert!(!summary(false).matches(&asks("", true)));
    }

    #[test]
    fn a_name_is_a_text_and_spans_that_were_cut_are_counted() {
        let page = page("tradepost", &Filter { q: "\"><b>".into(), errors: None }, &[summary(true)]);
        assert!(page.contains("POST /&lt;script&gt;") && page.contains("value=\"&quot;&gt;&lt;b&gt;\""), "{page}");
        assert!(page.contains("<td class=\"number\">7</td>") && page.contains("1 error"), "{page}");
    }
}
