//! A request's way through: checked, matched, filtered, sent, answered.

use super::breaker::Breakers;
use super::file::{Definition, Part};
use super::filters::{Circuit, Filter, Outgoing, Retry, escaped};
use super::hygiene::{self, CleanPath, Origin, clean_path};
use super::limit::{Limiter, Rate, Verdict};
use super::metrics::Metrics;
use super::pattern::{Pattern, Range};
use super::predicates::Incoming;
use super::routes::{Route, Table, Target, locator};
use super::table::Routes;
use super::upstream::{Answer, Body, Failure, send};
use super::websocket;
use crate::platform::contract::Access;
use crate::platform::cx::{Caller, Cx, TIMEOUT_HEADER, TRACE_HEADER};
use crate::platform::discovery::{Discovery, Outcome, Picked};
use crate::platform::host::{Host, StartError};
use crate::platform::problem::Problem;
use crate::platform::web::{Admission, FrontDoor};
use actix_web::body::BoxBody;
use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::future::LocalBoxFuture;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

/// A fallback may itself be a route with a fallback, but not for ever.
const MOST_FALLBACKS: u32 = 3;
/// Where a route knows no limit.
const NEVER: Duration = Duration::from_secs(86_400);
/// Bodies up to this are kept where a route retries their method.
const KEPT: u64 = 64 * 1024;
/// Times a request that was not sent is tried at another instance.
const MOVES: u32 = 2;

/// Names in `lb://`, and the modules behind them.
const SERVICES: [(&str, &str); 6] = [
    ("product-service", "product"),
    ("inventory-service", "inventory"),
    ("order-service", "order"),
    ("notification-service", "notification"),
    ("identity-service", "identity"),
    ("api-gateway", "gateway"),
];

/// The front door.
pub(super) struct Gateway {
    pub(super) routes: Routes,
    discovery: Arc<dyn Discovery>,
    limiter: Limiter,
    breakers: Breakers,
    metrics: Metrics,
    public: Vec<Pattern>,
    proxies: Vec<Range>,
    rate: Option<Rate>,
    locator: bool,
    body_limit: u64,
    connect: Duration,
    /// Our name in `Via`, by which we know our own requests.
    via: String,
    pub(super) random: AtomicU64,
    draining: CancellationToken,
}

/// One request on its way.
struct Trip<'a> {
    cx: &'a Cx,
    request: &'a HttpRequest,
    origin: &'a Origin,
    table: &'a Table,
}

type Variables = BTreeMap<String, String>;

impl Gateway {
    /// By settings.
    pub(super) fn new(host: &Host, discovery: Arc<dyn Discovery>) -> Result<Self, StartError> {
        let settings = &host.settings.gateway;
        let public = settings.public.iter().map(|p| Pattern::path(p, true)).collect::<Result<_, _>>();
        let proxies = settings.trusted_proxies.iter().map(|r| Range::parse(r)).collect::<Result<_, _>>();
        let burst = if settings.burst == 0 { settings.rate.saturating_mul(2) } else { settings.burst };
        let id = uuid::Uuid::new_v4();
        Ok(Self {
            routes: Routes::new(settings)?,
            discovery,
            limiter: Limiter::default(),
            breakers: Breakers::default(),
            metrics: Metrics::new(&host.metrics)?,
            public: public.map_err(|e| format!("gateway.public: {e}"))?,
            proxies: proxies.map_err(|e| format!("gateway.trusted_proxies: {e}"))?,
            rate: (settings.rate > 0).then_some(Rate { replenish: settings.rate, burst, requested: 1 }),
            locator: settings.locator,
            body_limit: settings.body_limit.unwrap_or(host.settings.server.body_limit as u64),
            connect: Duration::from_millis(settings.connect_ms),
            via: format!("1.1 tradepost-{}", id.simple()),
            random: AtomicU64::new(id.as_u64_pair().0),
            draining: host.draining.clone(),
        })
    }

    /// SplitMix64: even, quick, and the same again from the same seed.
    fn draw(&self) -> f64 {
        let mut z = self.random.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn limit(&self, whose: &str, cx: &Cx, origin: &Origin, rate: Rate) -> Verdict {
        let key = match &cx.caller {
            Caller::User(principal) => format!("{whose} user {}", principal.subject),
            _ => format!("{whose} address {}", origin.client.map(|a| a.to_string()).unwrap_or_default()),
        };
        self.limiter.take(&key, rate, Instant::now())
    }

    fn find<'t>(&self, table: &'t Table, request: &HttpRequest, origin: &Origin, path: &str) -> Option<(&'t Route, Variables)> {
        let incoming = Incoming { request, path, origin, now: OffsetDateTime::now_utc() };
        table.find(&incoming, || self.draw())
    }

    /// A route made up for this request, where services are served under their names.
    fn located(&self, path: &CleanPath) -> Option<Route> {
        if !self.locator && !self.routes.locator() {
            return None;
        }
        let Target::Service(name) = locator(path.plain.split('/').nth(1)?)? else { return None };
        self.discovery.pick(module(&name), None)?;
        let filters = vec![Part::shortcut("StripPrefix=1")];
        let (id, uri) = (format!("DiscoveryClient_{name}"), format!("lb://{name}"));
        let definition = Definition { id, uri, order: 0, predicates: Vec::new(), filters, metadata: BTreeMap::new() };
        Route::alone(definition).ok()
    }

    async fn enter(&self, cx: &Cx, request: &HttpRequest, payload: Payload) -> Result<HttpResponse, Problem> {
        let path = clean_path(request.uri().path())?;
        let ours = |value: &HeaderValue| value.to_str().is_ok_and(|v| v.contains(&self.via));
        if request.headers().get_all(header::VIA).any(ours) {
            // we sent it to ourselves: the module that should have it is here and has no such path
            return Err(nothing_here());
        }
        registry_is_read_only(request.method(), &path)?;
        let origin = Origin::of(request, &self.proxies);
        let verdict = self.rate.map(|rate| self.limit("", cx, &origin, rate));
        if let Some(verdict) = verdict.as_ref().filter(|v| !v.allowed) {
            return Ok(too_many(cx, request, &verdict.headers));
        }
        let table = self.routes.table();
        let made;
        let (route, variables) = match self.find(&table, request, &origin, &path.plain) {
            Some(found) => found,
            None => {
                made = self.located(&path).ok_or_else(nothing_here)?;
                (&made, Variables::new())
            }
        };
        let started = Instant::now();
        let trip = Trip { cx, request, origin: &origin, table: &table };
        let body = Body::new(request, payload, self.body_limit);
        let answer = self.take(&trip, route, &variables, &path, body, 0).await;
        let status = answer.as_ref().map_or_else(|p| StatusCode::from_u16(p.status).unwrap_or_default(), HttpResponse::status);
        let definition = &route.definition;
        self.metrics.observe(&definition.id, &definition.uri, status, request.method(), started.elapsed());
        let headers = verdict.map(|v| v.headers).unwrap_or_default();
        answer.map(|response| with(response, headers))
    }

    /// Through one route, and on to its fallback where that is needed.
    async fn take(
        &self,
        trip: &Trip<'_>,
        route: &Route,
        variables: &Variables,
        path: &CleanPath,
        body: Body,
        fallbacks: u32,
    ) -> Result<HttpResponse, Problem> {
        let mut out = Outgoing {
            path: path.raw.clone(),
            query: trip.request.query_string().to_string(),
            headers: hygiene::request_headers(trip.request.headers()),
            preserve_host: false,
            stripped: None,
        };
        let (mut limits, mut retry, mut circuit, mut size) = (Vec::new(), None, None, self.body_limit);
        for filter in &route.filters {
            match filter {
                Filter::Limit(rate) => {
                    let verdict = self.limit(&route.definition.id, trip.cx, trip.origin, *rate);
                    if !verdict.allowed {
                        return Ok(too_many(trip.cx, trip.request, &verdict.headers));
                    }
                    limits.extend(verdict.headers);
                }
                Filter::Size(most) => size = *most,
                Filter::Retry(settings) => retry = Some(settings),
                Filter::Circuit(settings) => circuit = Some(settings),
                other => {
                    if let Some(answer) = other.before(&mut out, variables) {
                        return Ok(with(finish(route, variables, answer), limits));
                    }
                }
            }
        }
        body.limit(size).map_err(|failure| refusal(route, failure))?;
        // filters may have made what a client may not
        let cleaned = clean_path(&out.path)?;
        registry_is_read_only(trip.request.method(), &cleaned)?;
        out.path = cleaned.raw;
        self.sign(trip, &mut out);
        if websocket::wanted(trip.request) {
            return self.open(trip, route, variables, &out, body).await;
        }
        if route.target == Target::Nowhere {
            return Ok(with(finish(route, variables, HttpResponse::Ok().finish()), limits));
        }
        let (result, failed) = self.guarded(trip, route, &out, &body, retry, circuit).await;
        let fallback = circuit.and_then(|circuit| circuit.fallback.as_ref()).filter(|_| failed && fallbacks < MOST_FALLBACKS);
        if let Some(fallback) = fallback {
            let path = clean_path(&escaped(fallback, variables))?;
            if let Some((next, variables)) = self.find(trip.table, trip.request, trip.origin, &path.plain) {
                let body = if body.whole() { body } else { Body::empty() };
                return Box::pin(self.take(trip, next, &variables, &path, body, fallbacks + 1)).await;
            }
            tracing::warn!(route = route.definition.id, fallback, "no route takes the fallback");
        }
        let answer = result.map_err(|failure| refusal(route, failure))?;
        let mut response = HttpResponse::new(answer.status);
        let headers = hygiene::response_headers(&answer.headers);
        headers.into_iter().for_each(|(name, value)| response.headers_mut().append(name, value));
        let head = trip.request.method() == Method::HEAD;
        let response = response.set_body(answer.body(head, self.draining.clone()));
        Ok(with(finish(route, variables, response), limits))
    }

    /// Adds what we ourselves say of a request.
    fn sign(&self, trip: &Trip, out: &mut Outgoing) {
        let incoming = trip.request.headers();
        trip.origin.forward(incoming, &mut out.headers, out.stripped.as_deref());
        let mut set = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                out.headers.append(name, value);
            }
        };
        set(header::VIA, &self.via);
        if out.preserve_host {
            set(header::HOST, &trip.origin.host);
        }
        out.headers.remove(TRACE_HEADER);
        if let Ok(trace) = HeaderValue::from_str(&trip.cx.trace.child().header()) {
            out.headers.insert(HeaderName::from_static(TRACE_HEADER), trace);
        }
    }

    /// Sends it, unless the breaker is open; also whether the breaker counts the outcome as a failure.
    async fn guarded(
        &self,
        trip: &Trip<'_>,
        route: &Route,
        out: &Outgoing,
        body: &Body,
        retry: Option<&Retry>,
        circuit: Option<&Circuit>,
    ) -> (Result<Answer, Failure>, bool) {
        let breaker = circuit.map(|circuit| (self.breakers.get(&circuit.name, &trip.table.windows), circuit));
        if let Some((breaker, _)) = &breaker
            && let Err(wait) = breaker.admit(Instant::now())
        {
            return (Err(Failure::Open(wait)), true);
        }
        let result = self.exchange(trip, route, out, body, retry).await;
        let failed = match &result {
            Err(Failure::TooLarge(_) | Failure::ClientGone) => false,
            Err(_) => true,
            Ok(answer) => circuit.is_some_and(|circuit| circuit.statuses.contains(&answer.status)),
        };
        if let Some((breaker, _)) = &breaker {
            breaker.report(failed, Instant::now());
        }
        (result, failed)
    }

    /// Sends it, again where that is right.
    async fn exchange(
        &self,
        trip: &Trip<'_>,
        route: &Route,
        out: &Outgoing,
        body: &Body,
        retry: Option<&Retry>,
    ) -> Result<Answer, Failure> {
        let method = trip.request.method();
        let retry = retry.filter(|retry| retry.covers(method));
        if retry.is_some() {
            body.keep(KEPT).await?;
        }
        let until = until(trip, route, retry);
        let (mut avoid, mut moves, mut retries) = (None, 0, 0);
        loop {
            let (base, picked) = self.pick(&route.target, avoid.as_deref())?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failure::Late);
            }
            let limit = route.response.unwrap_or(NEVER).min(left);
            let mut headers = out.headers.clone();
            headers.insert(HeaderName::from_static(TIMEOUT_HEADER), HeaderValue::from(limit.as_millis().max(1) as u64));
            let url = format!("{base}{}", target(out));
            let connect = route.connect.unwrap_or(self.connect).min(left);
            let result = send(method, &url, &headers, body, connect, limit, picked).await;
            let elsewhere = matches!(route.target, Target::Service(_)) && moves < MOVES;
            let move_on = elsewhere
                && match &result {
                    Err(Failure::Unreached(_)) => true,
                    Err(Failure::Broken(_)) => method.is_safe(),
                    _ => false,
                };
            let again = retry.filter(|r| retries < r.retries).filter(|r| match &result {
                Ok(answer) => r.after(answer.status),
                Err(failure) => matches!(failure, Failure::Unreached(_) | Failure::Broken(_) | Failure::Late),
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

    fn pick(&self, target: &Target, avoid: Option<&str>) -> Result<(String, Option<Picked>), Failure> {
        match target {
            Target::Fixed(base) => Ok((base.clone(), None)),
            Target::Nowhere => Err(Failure::Unknown("nobody".into())),
            Target::Service(name) => {
                let picked = self.discovery.pick(module(name), avoid).ok_or_else(|| Failure::Unknown(name.clone()))?;
                Ok((picked.base_url.clone(), Some(picked)))
            }
        }
    }

    /// Opens a WebSocket.
    async fn open(
        &self,
        trip: &Trip<'_>,
        route: &Route,
        variables: &Variables,
        out: &Outgoing,
        body: Body,
    ) -> Result<HttpResponse, Problem> {
        let refused = |failure| refusal(route, failure);
        let (base, picked) = self.pick(&route.target, None).map_err(refused)?;
        let limit = route.response.unwrap_or(NEVER).min(until(trip, route, None).saturating_duration_since(Instant::now()));
        let connect = route.connect.unwrap_or(self.connect);
        let shaken = websocket::handshake(&base, &target(out), &out.headers, connect, limit).await;
        if let Some(picked) = picked {
            picked.done(if shaken.is_ok() { Outcome::Answered } else { Outcome::Failed });
        }
        let handshake = shaken.map_err(refused)?;
        let headers = hygiene::response_headers(&handshake.headers);
        if handshake.status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(handshake.tunnel(body.into_payload(), headers, self.draining.clone()));
        }
        let mut response = HttpResponse::new(handshake.status);
        headers.into_iter().for_each(|(name, value)| response.headers_mut().append(name, value));
        Ok(finish(route, variables, response))
    }
}

impl FrontDoor for Gateway {
    fn access(&self, request: &HttpRequest) -> Result<Access, Problem> {
        hygiene::check_headers(request)?;
        let path = clean_path(request.uri().path())?;
        if self.public.iter().any(|pattern| pattern.matches(&path.plain)) {
            return Ok(Access::Public);
        }
        if request.method() == Method::OPTIONS {
            // our own services answer it without a token and without a handler; of others we do not know
            let origin = Origin::of(request, &self.proxies);
            let table = self.routes.table();
            let found = self.find(&table, request, &origin, &path.plain);
            let own = |name: &str| SERVICES.iter().any(|(service, _)| *service == name);
            if found.is_some_and(|(route, _)| matches!(&route.target, Target::Service(name) if own(name))) {
                return Ok(Access::Public);
            }
        }
        Ok(Access::Any)
    }

    fn serve(self: Arc<Self>, cx: Cx, request: HttpRequest, payload: Payload) -> LocalBoxFuture<'static, Result<HttpResponse, Problem>> {
        Box::pin(async move { self.enter(&cx, &request, payload).await })
    }

    fn admit(&self, cx: &Cx, request: &HttpRequest) -> Admission {
        // peers call each other as often as they need to
        let Some(rate) = self.rate.filter(|_| !cx.has_role("service")) else { return Admission::default() };
        let verdict = self.limit("", cx, &Origin::of(request, &self.proxies), rate);
        let refusal = (!verdict.allowed).then(limited);
        Admission { headers: verdict.headers, refusal }
    }
}

fn module(service: &str) -> &str {
    SERVICES.iter().find(|(name, _)| *name == service).map_or(service, |(_, module)| module)
}

fn target(out: &Outgoing) -> String {
    if out.query.is_empty() { out.path.clone() } else { format!("{}?{}", out.path, out.query) }
}

/// When this request is of no use any more.
fn until(trip: &Trip, route: &Route, retry: Option<&Retry>) -> Instant {
    let Some(response) = route.response else { return trip.cx.deadline };
    let tries = retry.map_or(1, |retry| retry.retries.saturating_add(1));
    let own = Instant::now() + response.min(NEVER).saturating_mul(tries).min(NEVER);
    // a route's own limit may be longer than the common one, but never than what the client waits
    if trip.request.headers().contains_key(TIMEOUT_HEADER) { own.min(trip.cx.deadline) } else { own }
}

fn nothing_here() -> Problem {
    Problem::new(404, "there is nothing at this path")
}

/// Whoever may register an instance gets other people's requests, tokens included.
fn registry_is_read_only(method: &Method, path: &CleanPath) -> Result<(), Problem> {
    let registry = path.plain.to_ascii_lowercase();
    if (registry == "/eureka" || registry.starts_with("/eureka/")) && !method.is_safe() {
        return Err(Problem::forbidden("the registry takes no writes through the front door"));
    }
    Ok(())
}

fn limited() -> Problem {
    let mut problem = Problem::new(429, "too many requests; come back later");
    problem.retry_after = Some(1);
    problem
}

fn too_many(cx: &Cx, request: &HttpRequest, headers: &[(HeaderName, HeaderValue)]) -> HttpResponse {
    with(limited().respond(request.method().as_str(), request.path(), &cx.trace.id()), headers.to_vec())
}

fn with(mut response: HttpResponse, headers: Vec<(HeaderName, HeaderValue)>) -> HttpResponse {
    headers.into_iter().for_each(|(name, value)| response.headers_mut().append(name, value));
    response
}

/// The way back through the filters, the last first.
fn finish(route: &Route, variables: &Variables, mut response: HttpResponse<BoxBody>) -> HttpResponse {
    let mut status = response.status();
    let headers: &mut HeaderMap = response.headers_mut();
    route.filters.iter().rev().for_each(|filter| filter.after(&mut status, headers, variables));
    *response.status_mut() = status;
    response
}

fn refusal(route: &Route, failure: Failure) -> Problem {
    let name = route.definition.uri.split_once("://").map_or("the service", |(_, name)| name);
    match failure {
        Failure::TooLarge(limit) => Problem::new(413, format!("the body is larger than {limit} bytes")),
        Failure::ClientGone => Problem::new(400, "the body broke off"),
        Failure::Open(wait) => {
            let mut problem = Problem::unavailable(format!("{name} is not available"));
            problem.retry_after = Some(wait.as_secs_f32().ceil().max(1.0) as u32);
            problem
        }
        failed => {
            tracing::warn!(route = route.definition.id, cause = %failed, "no answer");
            match failed {
                Failure::Broken(_) => Problem::new(502, format!("{name} broke off; the request may still have been served")),
                Failure::Late => Problem::new(504, format!("{name} took too long; the request may still be served")),
                _ => Problem::unavailable(format!("{name} is not available")),
            }
        }
    }
}
