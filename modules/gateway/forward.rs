//! A request's way through: checked, matched, filtered, sent, answered.

use super::breaker::Breakers;
use super::exchange::{NEVER, module, ours, refusal, target, until};
use super::file::{Definition, Part};
use super::filters::{Filter, Outgoing, escaped};
use super::hygiene::{self, CleanPath, Origin, clean_path};
use super::limit::{Limiter, Rate, Verdict};
use super::metrics::Metrics;
use super::pattern::{Pattern, Range};
use super::predicates::Incoming;
use super::routes::{Dice, Route, Table, Target, locator};
use super::table::Routes;
use super::upstream::Body;
use super::websocket;
use crate::config;
use crate::platform::contract::Access;
use crate::platform::cx::{Caller, Cx, TRACE_HEADER};
use crate::platform::discovery::{Discovery, Outcome};
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
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

/// A fallback may itself be a route with a fallback, but not for ever.
const MOST_FALLBACKS: u32 = 3;
/// The front door.
pub(super) struct Gateway {
    pub(super) routes: Routes,
    pub(super) discovery: Arc<dyn Discovery>,
    limiter: Limiter,
    pub(super) breakers: Breakers,
    metrics: Metrics,
    public: Vec<Pattern>,
    proxies: Vec<Range>,
    rate: RwLock<Option<Rate>>,
    locator: bool,
    body_limit: u64,
    pub(super) connect: Duration,
    /// Our name in `Via`, by which we know our own requests.
    via: String,
    dice: Dice,
    draining: CancellationToken,
}

/// `gateway.rate` and `gateway.burst`.
fn common_rate(settings: &config::Gateway) -> Option<Rate> {
    let burst = if settings.burst == 0 { settings.rate.saturating_mul(2) } else { settings.burst };
    (settings.rate > 0).then_some(Rate { replenish: settings.rate, burst, requested: 1 })
}

/// One request on its way.
pub(super) struct Trip<'a> {
    pub(super) cx: &'a Cx,
    pub(super) request: &'a HttpRequest,
    origin: &'a Origin,
    pub(super) table: &'a Table,
}

type Variables = BTreeMap<String, String>;

impl Gateway {
    /// By settings.
    pub(super) fn new(host: &Host, discovery: Arc<dyn Discovery>) -> Result<Self, StartError> {
        let settings = &host.settings.gateway;
        let public = settings.public.iter().map(|p| Pattern::path(p, true)).collect::<Result<_, _>>();
        let proxies = settings.trusted_proxies.iter().map(|r| Range::parse(r)).collect::<Result<_, _>>();
        let id = uuid::Uuid::new_v4();
        Ok(Self {
            routes: Routes::new(settings)?,
            discovery,
            limiter: Limiter::default(),
            breakers: Breakers::default(),
            metrics: Metrics::new(&host.metrics)?,
            public: public.map_err(|e| format!("gateway.public: {e}"))?,
            proxies: proxies.map_err(|e| format!("gateway.trusted_proxies: {e}"))?,
            rate: RwLock::new(common_rate(settings)),
            locator: settings.locator,
            body_limit: settings.body_limit.unwrap_or(host.settings.server.body_limit as u64),
            connect: Duration::from_millis(settings.connect_ms),
            via: format!("1.1 tradepost-{}", id.simple()),
            dice: Dice::new(id.as_u64_pair().0),
            draining: host.draining.clone(),
        })
    }

    /// The common limit, from now on as these settings say.
    pub(super) fn set_rate(&self, settings: &config::Gateway) {
        *self.rate.write().unwrap_or_else(PoisonError::into_inner) = common_rate(settings);
    }

    fn rate(&self) -> Option<Rate> {
        *self.rate.read().unwrap_or_else(PoisonError::into_inner)
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
        table.find(&incoming, || self.dice.roll())
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
        let by_us = |value: &HeaderValue| value.to_str().is_ok_and(|v| v.contains(&self.via));
        if request.headers().get_all(header::VIA).any(by_us) {
            // we sent it to ourselves: the module that should have it is here and has no such path
            return Err(nothing_here());
        }
        registry_is_read_only(request.method(), &path)?;
        let origin = Origin::of(request, &self.proxies);
        let verdict = self.rate().map(|rate| self.limit("", cx, &origin, rate));
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
            if found.is_some_and(|(route, _)| matches!(&route.target, Target::Service(name) if ours(name))) {
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
        let Some(rate) = self.rate().filter(|_| !cx.has_role("service")) else { return Admission::default() };
        let verdict = self.limit("", cx, &Origin::of(request, &self.proxies), rate);
        let refusal = (!verdict.allowed).then(limited);
        Admission { headers: verdict.headers, refusal }
    }
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
