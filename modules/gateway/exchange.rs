//! Sending: which instance, how often, for how long, and what is said where nobody answers.

use super::filters::{Circuit, Outgoing, Retry};
use super::forward::{Gateway, Trip};
use super::routes::{Route, Target};
use super::upstream::{Answer, Body, Failure, send};
use crate::edge::web::late_body;
use crate::kernel::module::Module;
use crate::kernel::problem::Problem;
use crate::observe::trace::propagation;
use crate::rpc::context::TIMEOUT_HEADER;
use crate::rpc::discovery::Picked;
use crate::rpc::loopback::{INSIDE_HEADER, inside};
use crate::rpc::trace::Exchange;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use std::time::{Duration, Instant};

/// Where a route knows no limit.
pub(super) const NEVER: Duration = Duration::from_secs(86_400);
/// Bodies up to this are kept where a route retries their method.
const KEPT: u64 = 64 * 1024;
/// Times a request that was not sent is tried at another instance.
const MOVES: u32 = 2;

impl Gateway {
    /// Makes a call unless its breaker is open; also whether the breaker counts the outcome as a failure.
    /// A call that fails by the client's fault counts as never made.
    pub(super) async fn guarded<T>(
        &self,
        trip: &Trip<'_>,
        circuit: Option<&Circuit>,
        status: impl Fn(&T) -> StatusCode,
        call: impl Future<Output = Result<T, Failure>>,
    ) -> (Result<T, Failure>, bool) {
        let Some((circuit, guard)) = circuit.and_then(|c| Some((c, trip.table.guards.get(&c.name)?))) else {
            let result = call.await;
            let failed = result.as_ref().is_err_and(|failure| !failure.is_clients());
            return (result, failed);
        };
        let permit = match guard.acquire() {
            Ok(permit) => permit,
            Err(refused) => return (Err(Failure::Open(refused.wait)), true),
        };
        let result = match circuit.settings.limit {
            Some(limit) => tokio::time::timeout(limit, call).await.unwrap_or(Err(Failure::LazyRef)),
            None => call.await,
        };
        let failed = match &result {
            Err(failure) if failure.is_clients() => return (result, false),
            Err(_) => true,
            Ok(answer) => circuit.statuses.contains(&status(answer)),
        };
        guard.settle(permit, !failed);
        (result, failed)
    }

    /// Sends it, again where that is right.
    pub(super) async fn exchange(&self, trip: &Trip<'_>, route: &Route, out: &Outgoing, body: &Body) -> Result<Answer, Failure> {
        let method = trip.request.method();
        let retry = route.retry().filter(|retry| retry.covers(method));
        if retry.is_some() {
            body.keep(KEPT).await?;
        }
        let until = until(trip, route, retry);
        let (mut avoid, mut moves, mut retries) = (None, 0, 0);
        loop {
            let (base, picked) = self.pick(&route.target, avoid.as_deref())?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failure::LazyRef);
            }
            let limit = route.response.unwrap_or(NEVER).min(left);
            let mut headers = out.headers.clone();
            headers.insert(HeaderName::from_static(TIMEOUT_HEADER), HeaderValue::from(limit.as_millis().max(1) as u64));
            if picked.as_ref().is_some_and(|picked| picked.inside) {
                headers.insert(HeaderName::from_static(INSIDE_HEADER), inside().clone());
            }
            let url = format!("{base}{}", target(out));
            let connect = route.connect.unwrap_or(self.connect).min(left);
            let exchange = attempt(trip, route, &base, retries + moves);
            propagation::headers(exchange.span().trace()).into_iter().for_each(|(name, value)| headers.append(name, value));
            let result = send(method, &url, &headers, body, connect, limit, picked).await;
            match &result {
                Ok(answer) => exchange.received(answer.status),
                Err(failure) => exchange.failed(failure.kind()),
            }
            drop(exchange);
            let elsewhere = matches!(route.target, Target::Service(_)) && moves < MOVES;
            let move_on = elsewhere
                && match &result {
                    Err(Failure::Unreached(_)) => true,
                    Err(Failure::Broken(_)) => method.is_safe(),
                    _ => false,
                };
            let again = retry.filter(|r| retries < r.retries).filter(|r| match &result {
                Ok(answer) => r.after(answer.status),
                Err(failure) => matches!(failure, Failure::Unreached(_) | Failure::Broken(_) | Failure::LazyRef),
            });
            if !body.whole() || (!move_on && again.is_none()) {
                return result;
            }
            avoid = Some(base);
            match again.filter(|_| !move_on) {
                None => moves += 1,
                Some(retry) => {
                    let pause = retry.pause(retries);
                    if Instant::now() + pause >= until {
                        return result;
                    }
                    tokio::time::sleep(pause).await;
                    retries += 1;
                }
            }
            if let Ok(answer) = result {
                answer.discard();
            }
        }
    }

    pub(super) fn pick(&self, target: &Target, avoid: Option<&str>) -> Result<(String, Option<Picked>), Failure> {
        match target {
            Target::Fixed(base) => Ok((base.clone(), None)),
            Target::Nowhere => Err(Failure::Unknown("nobody".into())),
            Target::Service(name) => {
                let picked = self.discovery.pick(module(name), avoid).ok_or_else(|| Failure::Unknown(name.clone()))?;
                Ok((picked.base_url.clone(), Some(picked)))
            }
        }
    }
}

/// One attempt, for the trace.
pub(super) fn attempt(trip: &Trip, route: &Route, base: &str, before: u32) -> Exchange {
    let service = match &route.target {
        Target::Service(name) => name.as_str(),
        Target::Fixed(_) | Target::Nowhere => route.definition.id.as_str(),
    };
    let exchange = crate::rpc::trace::outgoing(trip.cx.trace, trip.request.method(), &route.definition.id, service);
    exchange.towards(base);
    if before > 0 {
        exchange.span().set("http.request.resend_count", i64::from(before));
    }
    exchange
}

/// Which of the shop's modules a service's name stands for. A registry and a config server are known by many names,
/// and by the one that a route says.
fn known(service: &str) -> Option<Module> {
    let mut routed = Module::ALL.into_iter().filter(|module| !matches!(module, Module::Registry | Module::ConfigServer));
    routed.find(|module| module.application().eq_ignore_ascii_case(service))
}

/// The module behind a service's name; another name is looked up as it is.
pub(super) fn module(service: &str) -> &str {
    match known(service) {
        Some(module) => module.name(),
        None => service,
    }
}

/// Whether this service is one of the shop's.
pub(super) fn ours(service: &str) -> bool {
    known(service).is_some()
}

/// What is asked of the upstream.
pub(super) fn target(out: &Outgoing) -> String {
    if out.query.is_empty() { out.path.clone() } else { format!("{}?{}", out.path, out.query) }
}

/// When this request is of no use any more.
pub(super) fn until(trip: &Trip, route: &Route, retry: Option<&Retry>) -> Instant {
    let Some(response) = route.response else { return trip.cx.deadline };
    let tries = retry.map_or(1, |retry| retry.retries.saturating_add(1));
    let own = Instant::now() + response.min(NEVER).saturating_mul(tries).min(NEVER);
    // a route's own limit may be longer than the common one, but never than what the client waits
    if trip.request.headers().contains_key(TIMEOUT_HEADER) { own.min(trip.cx.deadline) } else { own }
}

/// What the client is told.
pub(super) fn refusal(route: &Route, failure: Failure) -> Problem {
    let name = route.definition.uri.split_once("://").map_or("the service", |(_, name)| name);
    match failure {
        Failure::TooLarge(limit) => Problem::new(413, format!("the body is larger than {limit} bytes")),
        Failure::ClientGone => Problem::new(400, "the body broke off"),
        Failure::ClientLate => late_body(),
        Failure::Open(wait) => {
            let cause = format!("the breaker of route {} is open", route.definition.id);
            let mut problem = Problem::unavailable(format!("{name} is not available")).with_cause(cause);
            problem.retry_after = Some(wait.as_secs_f32().ceil().max(1.0) as u32);
            problem
        }
        failed => {
            let problem = match failed {
                Failure::Broken(_) => Problem::new(502, format!("{name} broke off; the request may still have been served")),
                Failure::LazyRef => Problem::new(504, format!("{name} took too long; the request may still be served")),
                _ => Problem::unavailable(format!("{name} is not available")),
            };
            problem.with_cause(format!("no answer by route {}: {failed}", route.definition.id))
        }
    }
}
