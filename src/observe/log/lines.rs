//! The format of log lines, with the ids of the current trace.

use crate::kernel::clock;
use crate::observe::trace::{Span, current};
use serde_json::{Map, Value};
use std::fmt;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// One JSON object per line: `timestamp`, `level`, `target`, `traceId`, `spanId`, and the event's fields.
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Map::new();
        event.record(&mut Fields(&mut line));
        // inserted last, so that no field of the event can replace them
        line.insert("timestamp".into(), clock::rfc3339(clock::now_ms()).into());
        line.insert("level".into(), event.metadata().level().as_str().into());
        line.insert("target".into(), event.metadata().target().into());
        if let Some(trace) = current().as_ref().map(Span::trace) {
            line.insert("traceId".into(), trace.id().into());
            line.insert("spanId".into(), format!("{:016x}", trace.span_id).into());
        }
        writeln!(writer, "{}", Value::Object(line))
    }
}

struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn insert(&mut self, field: &Field, value: Value) {
        // metadata of the log crate duplicates `level` and `target`
        if !field.name().starts_with("log.") {
            self.0.insert(field.name().trim_start_matches("r#").into(), value);
        }
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value.into());
    }
}

/// tracing-subscriber's text format, followed by the trace id.
pub(super) struct Human(pub(super) Format<Full>);

impl<S, N> FormatEvent<S, N> for Human
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        // one line per event: text from a peer or client must not forge another line
        let line = line.trim_end().replace('\n', "\\n").replace('\r', "\\r");
        match current().as_ref().map(Span::trace) {
            Some(trace) => writeln!(writer, "{line} traceId={}", trace.id()),
            None => writeln!(writer, "{line}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::log::tests::Written;
    use crate::observe::trace::Trace;
    use tracing_subscriber::layer::SubscriberExt;

    fn format_lines<F>(format: F, work: impl FnOnce()) -> String
    where
        F: FormatEvent<tracing_subscriber::Registry, tracing_subscriber::fmt::format::DefaultFields> + Send + Sync + 'static,
    {
        let written = Written::default();
        let lines = tracing_subscriber::fmt::layer().with_writer(written.clone()).event_format(format);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), work);
        written.text()
    }

    #[test]
    fn json_line_has_the_trace_and_fields_cannot_replace_metadata() {
        let trace = Trace::start();
        let text = format_lines(Json, || {
            tracing::warn!(level = "DEBUG", timestamp = 1, number = 7, ratio = 0.5, good = true, text = "a\n\"b\"", "what happened");
            Span::unrecorded(trace).sync_scope(|| tracing::info!("in a trace"));
        });
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!((&lines[0]["level"], &lines[0]["message"]), (&"WARN".into(), &"what happened".into()));
        assert!(lines[0]["timestamp"].is_string() && lines[0]["target"].as_str().unwrap().starts_with("tradepost::"));
        assert_eq!((&lines[0]["number"], &lines[0]["ratio"], &lines[0]["good"]), (&7.into(), &0.5.into(), &true.into()));
        assert_eq!((&lines[0]["text"], lines[0].get("traceId")), (&"a\n\"b\"".into(), None));
        assert_eq!(lines[1]["traceId"], trace.id().as_str());
        assert_eq!(lines[1]["spanId"], format!("{:016x}", trace.span_id).as_str());
    }

    #[test]
    fn multiline_text_is_escaped_to_one_line_ending_in_the_trace() {
        let trace = Trace::start();
        let text = format_lines(Human(tracing_subscriber::fmt::format().with_ansi(false)), || {
            let cause = "first\n2026-01-01T00:00:00Z ERROR a forged line";
            Span::unrecorded(trace).sync_scope(|| tracing::warn!(%cause, "it failed"));
            tracing::info!("in no trace");
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].contains("it failed cause=first\\n2026") && lines[0].ends_with(&format!("traceId={}", trace.id())), "{text}");
        assert!(lines[1].ends_with("in no trace"), "{text}");
    }
}
