//! In-process phase: a route that leads to a module of this process applies its filters around the
//! endpoint, without a network hop.
//!
//! Rate limits, headers, body size, time-outs and the circuit breaker with its fallback work as for a
//! service elsewhere. `Retry` has no effect: there is no connection to lose. An endpoint without a route
//! responds as it would without the gateway.

use super::context::{ProxyContext, RouteDecision};
use super::exchange::NO_TIMEOUT;
use super::pattern::Variables;
use super::respond::{apply_response_filters, failure_problem, into_response, too_many_requests, with_headers};
use super::route::Route;
use super::state::Gateway;
use super::upstream::{RequestBody, UpstreamFailure};
use crate::edge::gateway_middleware::Next;
use crate::kernel::problem::Problem;
use crate::rpc::context::Cx;
use actix_web::dev::Payload;
use actix_web::{HttpRequest, HttpResponse};
use std::time::Instant;

impl Gateway {
    /// Calls an endpoint of this process: the global rate limit first, then the route's filters.
    pub(super) async fn intercept_local<'a>(
        &'a self,
        decision: &RouteDecision,
        cx: Cx,
        request: &'a HttpRequest,
        payload: Payload,
        next: Next<'a>,
    ) -> Result<HttpResponse, Problem> {
        // calls between modules have no rate limit
        let rate = self.global_rate().filter(|_| !cx.has_role("service"));
        let limited = rate.map(|rate| self.take_tokens("", &cx, &decision.origin, rate));
        if let Some(rejected) = limited.as_ref().filter(|limited| !limited.allowed) {
            return Ok(too_many_requests(&cx, request, &rejected.headers));
        }
        let rate_headers = limited.map(|limited| limited.headers).unwrap_or_default();
        let Some((route, variables)) = &decision.route else {
            let result = next(cx.clone(), payload).await;
            return if rate_headers.is_empty() { result } else { Ok(with_headers(into_response(result, &cx, request), rate_headers)) };
        };
        let started = Instant::now();
        let result = self.call_local(decision, route, variables, cx, request, payload, next).await;
        self.observe(route, request, &result, started);
        result.map(|response| with_headers(response, rate_headers))
    }

    #[expect(clippy::too_many_arguments, reason = "the request, its decision, and the endpoint")]
    async fn call_local<'a>(
        &'a self,
        decision: &RouteDecision,
        route: &Route,
        variables: &Variables,
        mut cx: Cx,
        request: &'a HttpRequest,
        payload: Payload,
        next: Next<'a>,
    ) -> Result<HttpResponse, Problem> {
        let rate_headers = match self.apply_rate_limits(route, &cx, &decision.origin) {
            Ok(headers) => headers,
            Err(headers) => return Ok(too_many_requests(&cx, request, &headers)),
        };
        let circuit = route.circuit_breaker();
        let timeout = route.response_timeout.into_iter().chain(circuit.and_then(|c| c.settings.time_limit)).min().unwrap_or(NO_TIMEOUT);
        cx.deadline = cx.deadline.min(Instant::now() + timeout.min(NO_TIMEOUT));
        let body_limit = route.max_body_size().unwrap_or(self.body_limit);
        let body = RequestBody::new(request, payload, self.body_limit);
        body.set_limit(body_limit).map_err(|failure| failure_problem(route, failure))?;
        let context = ProxyContext { cx: &cx, request, origin: &decision.origin, table: &decision.table };
        let call = async {
            let result = tokio::time::timeout(timeout.min(NO_TIMEOUT), next(cx.clone(), body.as_payload())).await;
            let response = into_response(result.map_err(|_| UpstreamFailure::TimedOut)?, &cx, request);
            if body.exceeds_limit() { Err(UpstreamFailure::BodyTooLarge(body_limit)) } else { Ok(response) }
        };
        let (result, failed) = self.call_with_breaker(&context, circuit, HttpResponse::status, call).await;
        if failed && let Some(response) = self.forward_to_fallback(&context, route, circuit, variables, RequestBody::empty(), 0).await {
            return response;
        }
        let response = result.map_err(|failure| failure_problem(route, failure))?;
        Ok(with_headers(apply_response_filters(route, variables, response), rate_headers))
    }
}
