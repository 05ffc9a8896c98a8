//! A request's way through: checked, matched, filtered, sent, answered.

use super::exchange::{NEVER, attempt, module, refusal, target, until};
use super::file::{Definition, Part};
use super::filters::{Circuit, Outgoing, escaped};
use super::hygiene::{self, CleanPath, Origin, clean_path, registry_is_read_only};
use super::limit::{Limiter, Rate, Verdict};
use super::local::{Ahead, ahead, is_unclean, status};
use super::metrics::Metrics;
use super::pattern::{Pattern, PatternError, Range, RangeError};
use super::predicates::Incoming;
use super::routes::{Route, Table, Target, locator};
use super::table::{Routes, RoutesError};
use super::upstream::{Answer, Body};
use super::websocket;
use crate::edge::gateway_middleware::{GatewayMiddleware, RouteTarget, Work};
use crate::edge::web::{sent_method, sent_path};
use crate::kernel::error::PartError;
use crate::kernel::error::StartError;
use crate::kernel::problem::Problem;
use crate::observe::trace;
use crate::observe::trace::{Span, propagation};
use crate::rpc::context::{Caller, Cx};
use crate::rpc::contract::RequiredRole;
use crate::rpc::discovery::{Discovery, Outcome};
use crate::rpc::resilience::registry::Breakers;
use crate::runtime::Host;
use crate::settings;
use actix_web::body::BoxBody;
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::future::LocalBoxFuture;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

/// A fallback may itself be a route with a fallback, but not for ever.
const MOST_FALLBACKS: u32 = 3;
const REGISTRY: &str = "registry";

/// Settings with which the gateway does not start.
#[derive(Debug, thiserror::Error)]
enum SettingsError {
    #[error(transparent)]
    Routes(#[from] RoutesError),
    #[error("gateway.public: {0}")]
    Public(#[from] PatternError),
    #[error("gateway.trusted_proxies: {0}")]
    TrustedProxies(#[from] RangeError),
}

impl PartError for SettingsError {}

/// The front door.
pub(super) struct Gateway {
    pub(super) routes: Routes,
    pub(super) discovery: Arc<dyn Discovery>,
    limiter: Limiter,
    /// Modules of this process that requests may be led to without a hop.
    pub(super) here: Vec<&'static str>,
    metrics: Metrics,
    pub(super) public: Vec<Pattern>,
    pub(super) proxies: Vec<Range>,
    rate: RwLock<Option<Rate>>,
    locator: bool,
    pub(super) body_limit: u64,
    pub(super) connect: Duration,
    /// Our name in `Via`, by which we know our own requests.
    via: String,
    draining: CancellationToken,
}

/// `gateway.rate` and `gateway.burst`.
fn common_rate(settings: &settings::Gateway) -> Option<Rate> {
    let burst = if settings.burst == 0 { settings.rate.saturating_mul(2) } else { settings.burst };
    (settings.rate > 0).then_some(Rate { replenish: settings.rate, burst, requested: 1 })
}

/// One request on its way.
pub(super) struct Trip<'a> {
    pub(super) cx: &'a Cx,
    pub(super) request: &'a HttpRequest,
    pub(super) origin: &'a Origin,
    pub(super) table: &'a Table,
}

pub(super) type Variables = BTreeMap<String, String>;
type RateHeaders = Vec<(HeaderName, HeaderValue)>;

impl Gateway {
    /// By settings.
    pub(super) fn new(host: &Host, discovery: Arc<dyn Discovery>, here: &[&'static str], breakers: Breakers) -> Result<Self, StartError> {
        let settings = &host.settings.gateway;
        let public = settings.public.iter().map(|p| Pattern::path(p, true)).collect::<Result<_, _>>();
        let proxies = settings.trusted_proxies.iter().map(|r| Range::parse(r)).collect::<Result<_, _>>();
        Ok(Self {
            routes: Routes::new(settings, here.contains(&REGISTRY), breakers).map_err(SettingsError::from)?,
            // alone, its page is at another path than here
            here: here.iter().copied().filter(|name| *name != REGISTRY).collect(),
            discovery,
            limiter: Limiter::default(),
            metrics: Metrics::new(&host.metrics)?,
            public: public.map_err(SettingsError::Public)?,
            proxies: proxies.map_err(SettingsError::TrustedProxies)?,
            rate: RwLock::new(common_rate(settings)),
            locator: settings.locator,
            body_limit: settings.body_limit.unwrap_or(host.settings.server.body_limit as u64),
            connect: Duration::from_millis(settings.connect_ms),
            via: format!("1.1 tradepost-{}", uuid::Uuid::new_v4().simple()),
            draining: host.draining.clone(),
        })
    }

    /// The common limit, from now on as these settings say.
    pub(super) fn set_rate(&self, settings: &settings::Gateway) {
        *self.rate.write() = common_rate(settings);
    }

    pub(super) fn rate(&self) -> Option<Rate> {
        *self.rate.read()
    }

    pub(super) fn limit(&self, whose: &str, cx: &Cx, origin: &Origin, rate: Rate) -> Verdict {
        let key = match &cx.caller {
            Caller::User(principal) => format!("{whose} user {}", principal.subject),
            _ => format!("{whose} address {}", origin.client.map(|a| a.to_string()).unwrap_or_default()),
        };
        self.limiter.take(&key, rate, Instant::now())
    }

    pub(super) fn find(&self, table: &Table, request: &HttpRequest, origin: &Origin, path: &str) -> Option<(Arc<Route>, Variables)> {
        let incoming = Incoming { request, path, origin, now: OffsetDateTime::now_utc() };
        table.find(&incoming, rand::random).map(|(route, variables)| (route.clone(), variables))
    }

    /// A route made up for this request, where services are served under their names.
    pub(super) fn located(&self, path: &CleanPath) -> Option<(Arc<Route>, Variables)> {
        if !self.locator && !self.routes.locator() {
            return None;
        }
        let Target::Service(name) = locator(path.plain.split('/').nth(1)?)? else { return None };
        self.discovery.pick(module(&name), None)?;
        let filters = vec![Part::shortcut("StripPrefix=1")];
        let (id, uri) = (format!("DiscoveryClient_{name}"), format!("lb://{name}"));
        let definition = Definition { id, uri, order: 0, predicates: Vec::new(), filters, metadata: BTreeMap::new() };
        Some((Arc::new(Route::alone(definition).ok()?), Variables::new()))
    }

    async fn enter(&self, ahead: &Ahead, cx: &Cx, request: &HttpRequest, payload: Payload) -> Result<HttpResponse, Problem> {
        let by_us = |value: &HeaderValue| value.to_str().is_ok_and(|v| v.contains(&self.via));
        if request.headers().get_all(header::VIA).any(by_us) {
            // we sent it to ourselves: the module that should have it is here and has no such path
            return Err(nothing_here());
        }
        registry_is_read_only(request.method(), &ahead.path)?;
        let verdict = self.rate().map(|rate| self.limit("", cx, &ahead.origin, rate));
        if let Some(verdict) = verdict.as_ref().filter(|v| !v.allowed) {
            return Ok(too_many(cx, request, &verdict.headers));
        }
        let (route, variables) = ahead.route.as_ref().ok_or_else(nothing_here)?;
        let started = Instant::now();
        if let Some(span) = trace::current().filter(Span::is_recorded) {
            span.rename(format!("{} {}", crate::rpc::trace::spelled(request.method()), route.definition.id));
            span.set("tradepost.route", route.definition.id.clone());
        }
        let trip = Trip { cx, request, origin: &ahead.origin, table: &ahead.table };
        let body = Body::new(request, payload, self.body_limit);
        let answer = self.take(&trip, route, variables, &ahead.path, body, 0).await;
        self.observe(route, request, &answer, started);
        let headers = verdict.map(|v| v.headers).unwrap_or_default();
        answer.map(|response| with(response, headers))
    }

    /// Counts an answer.
    pub(super) fn observe(&self, route: &Route, request: &HttpRequest, answer: &Result<HttpResponse, Problem>, started: Instant) {
        let definition = &route.definition;
        self.metrics.observe(&definition.id, &definition.uri, status(answer), request.method(), started.elapsed());
    }

    /// Takes what the route's own limits ask for; the headers tell what is left, or that it was not enough.
    pub(super) fn limits(&self, route: &Route, cx: &Cx, origin: &Origin) -> Result<RateHeaders, RateHeaders> {
        let mut headers = Vec::new();
        for rate in route.rates() {
            let verdict = self.limit(&route.definition.id, cx, origin, rate);
            if !verdict.allowed {
                return Err(verdict.headers);
            }
            headers.extend(verdict.headers);
        }
        Ok(headers)
    }

    /// The answer of a breaker's fallback, where it has one that a route takes.
    pub(super) async fn fall_back(
        &self,
        trip: &Trip<'_>,
        route: &Route,
        circuit: Option<&Circuit>,
        variables: &Variables,
        body: Body,
        fallbacks: u32,
    ) -> Option<Result<HttpResponse, Problem>> {
        let fallback = circuit?.fallback.as_ref().filter(|_| fallbacks < MOST_FALLBACKS)?;
        let path = match clean_path(&escaped(fallback, variables)) {
            Ok(path) => path,
            Err(problem) => return Some(Err(problem)),
        };
        let Some((next, variables)) = self.find(trip.table, trip.request, trip.origin, &path.plain) else {
            tracing::warn!(route = route.definition.id, fallback, "no route takes the fallback");
            return None;
        };
        Some(Box::pin(self.take(trip, &next, &variables, &path, body, fallbacks + 1)).await)
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
        let limits = match self.limits(route, trip.cx, trip.origin) {
            Ok(headers) => headers,
            Err(headers) => return Ok(too_many(trip.cx, trip.request, &headers)),
        };
        let mut out = Outgoing {
            path: path.raw.clone(),
            query: trip.request.query_string().to_string(),
            headers: hygiene::request_headers(trip.request.headers()),
            preserve_host: false,
        };
        for filter in &route.filters {
            if let Some(answer) = filter.before(&mut out, variables) {
                // as in Spring, what the route does to answers is for its service's
                return Ok(with(answer, limits));
            }
        }
        body.limit(route.size().unwrap_or(self.body_limit)).map_err(|failure| refusal(route, failure))?;
        // filters may have made what a client may not
        let cleaned = clean_path(&out.path)?;
        registry_is_read_only(trip.request.method(), &cleaned)?;
        out.path = cleaned.raw;
        self.sign(trip, &path.raw, &mut out);
        if websocket::wanted(trip.request) {
            return self.open(trip, route, variables, &out, body).await;
        }
        if route.target == Target::Nowhere {
            return Ok(with(finish(route, variables, HttpResponse::Ok().finish()), limits));
        }
        let circuit = route.circuit();
        let calling = self.exchange(trip, route, &out, &body);
        let (result, failed) = self.guarded(trip, circuit, |answer: &Answer| answer.status, calling).await;
        if failed {
            let body = if body.whole() { body } else { Body::empty() };
            if let Some(answer) = self.fall_back(trip, route, circuit, variables, body, fallbacks).await {
                return answer;
            }
        }
        let answer = result.map_err(|failure| refusal(route, failure))?;
        let mut response = HttpResponse::new(answer.status);
        let headers = hygiene::response_headers(&answer.headers);
        headers.into_iter().for_each(|(name, value)| response.headers_mut().append(name, value));
        let head = trip.request.method() == Method::HEAD;
        let response = response.set_body(answer.body(head, self.draining.clone()));
        Ok(with(finish(route, variables, response), limits))
    }

    /// Adds what we ourselves say of a request that came in at this path.
    fn sign(&self, trip: &Trip, asked: &str, out: &mut Outgoing) {
        let incoming = trip.request.headers();
        let prefix = asked.trim_end_matches('/').strip_suffix(out.path.trim_end_matches('/')).filter(|prefix| !prefix.is_empty());
        trip.origin.forward(incoming, &mut out.headers, prefix);
        let mut set = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                out.headers.append(name, value);
            }
        };
        set(header::VIA, &self.via);
        if out.preserve_host {
            set(header::HOST, &trip.origin.host);
        }
        // each attempt says its own
        propagation::HEADERS.iter().for_each(|name| drop(out.headers.remove(name)));
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
        let (mut headers, exchange) = (out.headers.clone(), attempt(trip, route, &base, 0));
        propagation::headers(exchange.span().trace()).into_iter().for_each(|(name, value)| headers.append(name, value));
        let shaken = websocket::handshake(&base, &target(out), &headers, connect, limit).await;
        if let Some(picked) = picked {
            picked.done(if shaken.is_ok() { Outcome::Answered } else { Outcome::Failed });
        }
        match &shaken {
            Ok(handshake) => exchange.received(handshake.status),
            Err(failure) => exchange.failed(failure.kind()),
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

impl GatewayMiddleware for Gateway {
    fn look(&self, request: &mut ServiceRequest) {
        Gateway::look(self, request);
    }

    fn way(&self, request: &HttpRequest, endpoint: bool) -> Result<RouteTarget, Problem> {
        if endpoint && is_unclean(request) {
            return Ok(RouteTarget::Endpoint(RequiredRole::Public));
        }
        let kept = ahead(request);
        let ahead = kept.as_deref().map(Result::as_ref).transpose().map_err(Problem::clone)?;
        let access = ahead.map_or(RequiredRole::Any, |ahead| ahead.access);
        if Gateway::leads_away(ahead, endpoint) {
            return Ok(RouteTarget::Door(access));
        }
        // what no route leads to asks for what it needs itself
        Ok(RouteTarget::Endpoint(if ahead.is_some_and(|ahead| ahead.route.is_some()) { access } else { RequiredRole::Public }))
    }

    fn serve(self: Arc<Self>, cx: Cx, request: HttpRequest, payload: Payload) -> LocalBoxFuture<'static, Result<HttpResponse, Problem>> {
        Box::pin(async move {
            let kept = ahead(&request).ok_or_else(nothing_here)?;
            let ahead = kept.as_ref().as_ref().map_err(Problem::clone)?;
            self.enter(ahead, &cx, &request, payload).await
        })
    }

    fn around<'a>(
        &'a self,
        cx: Cx,
        request: &'a HttpRequest,
        payload: Payload,
        work: Work<'a>,
    ) -> LocalBoxFuture<'a, Result<HttpResponse, Problem>> {
        let Some(kept) = ahead(request).filter(|_| !is_unclean(request)) else { return work(cx, payload) };
        Box::pin(async move {
            let ahead = kept.as_ref().as_ref().map_err(Problem::clone)?;
            self.inwards(ahead, cx, request, payload, work).await
        })
    }
}

fn nothing_here() -> Problem {
    Problem::new(404, "there is nothing at this path")
}

fn limited() -> Problem {
    let mut problem = Problem::new(429, "too many requests; come back later");
    problem.retry_after = Some(1);
    problem
}

pub(super) fn too_many(cx: &Cx, request: &HttpRequest, headers: &[(HeaderName, HeaderValue)]) -> HttpResponse {
    with(limited().respond(sent_method(request).as_str(), &sent_path(request), &cx.trace.id()), headers.to_vec())
}

pub(super) fn with(mut response: HttpResponse, headers: Vec<(HeaderName, HeaderValue)>) -> HttpResponse {
    headers.into_iter().for_each(|(name, value)| response.headers_mut().append(name, value));
    response
}

/// The way back through the filters, the last first.
pub(super) fn finish(route: &Route, variables: &Variables, mut response: HttpResponse<BoxBody>) -> HttpResponse {
    let mut status = response.status();
    let headers: &mut HeaderMap = response.headers_mut();
    route.filters.iter().rev().for_each(|filter| filter.after(&mut status, headers, variables));
    *response.status_mut() = status;
    response
}
