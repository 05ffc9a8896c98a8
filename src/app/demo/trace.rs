//! Prints the trace of an order as a text waterfall.

use super::DemoError;
use super::shop::{Request, Response, Shop};
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

/// Widths in characters.
const BAR_WIDTH: usize = 32;
/// Includes the indentation.
const NAME_WIDTH: usize = 56;
const ZIPKIN_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_RESPONSE: usize = 16 << 20;

/// `reference` is an order number or a trace id. Reads the spans from Zipkin if configured, else from the shop's own
/// trace buffer.
pub async fn trace(shop: &Shop, reference: &str, zipkin: Option<&Secret>) -> Result<String, DemoError> {
    let is_trace = reference.len() == 32 && reference.bytes().all(|b| b.is_ascii_hexdigit());
    let id = if is_trace { reference.to_lowercase() } else { trace_id_of_order(shop, reference).await? };
    let spans = match zipkin {
        Some(setting) => from_zipkin(setting, &id).await?,
        None => from_shop(shop, &id).await?,
    };
    let spans = spans.filter(|spans| !spans.is_empty()).ok_or_else(|| DemoError::UnknownTrace(not_found_message(&id, zipkin.is_some())))?;
    let mut text = render(&id, &spans);
    if zipkin.is_none() && is_partial(&spans) {
        text.push_str(
            "\nThis is one process's part of the trace. Set telemetry.zipkin, for the shop's processes and here, to see all of it.\n",
        );
    }
    Ok(text)
}

/// In split mode each process stores only its own spans; parents in other processes are missing.
fn is_partial(spans: &[Span]) -> bool {
    let waterfall = Waterfall::of(spans);
    spans.iter().all(|span| span.service_name() == "api-gateway") || waterfall.rows.iter().filter(|row| row.orphan).count() > 1
}

async fn trace_id_of_order(shop: &Shop, number: &str) -> Result<String, DemoError> {
    let path = format!("/api/v1/orders/number/{}", encode_component(number));
    let response = shop.send_with_retries(&Request { method: Method::GET, path, body: None, key: None }).await?;
    if response.status != 200 {
        return Err(DemoError::OrderUnavailable { number: number.into(), response: response.message() });
    }
    let trace_id = response.body.get("traceId").and_then(Value::as_str).map(String::from);
    trace_id.ok_or_else(|| DemoError::OrderWithoutTrace { number: number.into() })
}

async fn from_shop(shop: &Shop, id: &str) -> Result<Option<Vec<Span>>, DemoError> {
    let path = format!("/console/traces/{id}.json");
    match shop.send_with_retries(&Request { method: Method::GET, path, body: None, key: None }).await? {
        Response { status: 200, body } => {
            serde_json::from_value(body).map(Some).map_err(|cause| DemoError::MalformedTrace { source_name: "the shop", cause })
        }
        Response { status: 404, .. } => Ok(None),
        other => Err(DemoError::TracesUnavailable { response: other.message() }),
    }
}

async fn from_zipkin(setting: &Secret, id: &str) -> Result<Option<Vec<Span>>, DemoError> {
    let (base, credentials, path) = target::split(setting.expose()).map_err(|cause| TargetError { key: "telemetry.zipkin", cause })?;
    // the query API is beside the path that collects spans
    let api = path.strip_suffix("/spans").unwrap_or("/api/v2");
    let request = http().get(format!("{base}{api}/trace/{id}")).timeout(ZIPKIN_TIMEOUT);
    let request = match &credentials {
        Some((user, password)) => request.basic_auth(user, password),
        None => request,
    };
    let mut response = request.send().await.map_err(|cause| DemoError::ZipkinUnreachable { base: base.clone(), cause })?;
    match response.status().as_u16() {
        200 => {
            let body = response.body().limit(MAX_RESPONSE).await.map_err(DemoError::IncompleteZipkinResponse)?;
            serde_json::from_slice(&body).map(Some).map_err(|cause| DemoError::MalformedTrace { source_name: "Zipkin", cause })
        }
        404 => Ok(None),
        status => Err(DemoError::ZipkinStatus { base, status }),
    }
}

fn not_found_message(id: &str, zipkin: bool) -> String {
    let (place, cause) = match zipkin {
        true => ("not found in Zipkin", "it was not delivered (see tradepost_spans_total), or Zipkin has deleted it"),
        false => (
            "not found in the shop",
            "it was evicted (telemetry.trace_buffer_size is the number of stored traces), or the shop has restarted since",
        ),
    };
    format!(
        "trace {id}: {place}. Either it was not recorded (telemetry.sample and telemetry.sample_first set how many are; the caller's sampling decision takes precedence), or {cause}."
    )
}

fn render(id: &str, spans: &[Span]) -> String {
    let waterfall = Waterfall::of(spans);
    let errors = match waterfall.errors() {
        0 => "no errors".to_string(),
        1 => "1 error".to_string(),
        many => format!("{many} errors"),
    };
    let name = waterfall.root().map(|span| printable(&span.name)).unwrap_or_default();
    let start = crate::kernel::clock::rfc3339((waterfall.start / 1000) as i64);
    let mut text = format!("{name}\ntrace {id}, {start}, {}, {} spans, {errors}\n\n", time(waterfall.duration), waterfall.rows.len());
    let service_width = waterfall.rows.iter().map(|row| row.party.chars().count()).max().unwrap_or_default();
    waterfall.rows.iter().for_each(|row| write_row(&mut text, row, service_width, waterfall.duration));
    text
}

fn write_row(text: &mut String, row: &Row<'_>, service_width: usize, duration: u64) {
    let column = |us: u64| usize::try_from(us.saturating_mul(BAR_WIDTH as u64) / duration).unwrap_or(BAR_WIDTH).min(BAR_WIDTH);
    let begin = column(row.after).min(BAR_WIDTH - 1);
    let end = column(row.after.saturating_add(row.span.duration)).max(begin + 1);
    let bar = format!("{}{}{}", " ".repeat(begin), "=".repeat(end - begin), " ".repeat(BAR_WIDTH - end));
    let mut name = format!("{}{}", "  ".repeat(row.depth), printable(&row.span.name));
    if name.chars().count() > NAME_WIDTH {
        name = name.chars().take(NAME_WIDTH - 3).chain("...".chars()).collect();
    }
    let error = row.span.error().map(|error| format!("  FAILED: {}", printable(error))).unwrap_or_default();
    let _ = writeln!(text, "{:<service_width$}  {name:<NAME_WIDTH$} |{bar}| {:>8}{error}", printable(&row.party), time(row.span.duration));
}

/// Other programs write to Zipkin as well: their text must not contain terminal control sequences.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spans() -> Vec<Span> {
        let span = |id: &str, parent: Option<&str>, name: &str, timestamp: u64, duration: u64, tags: Value| {
            json!({ "traceId": "1", "id": id, "parentId": parent, "name": name, "timestamp": timestamp, "duration": duration, "tags": tags,
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
    fn render_trace_prints_one_line_per_span() {
        let text = render("abc", &spans());
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
    fn is_partial_with_several_orphans_returns_true() {
        assert!(!is_partial(&spans()));
        let mut parts = spans();
        parts.iter_mut().for_each(|span| span.parent_id = Some("far".into()));
        assert!(is_partial(&parts));
    }
}
