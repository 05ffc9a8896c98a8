//! The form of a log line: with the ids of the trace that it belongs to.

use crate::kernel::clock;
use crate::observe::trace::{Span, current};
use serde_json::{Map, Value};
use std::fmt;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// An object a line: `timestamp`, `level`, `target`, `traceId` and `spanId`, and the event's own fields.
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Map::new();
        event.record(&mut Fields(&mut line));
        // after the event's: what a line is, none of its fields can say otherwise
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
    fn put(&mut self, field: &Field, value: Value) {
        // what the log crate's lines say of themselves is said by the line already
        if !field.name().starts_with("log.") {
            self.0.insert(field.name().trim_start_matches("r#").into(), value);
        }
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

/// tracing-subscriber's line for people, and the trace's id behind it.
pub(super) struct Human(pub(super) Format<Full>);

impl<S, N> FormatEvent<S, N> for Human
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        // one line is one event: what a peer or a client said must not look like another
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

    fn written<F>(form: F, work: impl FnOnce()) -> String
    where
        F: FormatEvent<tracing_subscriber::Registry, tracing_subscriber::fmt::format::DefaultFields> + Send + Sync + 'static,
    {
        let written = Written::default();
        let lines = tracing_subscriber::fmt::layer().with_writer(written.clone()).event_format(form);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), work);
        written.text()
    }

    #[test]
    fn a_line_of_json_has_the_trace_and_no_field_can_pass_itself_off_as_another() {
        let trace = Trace::start();
        let text = written(Json, || {
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
    fn a_line_for_people_is_one_line_with_the_trace_at_its_end() {
        let trace = Trace::start();
        let text = written(Human(tracing_subscriber::fmt::format().with_ansi(false)), || {
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
