//! `/actuator/httpexchanges`: the last requests and what was answered.
//!
//! Nothing that could be a secret or personal is kept: of a query the names alone, of headers those that say how the
//! two sides understood each other. The actuator's own requests are left out.

use crate::kernel::clock;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::{HttpRequest, HttpResponse};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// How many are kept: Spring's default.
const KEPT: usize = 100;
/// Characters of a path, a query and a header at most.
const LONGEST: usize = 256;
static REQUEST: [HeaderName; 6] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::HOST,
    HeaderName::from_static("traceparent"),
];
static RESPONSE: [HeaderName; 5] =
    [header::ALLOW, header::CONTENT_TYPE, header::ETAG, header::RETRY_AFTER, HeaderName::from_static("x-trace-id")];

/// One exchange. Its texts are written over by a later one: after the first hundred nothing is allocated.
#[derive(Default, Clone)]
struct Kept {
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

/// The last exchanges of a process.
#[derive(Default)]
pub struct Exchanges(Mutex<Ring>);

#[derive(Default)]
struct Ring {
    /// Grows up to [`KEPT`].
    slots: Vec<Kept>,
    /// The slot that is written next.
    next: usize,
}

impl Exchanges {
    /// Takes note of an exchange in the place of the oldest. `path` is what the client sent; a route may have changed
    /// the request's own.
    pub fn note(&self, request: &HttpRequest, path: &str, response: &HttpResponse, took: Duration) {
        if path == "/actuator" || path.starts_with("/actuator/") {
            return;
        }
        let at_ms = clock::now_ms();
        let mut ring = self.0.lock();
        let place = ring.next;
        if ring.slots.len() == place {
            ring.slots.push(Kept::default());
        }
        if let Some(slot) = ring.slots.get_mut(place) {
            (slot.at_ms, slot.took) = (at_ms, took);
            slot.write(request, path, response);
        }
        ring.next = (place + 1) % KEPT;
    }

    /// The newest first, as in Spring.
    pub fn show(&self) -> HttpResponse {
        // every request waits for this lock: what takes longer is done without it
        let (slots, next) = {
            let ring = self.0.lock();
            (ring.slots.clone(), ring.next)
        };
        let (newer, older) = slots.split_at(next.min(slots.len()));
        let exchanges: Vec<Value> = newer.iter().rev().chain(older.iter().rev()).map(Kept::shown).collect();
        HttpResponse::Ok().json(json!({ "exchanges": exchanges }))
    }
}

impl Kept {
    fn write(&mut self, request: &HttpRequest, path: &str, response: &HttpResponse) {
        // bounded: what HTTP does not define is UNKNOWN here
        self.method.clone_from(request.method());
        self.status = response.status().as_u16();
        self.secure = request.app_config().secure();
        copy(&mut self.path, path);
        mask(&mut self.query, request.query_string());
        for (kept, name) in self.request.iter_mut().zip(&REQUEST) {
            copy(kept, text(request.headers(), name));
        }
        // HTTP/2 says it there (RFC 9113 8.3.1)
        if let (Some(authority), Some((_, host))) = (
            request.uri().authority(),
            self.request.iter_mut().zip(&REQUEST).map(|(kept, name)| (name, kept)).find(|(name, _)| **name == header::HOST),
        ) {
            copy(host, authority.as_str());
        }
        for (kept, name) in self.response.iter_mut().zip(&RESPONSE) {
            copy(kept, text(response.headers(), name));
        }
    }

    fn shown(&self) -> Value {
        let host = REQUEST.iter().zip(&self.request).find(|(name, _)| **name == header::HOST).map_or("", |(_, host)| host);
        let scheme = if self.secure { "https" } else { "http" };
        json!({
            "timestamp": clock::rfc3339(self.at_ms),
            "request": {
                "method": self.method.as_str(),
                "uri": format!("{scheme}://{host}{}{}", self.path, self.query),
                "headers": headers(&REQUEST, &self.request),
            },
            "response": { "status": self.status, "headers": headers(&RESPONSE, &self.response) },
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

/// The beginning, up to the limit.
fn copy(to: &mut String, from: &str) {
    to.clear();
    to.extend(from.chars().take(LONGEST));
}

/// The names of a query's parameters. What stands without a name could be anything.
fn mask(to: &mut String, query: &str) {
    to.clear();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let name = pair.split_once('=').map_or("", |(name, _)| name);
        if to.len() + name.len() > LONGEST {
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

    fn note(exchanges: &Exchanges, uri: &str, headers: &[(HeaderName, &str)]) {
        let request = headers.iter().fold(TestRequest::with_uri(uri), |request, header| request.insert_header(header.clone()));
        let request = request.to_http_request();
        exchanges.note(&request, request.path(), &HttpResponse::Ok().finish(), Duration::from_micros(1_234_567));
    }

    async fn shown(exchanges: &Exchanges) -> Vec<Value> {
        let body = to_bytes(exchanges.show().into_body()).await.unwrap();
        let shown: Value = serde_json::from_slice(&body).unwrap();
        shown["exchanges"].as_array().unwrap().clone()
    }

    #[actix_web::test]
    async fn the_last_hundred_are_kept_the_newest_first() {
        let exchanges = Exchanges::default();
        assert!(shown(&exchanges).await.is_empty());
        for n in 0..3 * KEPT + 7 {
            note(&exchanges, &format!("/{n}"), &[]);
        }
        let paths: Vec<_> = shown(&exchanges).await.iter().map(|e| e["request"]["uri"].as_str().unwrap().to_string()).collect();
        let expected: Vec<_> = (2 * KEPT + 7..3 * KEPT + 7).rev().map(|n| format!("http:///{n}")).collect();
        assert_eq!(paths, expected);
    }

    #[actix_web::test]
    async fn what_could_be_a_secret_is_not_kept_and_what_is_long_is_cut() {
        let exchanges = Exchanges::default();
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
        assert_eq!(shown.len(), 2, "the actuator's own are left out");
        assert_eq!(shown[1]["request"]["uri"], "http://shop.test/p?email=******&******&page=******&******");
        assert_eq!(shown[1]["timeTaken"], "PT1.234567S");
        let text = json!(shown).to_string();
        assert!(!text.contains("topsecret") && text.len() < 8 * LONGEST * 2, "{}", text.len());
    }
}
