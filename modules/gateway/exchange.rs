//! Exchange with a service: picks an instance, applies the circuit breaker, time-outs and retries.

use super::context::ProxyContext;
use super::filters::{CircuitBreaker, OutgoingRequest, Retry};
use super::route::{Route, Target};
use super::service::discovery_name;
use super::state::Gateway;
use super::upstream::{RequestBody, UpstreamFailure, UpstreamResponse, send};
use crate::observe::trace::propagation;
use crate::rpc::context::TIMEOUT_HEADER;
use crate::rpc::discovery::PickedInstance;
use crate::rpc::loopback::{LOOPBACK_HEADER, loopback_secret};
use crate::rpc::trace::HttpSpan;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use std::time::{Duration, Instant};

/// Used where a route sets no time-out.
pub(super) const NO_TIMEOUT: Duration = Duration::from_secs(86_400);
/// Largest body in bytes that is buffered for a retry.
const MAX_BUFFERED_BODY: u64 = 64 * 1024;
/// Failovers to another instance per request.
const MAX_FAILOVERS: u32 = 2;

impl Gateway {
    /// Makes a call unless its breaker is open. The flag is true if the outcome counts as a failure. A call
    /// that fails because of the client does not count at all.
    pub(super) async fn call_with_breaker<T>(
        &self,
        context: &ProxyContext<'_>,
        circuit: Option<&CircuitBreaker>,
        status: impl Fn(&T) -> StatusCode,
        call: impl Future<Output = Result<T, UpstreamFailure>>,
    ) -> (Result<T, UpstreamFailure>, bool) {
        let Some((circuit, guard)) = circuit.and_then(|c| Some((c, context.table.breakers_by_name.get(&c.name)?))) else {
            let result = call.await;
            let failed = result.as_ref().is_err_and(|failure| !failure.is_client_fault());
            return (result, failed);
        };
        let permit = match guard.acquire() {
            Ok(permit) => permit,
            Err(not_permitted) => return (Err(UpstreamFailure::BreakerOpen(not_permitted.wait)), true),
        };
        let result = match circuit.settings.time_limit {
            Some(limit) => tokio::time::timeout(limit, call).await.unwrap_or(Err(UpstreamFailure::TimedOut)),
            None => call.await,
        };
        let failed = match &result {
            Err(failure) if failure.is_client_fault() => return (result, false),
            Err(_) => true,
            Ok(response) => circuit.statuses.contains(&status(response)),
        };
        guard.record(permit, !failed);
        (result, failed)
    }

    /// Sends the request. A request that was not sent, and a safe one whose connection was lost, go to another
    /// instance; the route's `Retry` covers the rest.
    pub(super) async fn send_with_retries(
        &self,
        context: &ProxyContext<'_>,
        route: &Route,
        outgoing: &OutgoingRequest,
        body: &RequestBody,
    ) -> Result<UpstreamResponse, UpstreamFailure> {
        let method = context.request.method();
        let retry = route.retry().filter(|retry| retry.covers_method(method));
        if retry.is_some() {
            body.buffer(MAX_BUFFERED_BODY).await?;
        }
        let deadline = request_deadline(context, route, retry);
        let (mut avoid, mut failovers, mut retries) = (None, 0, 0);
        loop {
            let (base, picked) = self.pick_instance(&route.target, avoid.as_deref())?;
            let remaining = deadline.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                return Err(UpstreamFailure::TimedOut);
            }
            let timeout = route.response_timeout.unwrap_or(NO_TIMEOUT).min(remaining);
            let mut headers = outgoing.headers.clone();
            headers.insert(HeaderName::from_static(TIMEOUT_HEADER), HeaderValue::from(timeout.as_millis().max(1) as u64));
            if picked.as_ref().is_some_and(|picked| picked.is_self) {
                headers.insert(HeaderName::from_static(LOOPBACK_HEADER), loopback_secret().clone());
            }
            let url = format!("{base}{}", outgoing.path_and_query());
            let connect_timeout = route.connect_timeout.unwrap_or(self.connect_timeout).min(remaining);
            let attempt = start_attempt(context, route, &base, retries + failovers);
            propagation::headers(attempt.span().trace()).into_iter().for_each(|(name, value)| headers.append(name, value));
            let result = send(method, &url, &headers, body, connect_timeout, timeout, picked).await;
            match &result {
                Ok(response) => attempt.record_client_status(response.status),
                Err(failure) => attempt.record_error(failure.kind()),
            }
            drop(attempt);
            let may_fail_over = matches!(route.target, Target::Service(_)) && failovers < MAX_FAILOVERS;
            let fail_over = may_fail_over
                && match &result {
                    Err(UpstreamFailure::NotSent(_)) => true,
                    Err(UpstreamFailure::ConnectionLost(_)) => method.is_safe(),
                    _ => false,
                };
            let retry_now = retry.filter(|r| retries < r.retries).filter(|r| match &result {
                Ok(response) => r.covers_status(response.status),
                Err(failure) => {
                    matches!(failure, UpstreamFailure::NotSent(_) | UpstreamFailure::ConnectionLost(_) | UpstreamFailure::TimedOut)
                }
            });
            if !body.is_replayable() || (!fail_over && retry_now.is_none()) {
                return result;
            }
            avoid = Some(base);
            match retry_now.filter(|_| !fail_over) {
                None => failovers += 1,
                Some(retry) => {
                    let backoff = retry.backoff(retries);
                    if Instant::now() + backoff >= deadline {
                        return result;
                    }
                    tokio::time::sleep(backoff).await;
                    retries += 1;
                }
            }
            if let Ok(response) = result {
                response.discard();
            }
        }
    }

    /// The base URL of an instance; `avoid` is the base URL of the instance that failed.
    pub(super) fn pick_instance(&self, target: &Target, avoid: Option<&str>) -> Result<(String, Option<PickedInstance>), UpstreamFailure> {
        match target {
            Target::Fixed(base) => Ok((base.clone(), None)),
            Target::NoOp => Err(UpstreamFailure::NoInstance("no://op".into())),
            Target::Service(name) => {
                let picked = self.discovery.pick(discovery_name(name), avoid).ok_or_else(|| UpstreamFailure::NoInstance(name.clone()))?;
                Ok((picked.base_url.clone(), Some(picked)))
            }
        }
    }
}

/// Starts the client span of one attempt.
pub(super) fn start_attempt(context: &ProxyContext, route: &Route, base: &str, resend_count: u32) -> HttpSpan {
    let service = match &route.target {
        Target::Service(name) => name.as_str(),
        Target::Fixed(_) | Target::NoOp => route.definition.id.as_str(),
    };
    let attempt = crate::rpc::trace::client_span(context.cx.trace, context.request.method(), &route.definition.id, service);
    attempt.set_server_address(base);
    if resend_count > 0 {
        attempt.span().set("http.request.resend_count", i64::from(resend_count));
    }
    attempt
}

/// Deadline over all attempts.
pub(super) fn request_deadline(context: &ProxyContext, route: &Route, retry: Option<&Retry>) -> Instant {
    let Some(response_timeout) = route.response_timeout else { return context.cx.deadline };
    let attempts = retry.map_or(1, |retry| retry.retries.saturating_add(1));
    let own = Instant::now() + response_timeout.min(NO_TIMEOUT).saturating_mul(attempts).min(NO_TIMEOUT);
    // a route's time-out may exceed the default deadline, but not the deadline that the client sent
    if context.request.headers().contains_key(TIMEOUT_HEADER) { own.min(context.cx.deadline) } else { own }
}
