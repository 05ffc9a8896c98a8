//! HTTP client and server spans, following OpenTelemetry's semantic conventions. A span ends with the response
//! head; it does not cover a streamed body. `url.full` is omitted because paths contain ids of customers' data;
//! a client span has the path's template instead.

use crate::observe::trace::{Kind, Span, Trace, export, propagation, sampling};
use crate::rpc::contract::Operation;
use crate::rpc::loopback::is_loopback;
use actix_web::HttpRequest;
use actix_web::http::{Method, StatusCode};
use std::cell::Cell;

/// High-frequency background endpoints; not traced.
const UNTRACED_MODULES: [&str; 4] = ["actuator", "console", "docs", "registry"];
const REGISTRY_PATH: &str = "/eureka/";
/// In characters.
const MAX_PATH_LEN: usize = 256;

/// The span of one request and its response. Dropped without an outcome, the request counts as cancelled.
#[derive(Debug)]
pub struct HttpSpan {
    span: Span,
    ended: Cell<bool>,
}

impl HttpSpan {
    fn new(span: Span) -> Self {
        let ended = Cell::new(!span.is_recorded());
        Self { span, ended }
    }

    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Server side: records the response's status. A 4xx is no error of a server span.
    pub fn record_server_status(&self, status: StatusCode) {
        self.status(status, status.is_server_error());
    }

    /// Client side: records the response's status. A 4xx is an error of a client span.
    pub fn record_client_status(&self, status: StatusCode) {
        self.status(status, status.is_client_error() || status.is_server_error());
    }

    fn status(&self, status: StatusCode, failed: bool) {
        if !self.ended.replace(true) {
            self.span.set("http.response.status_code", i64::from(status.as_u16()));
            if failed {
                self.span.fail(status.as_str());
            }
        }
    }

    /// Records that there is no response; `kind` becomes `error.type`.
    pub fn record_error(&self, kind: &'static str) {
        if !self.ended.replace(true) {
            self.span.fail(kind);
        }
    }

    /// Sets the server's address from a base URL.
    pub fn set_server_address(&self, base: &str) {
        if !self.span.is_recorded() {
            return;
        }
        let (scheme, rest) = base.split_once("://").unwrap_or(("http", base));
        let authority = rest.split('/').next().unwrap_or_default();
        // Drops credentials (`user:password@`).
        let address = authority.rsplit_once('@').map_or(authority, |(_, address)| address);
        let (host, port) = match address.rsplit_once(':').map(|(host, port)| (host, port.parse::<i64>())) {
            Some((host, Ok(port))) => (host, port),
            _ => (address, if scheme == "https" { 443 } else { 80 }),
        };
        self.span.set("server.address", host.trim_matches(['[', ']']).to_string());
        self.span.set("server.port", port);
    }
}

impl Drop for HttpSpan {
    fn drop(&mut self) {
        self.record_error("cancelled");
    }
}

/// Starts a server span. At the front door (`at_front_door`), any client can request sampling in `traceparent`; such
/// requests are honoured up to a rate limit.
pub fn server_span(request: &HttpRequest, method: &Method, operation: Option<&Operation>, at_front_door: bool) -> HttpSpan {
    let incoming = propagation::extract(request.headers());
    let background =
        operation.map_or_else(|| request.path().starts_with(REGISTRY_PATH), |operation| UNTRACED_MODULES.contains(&operation.module));
    let untrusted = at_front_door && !is_loopback(request.headers());
    let requested = incoming.sampled.filter(|sampled| !sampled || !untrusted || sampling::accept_foreign());
    let sampled = requested.unwrap_or_else(|| !background && export::has_sinks() && sampling::decide());
    let span = match (incoming.parent, sampled) {
        (Some(parent), _) => Span::child(Trace { sampled, ..parent }, Kind::Server, || span_name(method, operation)),
        (None, true) => Span::root(Kind::Server, &span_name(method, operation)),
        (None, false) => Span::unrecorded(Trace::start()),
    };
    if span.is_recorded() {
        span.set("http.request.method", known_method(method));
        span.set("url.scheme", if request.app_config().secure() { "https" } else { "http" });
        if let Some(operation) = operation {
            span.set("http.route", operation.path);
            span.set("tradepost.module", operation.module);
            span.set("url.path", request.path().chars().take(MAX_PATH_LEN).collect::<String>());
        }
    }
    HttpSpan::new(span.with_state(incoming.state))
}

/// Starts a client span for one attempt at a request to a peer or to an upstream service of the gateway. `target`
/// is the path's template or the gateway's route id.
pub fn client_span(parent: Trace, method: &Method, target: &str, peer: &str) -> HttpSpan {
    let span = Span::child(parent, Kind::Client, || format!("{} {target}", method_name(method)));
    if span.is_recorded() {
        span.set("http.request.method", known_method(method));
        span.set("peer.service", peer.to_string());
    }
    HttpSpan::new(span)
}

fn span_name(method: &Method, operation: Option<&Operation>) -> String {
    match operation {
        Some(operation) => format!("{} {}", method_name(method), operation.path),
        None => method_name(method).to_string(),
    }
}

/// The method as part of a span's name; `HTTP` for unknown methods.
pub fn method_name(method: &Method) -> &'static str {
    match known_method(method) {
        "_OTHER" => "HTTP",
        known => known,
    }
}

/// Clients may send any method; `_OTHER` keeps the set of values bounded.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => "_OTHER",
    }
}
