//! Zipkin JSON, API version 2: the body of `POST /api/v2/spans`, the response of `GET /api/v2/trace/{id}`, and the
//! model of the trace pages of this process.
//!
//! Sources: Zipkin API 2, and OpenTelemetry's "Transformation to Zipkin" where the two models differ. Zipkin itself
//! converts names of spans and services to lower case.

use opentelemetry::trace::{SpanId, SpanKind, Status};
use opentelemetry_sdk::trace::SpanData;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) const PATH: &str = "/api/v2/spans";
pub(super) const CONTENT_TYPE: &str = "application/json";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    /// 32 hex digits, or 16 from tracers with 64-bit ids.
    pub trace_id: String,
    /// 16 hex digits.
    pub id: String,
    /// `None` for the root span.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
    /// `CLIENT`, `SERVER`, `PRODUCER` or `CONSUMER`; `None` for internal spans.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(default)]
    pub name: String,
    /// Start, in microseconds since 1970.
    #[serde(default)]
    pub timestamp: u64,
    /// Microseconds, at least 1.
    #[serde(default)]
    pub duration: u64,
    #[serde(default)]
    pub local_endpoint: Endpoint,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_endpoint: Option<Endpoint>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<Annotation>,
    /// Attributes; a failed span has `error`.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotation {
    /// Microseconds since 1970.
    pub timestamp: u64,
    pub value: String,
}

pub(super) fn encode(service: &str) -> impl Fn(&[Arc<SpanData>]) -> Result<Vec<u8>, serde_json::Error> + Send + use<> {
    let service = service.to_string();
    move |batch| {
        let spans: Vec<_> = batch.iter().map(|span| RecordedSpan { span, service: &service }).collect();
        serde_json::to_vec(&spans)
    }
}

/// Serializes a recorded span without an intermediate [`Span`], as a busy shop records tens of thousands per second.
struct RecordedSpan<'a> {
    span: &'a SpanData,
    service: &'a str,
}

impl Serialize for RecordedSpan<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (span, timestamp) = (self.span, micros(self.span.start_time));
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("traceId", &AsText(span.span_context.trace_id()))?;
        map.serialize_entry("id", &AsText(span.span_context.span_id()))?;
        if span.parent_span_id != SpanId::INVALID {
            map.serialize_entry("parentId", &AsText(span.parent_span_id))?;
        }
        if let Some(kind) = kind(&span.span_kind) {
            map.serialize_entry("kind", kind)?;
        }
        map.serialize_entry("name", &span.name)?;
        map.serialize_entry("timestamp", &timestamp)?;
        map.serialize_entry("duration", &micros(span.end_time).saturating_sub(timestamp).max(1))?;
        map.serialize_entry("localEndpoint", &LocalEndpoint { service_name: self.service })?;
        if let Some(remote) = remote(span) {
            map.serialize_entry("remoteEndpoint", &remote)?;
        }
        if !span.events.is_empty() {
            map.serialize_entry("annotations", &span.events.iter().map(annotation).collect::<Vec<_>>())?;
        }
        map.serialize_entry("tags", &Tags(span))?;
        map.end()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LocalEndpoint<'a> {
    service_name: &'a str,
}

/// Serializes a value by its `Display`.
struct AsText<T>(T);

impl<T: Display> Serialize for AsText<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Attributes, and what Zipkin's model has no field for (error, links).
struct Tags<'a>(&'a SpanData);

impl Serialize for Tags<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let span = self.0;
        let mut tags = serializer.serialize_map(None)?;
        for attribute in &span.attributes {
            tags.serialize_entry(attribute.key.as_str(), &AsText(&attribute.value))?;
        }
        if let Status::Error { description } = &span.status {
            let description = Some(description.as_ref()).filter(|text| !text.is_empty()).map(Cow::Borrowed);
            let error = attribute(span, "error.type").or(description).unwrap_or(Cow::Borrowed("true"));
            tags.serialize_entry("error", &error)?;
        }
        if !span.links.is_empty() {
            let link = |to: &opentelemetry::trace::Link| format!("{}-{}", to.span_context.trace_id(), to.span_context.span_id());
            tags.serialize_entry("links", &span.links.iter().map(link).collect::<Vec<_>>().join(" "))?;
        }
        tags.end()
    }
}

fn attribute<'a>(span: &'a SpanData, key: &str) -> Option<Cow<'a, str>> {
    span.attributes.iter().find(|attribute| attribute.key.as_str() == key).map(|attribute| attribute.value.as_str())
}

impl Span {
    /// Converts a recorded span, for the trace pages of this process.
    pub fn of(span: &SpanData, service: &str) -> Option<Self> {
        serde_json::from_value(serde_json::to_value(RecordedSpan { span, service }).ok()?).ok()
    }

    /// Microseconds since 1970.
    pub fn end(&self) -> u64 {
        self.timestamp.saturating_add(self.duration)
    }

    pub fn error(&self) -> Option<&str> {
        self.tags.get("error").map(String::as_str)
    }

    /// The service's name, or `?` if it is unknown.
    pub fn service_name(&self) -> &str {
        self.local_endpoint.service_name.as_deref().unwrap_or("?")
    }
}

fn kind(kind: &SpanKind) -> Option<&'static str> {
    match kind {
        SpanKind::Client => Some("CLIENT"),
        SpanKind::Server => Some("SERVER"),
        SpanKind::Producer => Some("PRODUCER"),
        SpanKind::Consumer => Some("CONSUMER"),
        SpanKind::Internal => None,
    }
}

fn annotation(event: &opentelemetry::trace::Event) -> Annotation {
    let attributes: Vec<_> = event.attributes.iter().map(|attribute| format!("{}={}", attribute.key, attribute.value)).collect();
    let value = if attributes.is_empty() { event.name.to_string() } else { format!("{} {}", event.name, attributes.join(" ")) };
    Annotation { timestamp: micros(event.timestamp), value }
}

/// The remote endpoint, from the most specific attribute that names it.
fn remote(span: &SpanData) -> Option<Endpoint> {
    let tag = |key: &str| attribute(span, key).map(Cow::into_owned);
    let address = tag("server.address");
    let ip = address.as_deref().and_then(|address| address.trim_matches(['[', ']']).parse::<IpAddr>().ok());
    let named = address.filter(|_| ip.is_none());
    let service_name = ["peer.service", "messaging.system", "db.system.name"].into_iter().find_map(tag).or(named);
    let (ipv4, ipv6) = match ip {
        Some(IpAddr::V4(ip)) => (Some(ip.to_string()), None),
        Some(IpAddr::V6(ip)) => (None, Some(ip.to_string())),
        None => (None, None),
    };
    let port = tag("server.port").and_then(|port| port.parse().ok());
    let endpoint = Endpoint { service_name, ipv4, ipv6, port };
    (endpoint != Endpoint { port: endpoint.port, ..Endpoint::default() }).then_some(endpoint)
}

fn micros(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::trace::export::tests::{span, span_with};
    use opentelemetry::KeyValue;
    use serde_json::{Value, json};

    fn encoded(span: &SpanData) -> Value {
        serde_json::to_value(RecordedSpan { span, service: "order-service" }).unwrap()
    }

    #[test]
    fn client_span_is_encoded_in_zipkin_format() {
        let mut recorded = span_with(8, Some(7), "GET /api/v1/products", |span| {
            span.span_kind = SpanKind::Client;
            span.attributes = vec![
                KeyValue::new("peer.service", "product"),
                KeyValue::new("server.address", "127.0.0.1"),
                KeyValue::new("server.port", 8081),
            ];
            span.events.events.push(opentelemetry::trace::Event::new("retried", span.start_time, vec![KeyValue::new("attempt", 2)], 0));
        });
        assert_eq!(
            encoded(&recorded),
            json!({
                "traceId": "00000000000000000000000000000001", "id": "0000000000000008", "parentId": "0000000000000007",
                "kind": "CLIENT", "name": "GET /api/v1/products", "timestamp": 8_000_000, "duration": 1500,
                "localEndpoint": { "serviceName": "order-service" },
                "remoteEndpoint": { "serviceName": "product", "ipv4": "127.0.0.1", "port": 8081 },
                "annotations": [{ "timestamp": 8_000_000, "value": "retried attempt=2" }],
                "tags": { "peer.service": "product", "server.address": "127.0.0.1", "server.port": "8081" },
            })
        );
        let data = Arc::make_mut(&mut recorded);
        data.end_time = data.start_time;
        assert_eq!(encoded(data)["duration"], 1, "Zipkin treats 0 as unknown");
    }

    #[test]
    fn failed_root_span_has_error_tag_and_no_parent_or_kind() {
        let failed = span_with(1, None, "order place", |span| {
            span.span_kind = SpanKind::Internal;
            span.status = Status::error("");
            span.attributes = vec![KeyValue::new("error.type", "503")];
        });
        let sent = encoded(&failed);
        assert_eq!((sent.get("parentId"), sent.get("kind"), &sent["tags"]["error"]), (None, None, &json!("503")));
        let unexplained = span_with(1, None, "x", |span| span.status = Status::error(""));
        assert_eq!(encoded(&unexplained)["tags"]["error"], "true");
        assert_eq!(encoded(&span(1, None, "x"))["tags"].get("error"), None);
    }

    #[test]
    fn database_and_bus_are_remote_endpoints_and_links_are_a_tag() {
        let database = span_with(1, None, "INSERT orders", |span| span.attributes = vec![KeyValue::new("db.system.name", "sqlite")]);
        assert_eq!(encoded(&database)["remoteEndpoint"], json!({ "serviceName": "sqlite" }));
        let consumed = span_with(2, Some(1), "process order", |span| {
            span.span_kind = SpanKind::Consumer;
            span.attributes = vec![KeyValue::new("messaging.system", "kafka")];
            span.links.links.push(opentelemetry::trace::Link::with_context(span.span_context.clone()));
        });
        assert_eq!(encoded(&consumed)["remoteEndpoint"], json!({ "serviceName": "kafka" }));
        assert_eq!(encoded(&consumed)["tags"]["links"], "00000000000000000000000000000001-0000000000000002");
        let named = span_with(1, None, "GET", |span| span.attributes = vec![KeyValue::new("server.address", "zipkin.example")]);
        assert_eq!(encoded(&named)["remoteEndpoint"], json!({ "serviceName": "zipkin.example" }));
    }

    #[test]
    fn incomplete_foreign_span_is_parsed_with_defaults() {
        let read: Span = serde_json::from_value(json!({ "traceId": "a", "id": "b", "shared": true })).unwrap();
        assert_eq!((read.name.as_str(), read.service_name(), read.end()), ("", "?", 0));
    }
}
