//! `/actuator/httpexchanges`: the last requests and their responses.
//!
//! Secrets and personal data are not recorded: of a query only the parameter names, and only headers of content
//! negotiation, routing and tracing. The actuator's own requests are omitted.

use crate::kernel::clock;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::{HttpRequest, HttpResponse};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Spring's default.
const CAPACITY: usize = 100;
/// Limit for a path, a query and a header, in characters.
const MAX_TEXT_LEN: usize = 256;
static REQUEST_HEADERS: [HeaderName; 6] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::HOST,
    HeaderName::from_static("traceparent"),
];
static RESPONSE_HEADERS: [HeaderName; 5] =
    [header::ALLOW, header::CONTENT_TYPE, header::ETAG, header::RETRY_AFTER, HeaderName::from_static("x-trace-id")];

/// One request and response. Later exchanges reuse its buffers, so that a full ring allocates nothing.
#[derive(Default, Clone)]
struct HttpExchange {
    at_ms: i64,
    took: Duration,
    method: Method,
    status: u16,
    secure: bool,
    path: String,
    query: String,
    request: [String; 6],
    response: [String; 5],
}

/// The last exchanges of this process.
#[derive(Default)]
pub struct HttpExchangeLog(Mutex<Ring>);

#[derive(Default)]
struct Ring {
    /// Grows up to [`CAPACITY`].
    slots: Vec<HttpExchange>,
    /// Index of the slot to overwrite next.
    next: usize,
}

impl HttpExchangeLog {
    /// Records an exchange in place of the oldest. `path` is the path that the client sent; a route may have
    /// rewritten the request's.
    pub fn record(&self, request: &HttpRequest, path: &str, response: &HttpResponse, took: Duration) {
        if path == "/actuator" || path.starts_with("/actuator/") {
            return;
        }
        let at_ms = clock::now_ms();
        let mut ring = self.0.lock();
        let index = ring.next;
        if ring.slots.len() == index {
            ring.slots.push(HttpExchange::default());
        }
        if let Some(slot) = ring.slots.get_mut(index) {
            (slot.at_ms, slot.took) = (at_ms, took);
            slot.write(request, path, response);
        }
        ring.next = (index + 1) % CAPACITY;
    }

    /// The response of the actuator endpoint: newest first, as in Spring.
    pub fn to_response(&self) -> HttpResponse {
        // Every request needs this lock: format the exchanges after releasing it.
        let (slots, next) = {
            let ring = self.0.lock();
            (ring.slots.clone(), ring.next)
        };
        let (newer, older) = slots.split_at(next.min(slots.len()));
        let exchanges: Vec<Value> = newer.iter().rev().chain(older.iter().rev()).map(HttpExchange::to_json).collect();
        HttpResponse::Ok().json(json!({ "exchanges": exchanges }))
    }
}

impl HttpExchange {
    fn write(&mut self, request: &HttpRequest, path: &str, response: &HttpResponse) {
        // Bounded: the edge has replaced unknown methods by UNKNOWN.
        self.method.clone_from(request.method());
        self.status = response.status().as_u16();
        self.secure = request.app_config().secure();
        copy(&mut self.path, path);
        mask(&mut self.query, request.query_string());
        for (value, name) in self.request.iter_mut().zip(&REQUEST_HEADERS) {
            copy(value, text(request.headers(), name));
        }
        // HTTP/2 sends the host as `:authority` (RFC 9113 8.3.1).
        if let (Some(authority), Some((_, host))) = (
            request.uri().authority(),
            self.request.iter_mut().zip(&REQUEST_HEADERS).map(|(value, name)| (name, value)).find(|(name, _)| **name == header::HOST),
        ) {
            copy(host, authority.as_str());
        }
        for (value, name) in self.response.iter_mut().zip(&RESPONSE_HEADERS) {
            copy(value, text(response.headers(), name));
        }
    }

    fn to_json(&self) -> Value {
        let host = REQUEST_HEADERS.iter().zip(&self.request).find(|(name, _)| **name == header::HOST).map_or("", |(_, host)| host);
        let scheme = if self.secure { "https" } else { "http" };
        json!({
            "timestamp": clock::rfc3339(self.at_ms),
            "request": {
                "method": self.method.as_str(),
                "uri": format!("{scheme}://{host}{}{}", self.path, self.query),
                "headers": headers(&REQUEST_HEADERS, &self.request),
            },
            "response": { "status": self.status, "headers": headers(&RESPONSE_HEADERS, &self.response) },
            "timeTaken": format!("PT{}.{:06}S", self.took.as_secs(), self.took.subsec_micros()),
        })
    }
}

fn headers(names: &[HeaderName], values: &[String]) -> Map<String, Value> {
    let sent = names.iter().zip(values).filter(|(_, value)| !value.is_empty());
    sent.map(|(name, value)| (name.to_string(), json!([value]))).collect()
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Copies the text, truncated to the limit.
fn copy(to: &mut String, from: &str) {
    to.clear();
    to.extend(from.chars().take(MAX_TEXT_LEN));
}

/// Copies a query with masked values. A pair without `=` is masked as a whole, since it may be a value.
fn mask(to: &mut String, query: &str) {
    to.clear();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let name = pair.split_once('=').map_or("", |(name, _)| name);
        if to.len() + name.len() > MAX_TEXT_LEN {
            return;
        }
        to.push(if to.is_empty() { '?' } else { '&' });
        to.push_str(name);
        to.push_str(if name.is_empty() { "******" } else { "=******" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::body::to_bytes;
    use actix_web::test::TestRequest;

    fn note(exchanges: &HttpExchangeLog, uri: &str, headers: &[(HeaderName, &str)]) {
        let request = headers.iter().fold(TestRequest::with_uri(uri), |request, header| request.insert_header(header.clone()));
        let request = request.to_http_request();
        exchanges.record(&request, request.path(), &HttpResponse::Ok().finish(), Duration::from_micros(1_234_567));
    }

    async fn shown(exchanges: &HttpExchangeLog) -> Vec<Value> {
        let body = to_bytes(exchanges.to_response().into_body()).await.unwrap();
        let shown: Value = serde_json::from_slice(&body).unwrap();
        shown["exchanges"].as_array().unwrap().clone()
    }

    #[actix_web::test]
    async fn exchanges_beyond_the_capacity_replace_the_oldest() {
        let exchanges = HttpExchangeLog::default();
        assert!(shown(&exchanges).await.is_empty());
        for n in 0..3 * CAPACITY + 7 {
            note(&exchanges, &format!("/{n}"), &[]);
        }
        let paths: Vec<_> = shown(&exchanges).await.iter().map(|e| e["request"]["uri"].as_str().unwrap().to_string()).collect();
        let expected: Vec<_> = (2 * CAPACITY + 7..3 * CAPACITY + 7).rev().map(|n| format!("http:///{n}")).collect();
        assert_eq!(paths, expected);
    }

    #[actix_web::test]
    async fn secrets_are_masked_and_long_texts_are_truncated() {
        let exchanges = HttpExchangeLog::default();
        let long = "a".repeat(9000);
        let secret = "topsecret";
        let headers = [
            (header::AUTHORIZATION, secret),
            (header::COOKIE, secret),
            (header::USER_AGENT, secret),
            (HeaderName::from_static("x-api-key"), secret),
            (header::HOST, "shop.test"),
            (header::ACCEPT, &long),
        ];
        note(&exchanges, "/p?email=topsecret&topsecret&page=2&=topsecret", &headers);
        note(&exchanges, &format!("{}?{}", "/long".repeat(3000), "n=1&".repeat(3000)), &headers);
        note(&exchanges, "/actuator/env", &headers);
        let shown = shown(&exchanges).await;
        assert_eq!(shown.len(), 2, "the actuator's own requests are omitted");
        assert_eq!(shown[1]["request"]["uri"], "http://shop.test/p?email=******&******&page=******&******");
        assert_eq!(shown[1]["timeTaken"], "PT1.234567S");
        let text = json!(shown).to_string();
        assert!(!text.contains("topsecret") && text.len() < 8 * MAX_TEXT_LEN * 2, "{}", text.len());
    }
}
