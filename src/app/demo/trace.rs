//! What one order brought about, step by step, as text.

use super::DemoError;
use super::shop::{Answer, Call, Shop};
use crate::kernel::secret::Secret;
use crate::kernel::uri::encode_component;
use crate::net::http::http;
use crate::observe::trace::export::target;
use crate::observe::trace::export::target::TargetError;
use crate::observe::trace::export::zipkin::Span;
use crate::observe::trace::waterfall::{Row, Waterfall, time};
use actix_web::http::Method;
use serde_json::Value;
use std::fmt::Write;
use std::time::Duration;

/// Characters of a bar, and of a name with what stands before it.
const BAR: usize = 32;
const NAME: usize = 56;
const PATIENCE: Duration = Duration::from_secs(10);
/// No trace's JSON is larger.
const MAX_ANSWER: usize = 16 << 20;

/// The waterfall of an order's trace, or of a trace by its id: from Zipkin where the settings name one, else from
/// what the shop itself keeps. An error says what can be done where there is none.
pub async fn trace(shop: &Shop, asked: &str, zipkin: Option<&Secret>) -> Result<String, DemoError> {
    let is_trace = asked.len() == 32 && asked.bytes().all(|b| b.is_ascii_hexdigit());
    let id = if is_trace { asked.to_lowercase() } else { of_order(shop, asked).await? };
    let spans = match zipkin {
        Some(setting) => from_zipkin(setting, &id).await?,
        None => from_shop(shop, &id).await?,
    };
    let spans = spans.filter(|spans| !spans.is_empty()).ok_or_else(|| DemoError::UnknownTrace(unknown(&id, zipkin.is_some())))?;
    let mut text = draw(&id, &spans);
    if zipkin.is_none() && is_a_part(&spans) {
        text.push_str(
            "\nThis is one process's part of it. Where telemetry.zipkin is set, for the shop's processes and here, all are shown.\n",
        );
    }
    Ok(text)
}

/// Each process of a shop in parts keeps its own spans, and tells others by their parents.
fn is_a_part(spans: &[Span]) -> bool {
    let fall = Waterfall::of(spans);
    spans.iter().all(|span| span.who() == "api-gateway") || fall.rows.iter().filter(|row| row.orphan).count() > 1
}

async fn of_order(shop: &Shop, number: &str) -> Result<String, DemoError> {
    let path = format!("/api/v1/orders/number/{}", encode_component(number));
    let answer = shop.send_patiently(&Call { method: Method::GET, path, body: None, key: None }).await?;
    if answer.status != 200 {
        return Err(DemoError::NoOrder { number: number.into(), answer: answer.message() });
    }
    let told = answer.body.get("traceId").and_then(Value::as_str).map(String::from);
    told.ok_or_else(|| DemoError::NoTraceOfOrder { number: number.into() })
}

async fn from_shop(shop: &Shop, id: &str) -> Result<Option<Vec<Span>>, DemoError> {
    let path = format!("/console/traces/{id}.json");
    match shop.send_patiently(&Call { method: Method::GET, path, body: None, key: None }).await? {
        Answer { status: 200, body } => {
            serde_json::from_value(body).map(Some).map_err(|cause| DemoError::NoTrace { whose: "the shop's", cause })
        }
        Answer { status: 404, .. } => Ok(None),
        other => Err(DemoError::NoTraces { answer: other.message() }),
    }
}

async fn from_zipkin(setting: &Secret, id: &str) -> Result<Option<Vec<Span>>, DemoError> {
    let (base, credentials, path) = target::split(setting.expose()).map_err(|cause| TargetError { key: "telemetry.zipkin", cause })?;
    // spans are taken and shown side by side
    let api = path.strip_suffix("/spans").unwrap_or("/api/v2");
    let request = http().get(format!("{base}{api}/trace/{id}")).timeout(PATIENCE);
    let request = match &credentials {
        Some((user, password)) => request.basic_auth(user, password),
        None => request,
    };
    let mut answer = request.send().await.map_err(|cause| DemoError::ZipkinAbsent { base: base.clone(), cause })?;
    match answer.status().as_u16() {
        200 => {
            let body = answer.body().limit(MAX_ANSWER).await.map_err(DemoError::ZipkinBrokeOff)?;
            serde_json::from_slice(&body).map(Some).map_err(|cause| DemoError::NoTrace { whose: "Zipkin's", cause })
        }
        404 => Ok(None),
        status => Err(DemoError::ZipkinStatus { base, status }),
    }
}

fn unknown(id: &str, zipkin: bool) -> String {
    let (place, lost) = match zipkin {
        true => ("Zipkin has not got it", "it does not get there (tradepost_spans_total says), or it was deleted there"),
        false => ("the shop has not got it", "it is older than the last telemetry.memory traces, or the shop was started again since"),
    };
    format!(
        "trace {id}: {place}. Either it was not recorded (telemetry.sample and telemetry.sample_first say how many are; a caller's own decision counts more), or {lost}."
    )
}

fn draw(id: &str, spans: &[Span]) -> String {
    let fall = Waterfall::of(spans);
    let errors = match fall.errors() {
        0 => "no errors".to_string(),
        1 => "1 error".to_string(),
        many => format!("{many} errors"),
    };
    let name = fall.root().map(|span| printable(&span.name)).unwrap_or_default();
    let began = crate::kernel::clock::rfc3339((fall.start / 1000) as i64);
    let mut text = format!("{name}\ntrace {id}, {began}, {}, {} spans, {errors}\n\n", time(fall.duration), fall.rows.len());
    let who = fall.rows.iter().map(|row| row.who.chars().count()).max().unwrap_or_default();
    fall.rows.iter().for_each(|row| line(&mut text, row, who, fall.duration));
    text
}

fn line(text: &mut String, row: &Row<'_>, who: usize, duration: u64) {
    let column = |us: u64| usize::try_from(us.saturating_mul(BAR as u64) / duration).unwrap_or(BAR).min(BAR);
    let begin = column(row.after).min(BAR - 1);
    let end = column(row.after.saturating_add(row.span.duration)).max(begin + 1);
    let bar = format!("{}{}{}", " ".repeat(begin), "=".repeat(end - begin), " ".repeat(BAR - end));
    let mut name = format!("{}{}", "  ".repeat(row.depth), printable(&row.span.name));
    if name.chars().count() > NAME {
        name = name.chars().take(NAME - 3).chain("...".chars()).collect();
    }
    let error = row.span.error().map(|error| format!("  FAILED: {}", printable(error))).unwrap_or_default();
    let _ = writeln!(text, "{:<who$}  {name:<NAME$} |{bar}| {:>8}{error}", printable(&row.who), time(row.span.duration));
}

/// Others write to Zipkin, too: what they say must not move the cursor.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spans() -> Vec<Span> {
        let span = |id: &str, parent: Option<&str>, name: &str, at: u64, took: u64, tags: Value| {
            json!({ "traceId": "1", "id": id, "parentId": parent, "name": name, "timestamp": at, "duration": took, "tags": tags,
                    "localEndpoint": { "serviceName": "tradepost" } })
        };
        let all = json!([
            span("a", None, "POST /api/v1/orders", 1_000_000, 3200, json!({ "tradepost.module": "order" })),
            span("b", Some("a"), "inventory reserve", 1_001_600, 800, json!({ "tradepost.module": "inventory", "error": "503" })),
            span("c", Some("b"), &format!("\u{1b}{}", "x".repeat(100)), 1_003_199, 1, json!({})),
        ]);
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn a_trace_in_lines() {
        let text = draw("abc", &spans());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "POST /api/v1/orders");
        assert_eq!(lines[1], "trace abc, 1970-01-01T00:00:01.000Z, 3.20 ms, 3 spans, 1 error");
        assert_eq!(lines[3], format!("order      {:<56} |{}|  3.20 ms", "POST /api/v1/orders", "=".repeat(32)));
        assert_eq!(
            lines[4],
            format!(
                "inventory  {:<56} |{}{}{}|   800 µs  FAILED: 503",
                "  inventory reserve",
                " ".repeat(16),
                "=".repeat(8),
                " ".repeat(8)
            )
        );
        assert_eq!(lines[5], format!("inventory      {}... |{}=|     1 µs", "x".repeat(49), " ".repeat(31)));
    }

    #[test]
    fn a_part_is_told_from_the_whole() {
        assert!(!is_a_part(&spans()));
        let mut parts = spans();
        parts.iter_mut().for_each(|span| span.parent_id = Some("far".into()));
        assert!(is_a_part(&parts));
    }
}
