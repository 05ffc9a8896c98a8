//! Proxy phase: forwards a request along its route to a service in another process.

use super::context::{ProxyContext, RouteDecision};
use super::exchange::{NO_TIMEOUT, request_deadline, start_attempt};
use super::filters::{CircuitBreaker, OutgoingRequest, expand_path};
use super::pattern::Variables;
use super::respond::{apply_response_filters, failure_problem, not_found, too_many_requests, with_headers};
use super::route::{Route, Target};
use super::sanitize::{self, CleanPath, clean_path, reject_registry_write};
use super::state::Gateway;
use super::upstream::{RequestBody, UpstreamResponse};
use super::websocket;
use crate::kernel::problem::Problem;
use crate::observe::trace;
use crate::observe::trace::{Span, propagation};
use crate::rpc::context::Cx;
use crate::rpc::discovery::Outcome;
use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse};
use std::time::Instant;

/// Longest chain of fallback routes.
const MAX_FALLBACKS: u32 = 3;

impl Gateway {
    pub(super) async fn proxy(
        &self,
        decision: &RouteDecision,
        cx: &Cx,
        request: &HttpRequest,
        payload: Payload,
    ) -> Result<HttpResponse, Problem> {
        let is_own = |value: &HeaderValue| value.to_str().is_ok_and(|v| v.contains(&self.via));
        if request.headers().get_all(header::VIA).any(is_own) {
            // discovery resolved the service to this process, and no endpoint of this process has the path
            return Err(not_found());
        }
        reject_registry_write(request.method(), &decision.path)?;
        let limited = self.global_rate().map(|rate| self.take_tokens("", cx, &decision.origin, rate));
        if let Some(rejected) = limited.as_ref().filter(|limited| !limited.allowed) {
            return Ok(too_many_requests(cx, request, &rejected.headers));
        }
        let (route, variables) = decision.route.as_ref().ok_or_else(not_found)?;
        let started = Instant::now();
        if let Some(span) = trace::current().filter(Span::is_recorded) {
            span.rename(format!("{} {}", crate::rpc::trace::method_name(request.method()), route.definition.id));
            span.set("tradepost.route", route.definition.id.clone());
        }
        let context = ProxyContext { cx, request, origin: &decision.origin, table: &decision.table };
        let body = RequestBody::new(request, payload, self.body_limit);
        let result = self.forward(&context, route, variables, &decision.path, body, 0).await;
        self.observe(route, request, &result, started);
        let rate_headers = limited.map(|limited| limited.headers).unwrap_or_default();
        result.map(|response| with_headers(response, rate_headers))
    }

    /// Forwards to the circuit breaker's fallback path. `None` without a fallback, without a route for it, or
    /// at the end of the longest chain.
    pub(super) async fn forward_to_fallback(
        &self,
        context: &ProxyContext<'_>,
        route: &Route,
        circuit: Option<&CircuitBreaker>,
        variables: &Variables,
        body: RequestBody,
        fallbacks: u32,
    ) -> Option<Result<HttpResponse, Problem>> {
        let fallback = circuit?.fallback.as_ref().filter(|_| fallbacks < MAX_FALLBACKS)?;
        let path = match clean_path(&expand_path(fallback, variables)) {
            Ok(path) => path,
            Err(problem) => return Some(Err(problem)),
        };
        let Some((next, variables)) = self.find_route(context.table, context.request, context.origin, &path.decoded) else {
            tracing::warn!(route = route.definition.id, fallback, "no route matches the fallback path");
            return None;
        };
        Some(Box::pin(self.forward(context, &next, &variables, &path, body, fallbacks + 1)).await)
    }

    /// Forwards along one route, and to its fallback if the call fails.
    async fn forward(
        &self,
        context: &ProxyContext<'_>,
        route: &Route,
        variables: &Variables,
        path: &CleanPath,
        body: RequestBody,
        fallbacks: u32,
    ) -> Result<HttpResponse, Problem> {
        let rate_headers = match self.apply_rate_limits(route, context.cx, context.origin) {
            Ok(headers) => headers,
            Err(headers) => return Ok(too_many_requests(context.cx, context.request, &headers)),
        };
        let mut outgoing = OutgoingRequest {
            path: path.encoded.clone(),
            query: context.request.query_string().to_string(),
            headers: sanitize::request_headers(context.request.headers()),
            preserve_host: false,
        };
        for filter in &route.filters {
            if let Some(response) = filter.apply_to_request(&mut outgoing, variables) {
                // like Spring: response filters apply to responses of the service only
                return Ok(with_headers(response, rate_headers));
            }
        }
        body.set_limit(route.max_body_size().unwrap_or(self.body_limit)).map_err(|failure| failure_problem(route, failure))?;
        // check again: a filter can produce a path that a client may not send
        let cleaned = clean_path(&outgoing.path)?;
        reject_registry_write(context.request.method(), &cleaned)?;
        outgoing.path = cleaned.encoded;
        self.add_proxy_headers(context, &path.encoded, &mut outgoing);
        if websocket::is_upgrade(context.request) {
            return self.open_websocket(context, route, variables, &outgoing, body).await;
        }
        if route.target == Target::NoOp {
            return Ok(with_headers(apply_response_filters(route, variables, HttpResponse::Ok().finish()), rate_headers));
        }
        let circuit = route.circuit_breaker();
        let call = self.send_with_retries(context, route, &outgoing, &body);
        let (result, failed) = self.call_with_breaker(context, circuit, |response: &UpstreamResponse| response.status, call).await;
        if failed {
            let body = if body.is_replayable() { body } else { RequestBody::empty() };
            if let Some(response) = self.forward_to_fallback(context, route, circuit, variables, body, fallbacks).await {
                return response;
            }
        }
        let upstream = result.map_err(|failure| failure_problem(route, failure))?;
        let mut response = HttpResponse::new(upstream.status);
        let headers = sanitize::response_headers(&upstream.headers);
        headers.into_iter().for_each(|(name, value)| response.headers_mut().append(name, value));
        let head = context.request.method() == Method::HEAD;
        let response = response.set_body(upstream.into_body(head, self.draining.clone()));
        Ok(with_headers(apply_response_filters(route, variables, response), rate_headers))
    }

    /// Adds `X-Forwarded-*`, `Via` and `Host`. `original_path` is the path before the filters.
    fn add_proxy_headers(&self, context: &ProxyContext, original_path: &str, outgoing: &mut OutgoingRequest) {
        let incoming = context.request.headers();
        let prefix =
            original_path.trim_end_matches('/').strip_suffix(outgoing.path.trim_end_matches('/')).filter(|prefix| !prefix.is_empty());
        context.origin.set_forwarded_headers(incoming, &mut outgoing.headers, prefix);
        let mut append = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                outgoing.headers.append(name, value);
            }
        };
        append(header::VIA, &self.via);
        if outgoing.preserve_host {
            append(header::HOST, &context.origin.host);
        }
        // each attempt adds its own trace headers
        propagation::HEADERS.iter().for_each(|name| drop(outgoing.headers.remove(name)));
    }

    async fn open_websocket(
        &self,
        context: &ProxyContext<'_>,
        route: &Route,
        variables: &Variables,
        outgoing: &OutgoingRequest,
        body: RequestBody,
    ) -> Result<HttpResponse, Problem> {
        let to_problem = |failure| failure_problem(route, failure);
        let (base, picked) = self.pick_instance(&route.target, None).map_err(to_problem)?;
        let remaining = request_deadline(context, route, None).saturating_duration_since(Instant::now());
        let timeout = route.response_timeout.unwrap_or(NO_TIMEOUT).min(remaining);
        let connect_timeout = route.connect_timeout.unwrap_or(self.connect_timeout);
        let (mut headers, attempt) = (outgoing.headers.clone(), start_attempt(context, route, &base, 0));
        propagation::headers(attempt.span().trace()).into_iter().for_each(|(name, value)| headers.append(name, value));
        let result = websocket::handshake(&base, &outgoing.path_and_query(), &headers, connect_timeout, timeout).await;
        if let Some(picked) = picked {
            picked.done(if result.is_ok() { Outcome::Responded } else { Outcome::Failed });
        }
        match &result {
            Ok(handshake) => attempt.record_client_status(handshake.status),
            Err(failure) => attempt.record_error(failure.kind()),
        }
        let handshake = result.map_err(to_problem)?;
        let headers = sanitize::response_headers(&handshake.headers);
        if handshake.status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(handshake.into_tunnel(body.into_payload(), headers, self.draining.clone()));
        }
        let mut response = HttpResponse::new(handshake.status);
        headers.into_iter().for_each(|(name, value)| response.headers_mut().append(name, value));
        Ok(apply_response_filters(route, variables, response))
    }
}
