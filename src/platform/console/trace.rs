//! One trace, as a waterfall.

use super::style;
use crate::platform::clock::rfc3339;
use crate::platform::html::escape;
use crate::platform::trace::export::zipkin::Span;
use crate::platform::trace::waterfall::{Row, Waterfall, time};
use std::fmt::Write;

/// Deeper ones are not moved further to the right: their names must have room.
const DEEPEST: usize = 16;

/// The page; `cut` spans are not shown.
pub(super) fn page(id: &str, spans: &[Span], cut: usize) -> String {
    let fall = Waterfall::of(spans);
    let name = fall.root().map_or("", |span| span.name.as_str());
    let mut body = format!("<p><a href=\"/console/traces\">All traces</a></p>\n<h1>{}</h1>\n", escape(name));
    summary(&mut body, id, &fall, cut);
    let _ = write!(body, "<section class=\"fall\" aria-label=\"Waterfall\">\n<div class=\"axis\" aria-hidden=\"true\"><span></span><div>");
    for quarter in 0..=4 {
        let _ = write!(body, "<span style=\"left:{}%\">{}</span>", quarter * 25, time(fall.duration / 4 * quarter));
    }
    body.push_str("</div></div>\n");
    fall.rows.iter().for_each(|row| line(&mut body, row, &fall));
    body.push_str("</section>\n");
    style::document(if name.is_empty() { "Trace" } else { name }, &body)
}

fn summary(body: &mut String, id: &str, fall: &Waterfall<'_>, cut: usize) {
    let who: Vec<_> = fall.parties().into_iter().map(style::party).collect();
    let errors = fall.errors();
    let errors = if errors == 0 { "none".to_string() } else { format!("<span class=\"state bad\">{errors}</span>") };
    let more = if cut == 0 { String::new() } else { format!(", and {cut} more that are not kept") };
    body.push_str("<section aria-label=\"The trace\">\n<dl>\n");
    for (term, value) in [
        ("Trace id", format!("<code>{}</code>", escape(id))),
        ("Began", rfc3339((fall.start / 1000) as i64)),
        ("Duration", time(fall.duration)),
        ("Spans", format!("{}{more}", fall.rows.len())),
        ("Errors", errors),
        ("Who", who.join(" ")),
        ("As", format!("<a href=\"/console/traces/{}.json\">JSON</a>", escape(id))),
    ] {
        let _ = writeln!(body, "<div><dt>{term}</dt><dd>{value}</dd></div>");
    }
    body.push_str("</dl>\n</section>\n");
}

fn line(body: &mut String, row: &Row<'_>, fall: &Waterfall<'_>) {
    let span = row.span;
    let share = |us: u64| us as f64 * 100.0 / fall.duration as f64;
    let (left, width) = (share(row.after), share(span.duration));
    let colour = style::colour(&row.who);
    let kind = span.kind.as_deref().unwrap_or("internal").to_lowercase();
    let failed = span.error().map(|error| format!(" <span class=\"state bad\">{}</span>", escape(error))).unwrap_or_default();
    let orphan = if row.orphan { " <span class=\"soft\" title=\"what it follows from is not here\">continued</span>" } else { "" };
    // a label stands beside its bar, where there is room
    let label = if left + width > 80.0 { format!("right:{:.3}%", 100.0 - left) } else { format!("left:{:.3}%", left + width) };
    let bad = if span.error().is_some() { " failed" } else { "" };
    let _ = writeln!(
        body,
        "<details><summary><span class=\"name\" style=\"padding-left:{}rem\">{} <span class=\"what\">{}</span> <span class=\"kind\">{}</span>{failed}{orphan}</span>\
         <span class=\"bars\"><span class=\"bar c{colour}{bad}\" style=\"left:{left:.3}%;width:{width:.3}%\"></span><span class=\"took\" style=\"{label}\">{}</span></span></summary>",
        row.depth.min(DEEPEST) as f64 * 0.9,
        style::party(&row.who),
        escape(if span.name.is_empty() { "(no name)" } else { &span.name }),
        escape(&kind),
        time(span.duration),
    );
    details(body, row);
    body.push_str("</details>\n");
}

fn details(body: &mut String, row: &Row<'_>) {
    let span = row.span;
    let mut all = vec![
        ("began", format!("{} after the trace", time(row.after))),
        ("service", span.who().to_string()),
        ("span id", span.id.clone()),
        ("follows from", span.parent_id.clone().unwrap_or_else(|| "nothing: it is the first".into())),
    ];
    if let Some(remote) = &span.remote_endpoint {
        let host = remote.ipv4.as_deref().or(remote.ipv6.as_deref());
        let port = remote.port.map(|port| format!(":{port}")).unwrap_or_default();
        let address = host.map(|host| format!("{host}{port}"));
        all.push(("towards", remote.service_name.iter().cloned().chain(address).collect::<Vec<_>>().join(" at ")));
    }
    all.extend(span.tags.iter().map(|(key, value)| (key.as_str(), value.clone())));
    body.push_str("<dl>\n");
    for (key, value) in all {
        let _ = writeln!(body, "<dt>{}</dt><dd>{}</dd>", escape(key), escape(&value));
    }
    for annotation in &span.annotations {
        let at = time(annotation.timestamp.saturating_sub(span.timestamp));
        let _ = writeln!(body, "<dt>after {at}</dt><dd>{}</dd>", escape(&annotation.value));
    }
    body.push_str("</dl>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_failed_step_shows_why_and_nothing_that_was_recorded_is_markup() {
        let spans: Vec<Span> = serde_json::from_value(json!([
            { "traceId": "1", "id": "a", "name": "POST /<b>", "timestamp": 1000, "duration": 1000, "kind": "SERVER",
              "localEndpoint": { "serviceName": "tradepost" }, "tags": { "error": "5<0>3", "k": "<i>" } },
            { "traceId": "1", "id": "b", "parentId": "a", "name": "INSERT orders", "timestamp": 1500, "duration": 250,
              "localEndpoint": { "serviceName": "tradepost" }, "tags": { "tradepost.module": "order" } },
        ]))
        .unwrap();
        let page = page("1", &spans, 3);
        assert!(page.contains("left:50.000%;width:25.000%"), "{page}");
        assert!(page.contains("5&lt;0&gt;3") && page.contains("&lt;i&gt;") && page.contains("POST /&lt;b&gt;"), "{page}");
        assert!(!page.contains("<b>") && !page.contains("<i>"), "{page}");
        assert!(page.contains("and 3 more that are not kept"), "{page}");
    }
}
