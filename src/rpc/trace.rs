//! Spans of HTTP, on both sides of it, by OpenTelemetry's conventions for HTTP spans. Both end with the head of
//! the answer; what becomes of a body that streams on is not in them. `url.full` is left out on purpose: a path
//! has ids of customers' things in it, and a client's span has its template.

use crate::observe::trace::{Kind, Span, Trace, export, propagation, sampling};
use crate::rpc::contract::Operation;
use crate::rpc::loopback::is_inside;
use actix_web::HttpRequest;
use actix_web::http::{Method, StatusCode};
use std::cell::Cell;

/// Whoever asks these asks all the time, and nothing follows from it.
const BACKGROUND: [&str; 4] = ["actuator", "console", "docs", "registry"];
const REGISTRY: &str = "/eureka/";
/// Characters of a path at most.
const MAX_PATH: usize = 256;

/// A request and its answer. Where nobody has told how it ended, it was cut off.
#[derive(Debug)]
pub struct Exchange {
    span: Span,
    ended: Cell<bool>,
}

impl Exchange {
    fn new(span: Span) -> Self {
        let ended = Cell::new(!span.is_recorded());
        Self { span, ended }
    }

    /// Its span.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// How we answered. What was the client's fault is no error of ours.
    pub fn answered(&self, status: StatusCode) {
        self.status(status, status.is_server_error());
    }

    /// How we were answered: what we are told is our fault is an error, too.
    pub fn received(&self, status: StatusCode) {
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

    /// There was no answer, in a word why.
    pub fn failed(&self, kind: &'static str) {
        if !self.ended.replace(true) {
            self.span.fail(kind);
        }
    }

    /// Where it is sent: `scheme://host:port`, and what follows is left out.
    pub fn towards(&self, base: &str) {
        if !self.span.is_recorded() {
            return;
        }
        let (scheme, rest) = base.split_once("://").unwrap_or(("http", base));
        let authority = rest.split('/').next().unwrap_or_default();
        // what stands before an @ are credentials
        let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
        let (host, port) = match place.rsplit_once(':').map(|(host, port)| (host, port.parse::<i64>())) {
            Some((host, Ok(port))) => (host, port),
            _ => (place, if scheme == "https" { 443 } else { 80 }),
        };
        self.span.set("server.address", host.trim_matches(['[', ']']).to_string());
        self.span.set("server.port", port);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.failed("cancelled");
    }
}

/// A request that has come in, for this operation where it is known which. At a front door everybody can
/// say that his trace is to be recorded: there such words count up to a limit.
pub fn incoming(request: &HttpRequest, method: &Method, operation: Option<&Operation>, door: bool) -> Exchange {
    let incoming = propagation::extract(request.headers());
    let background = operation.map_or_else(|| request.path().starts_with(REGISTRY), |operation| BACKGROUND.contains(&operation.module));
    let foreign = door && !is_inside(request.headers());
    let told = incoming.sampled.filter(|sampled| !sampled || !foreign || sampling::foreign());
    let sampled = told.unwrap_or_else(|| !background && export::is_watched() && sampling::decide());
    let span = match (incoming.parent, sampled) {
        (Some(parent), _) => Span::child(Trace { sampled, ..parent }, Kind::Server, || named(method, operation)),
        (None, true) => Span::root(Kind::Server, &named(method, operation)),
        (None, false) => Span::unrecorded(Trace::start()),
    };
    if span.is_recorded() {
        span.set("http.request.method", known(method));
        span.set("url.scheme", if request.app_config().secure() { "https" } else { "http" });
        if let Some(operation) = operation {
            span.set("http.route", operation.path);
            span.set("tradepost.module", operation.module);
            span.set("url.path", request.path().chars().take(MAX_PATH).collect::<String>());
        }
    }
    Exchange::new(span.with_state(incoming.state))
}

/// One attempt at a request to a peer: a module, or a service that the gateway leads to. `target` is its path's
/// template, or the gateway's name for the route.
pub fn outgoing(parent: Trace, method: &Method, target: &str, peer: &str) -> Exchange {
    let span = Span::child(parent, Kind::Client, || format!("{} {target}", spelled(method)));
    if span.is_recorded() {
        span.set("http.request.method", known(method));
        span.set("peer.service", peer.to_string());
    }
    Exchange::new(span)
}

fn named(method: &Method, operation: Option<&Operation>) -> String {
    match operation {
        Some(operation) => format!("{} {}", spelled(method), operation.path),
        None => spelled(method).to_string(),
    }
}

/// A span's name has this in the place of a method that HTTP does not know.
pub fn spelled(method: &Method) -> &'static str {
    match known(method) {
        "_OTHER" => "HTTP",
        known => known,
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
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => "_OTHER",
    }
}
