//! Spans of HTTP, on both sides of it, by OpenTelemetry's conventions for HTTP spans.

use super::{Kind, Span, Trace, propagation, sampling};
use crate::platform::contract::Operation;
use actix_web::HttpRequest;
use actix_web::http::{Method, StatusCode};

/// Whoever asks these asks all the time, and nothing follows from it.
const BACKGROUND: [&str; 4] = ["actuator", "console", "docs", "registry"];

/// The span of a request that has come in, for one of these operations where it is known which.
pub fn incoming(request: &HttpRequest, method: &Method, operation: Option<&Operation>) -> Span {
    let incoming = propagation::extract(request.headers());
    let background = operation.is_some_and(|operation| BACKGROUND.contains(&operation.module));
    let sampled = incoming.sampled.unwrap_or_else(|| !background && sampling::decide());
    let span = match (incoming.parent, sampled) {
        (Some(parent), _) => Span::child(Trace { sampled, ..parent }, Kind::Server, || named(method, operation)),
        (None, true) => Span::root(Kind::Server, &named(method, operation)),
        (None, false) => Span::unrecorded(Trace::start()),
    };
    if span.is_recorded() {
        span.set("http.request.method", known(method));
        span.set("url.path", request.path().to_string());
        span.set("url.scheme", request.connection_info().scheme().to_string());
        if let Some(operation) = operation {
            span.set("http.route", operation.path);
            span.set("tradepost.module", operation.module);
        }
    }
    span.with_state(incoming.state)
}

/// How it was answered. What was the client's fault is no error of ours.
pub fn answered(span: &Span, status: StatusCode) {
    if span.is_recorded() {
        span.set("http.response.status_code", i64::from(status.as_u16()));
        if status.is_server_error() {
            span.fail(status.as_str());
        }
    }
}

/// The span of one attempt at a request to a peer: `route` is its path's template, `peer` its module or service.
pub fn outgoing(parent: Trace, method: &Method, route: &str, peer: &str) -> Span {
    let span = Span::child(parent, Kind::Client, || format!("{} {route}", known(method)));
    if span.is_recorded() {
        span.set("http.request.method", known(method));
        span.set("url.template", route.to_string());
        span.set("peer.service", peer.to_string());
    }
    span
}

/// Where it is sent: `http://host:port`, and what follows is left out.
pub fn towards(span: &Span, base: &str) {
    if !span.is_recorded() {
        return;
    }
    let rest = base.split_once("://").map_or(base, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':').map(|(host, port)| (host, port.parse::<i64>())) {
        Some((host, Ok(port))) => (host, Some(port)),
        _ => (authority, None),
    };
    span.set("server.address", host.to_string());
    if let Some(port) = port {
        span.set("server.port", port);
    }
}

/// How an attempt ended: here what we are told is our fault is an error, too.
pub fn received(span: &Span, status: u16) {
    if span.is_recorded() {
        span.set("http.response.status_code", i64::from(status));
        if status >= 400 {
            span.fail(status.to_string());
        }
    }
}

fn named(method: &Method, operation: Option<&Operation>) -> String {
    match operation {
        Some(operation) => format!("{} {}", known(method), operation.path),
        None => known(method).to_string(),
    }
}

/// Methods are a client's word.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "HTTP",
    }
}
