//! The way into modules of this very process: the same routes and filters, and no hop.
//!
//! A request is looked at before an endpoint is looked for, so that a route may change its path. A
//! route's filters then stand around the endpoint as they would stand around a service elsewhere: limits,
//! headers, size, time, breaker with its fallback. `Retry` has nothing to do here: there is no
//! connection that could break. An endpoint that no route names answers as it would without the gateway.

use super::exchange::{NEVER, module, ours, refusal};
use super::filters::Outgoing;
use super::forward::{Gateway, Trip, Variables, finish, too_many, with};
use super::hygiene::{self, CleanPath, Origin, clean_path};
use super::routes::{Route, Table, Target};
use super::upstream::{Body, Failure};
use crate::edge::gateway_middleware::{SentPath, Work};
use crate::edge::web::sent_method;
use crate::kernel::problem::Problem;
use crate::rpc::context::Cx;
use crate::rpc::contract::RequiredRole;
use crate::rpc::loopback::is_inside;
use actix_web::HttpMessage;
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::{Method, StatusCode, Uri};
use actix_web::{HttpRequest, HttpResponse};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// What a gateway shows of itself: no route leads away from it.
const OWN: [&str; 5] = ["/actuator", "/console/traces", "/console/traces.json", "/v3/api-docs", "/swagger-ui"];

/// What is known of a request before anybody answers it.
pub(super) struct Ahead {
    pub(super) path: CleanPath,
    pub(super) origin: Origin,
    pub(super) table: Arc<Table>,
    pub(super) route: Option<(Arc<Route>, Variables)>,
    /// Whether the route leads to a module of this process.
    local: bool,
    /// What the gateway itself asks of the sender.
    pub(super) access: RequiredRole,
}

/// A path that has no one form, where all else is as it should be.
struct Unclean;

/// Whether only its path is at fault.
pub(super) fn is_unclean(request: &HttpRequest) -> bool {
    request.extensions().contains::<Unclean>()
}

/// As it is kept with the request.
type Kept = Rc<Result<Ahead, Problem>>;

/// What was found out about this request; none of one that this process sent to itself.
pub(super) fn ahead(request: &HttpRequest) -> Option<Kept> {
    request.extensions().get::<Kept>().cloned()
}

impl Gateway {
    /// Looks at a request, and sets it on its way where that leads to a module of this process.
    pub(super) fn look(&self, request: &mut ServiceRequest) {
        if is_inside(request.headers()) {
            return;
        }
        // an endpoint of this process may take an unclean path: services ask for what is named `a/b`
        let path = hygiene::check_headers(request.request()).map(|()| clean_path(request.uri().path()));
        let path = path.and_then(|path| {
            path.inspect_err(|_| {
                request.extensions_mut().insert(Unclean);
            })
        });
        let mut ahead = path.and_then(|path| self.judge(request.request(), path));
        if let Ok(Ahead { local: true, route: Some((route, variables)), path, .. }) = &ahead
            && let Err(problem) = redirect(request, route, variables, path)
        {
            ahead = Err(problem);
        }
        request.extensions_mut().insert::<Kept>(Rc::new(ahead));
    }

    fn judge(&self, request: &HttpRequest, path: CleanPath) -> Result<Ahead, Problem> {
        let origin = Origin::of(request, &self.proxies);
        let table = self.routes.table();
        let own = OWN.iter().any(|own| path.plain.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
        // dead letters are shown where the events are taken
        let own = own && (self.here.contains(&"notification") || !path.plain.starts_with("/actuator/deadletters"));
        let route = if own { None } else { self.find(&table, request, &origin, &path.plain) };
        let route = route.or_else(|| self.located(&path));
        let leads_to = |judge: &dyn Fn(&str) -> bool| {
            let target = route.as_ref().map(|(route, _)| &route.target);
            matches!(target, Some(Target::Service(name)) if judge(name))
        };
        let local = leads_to(&|name| self.here.contains(&module(name))) && !route.as_ref().is_some_and(|(route, _)| route.redirects());
        // our own services answer OPTIONS without a token and without a handler; of others we do not know
        let asks = request.method() == Method::OPTIONS && leads_to(&ours);
        let public = asks || self.public.iter().any(|pattern| pattern.matches(&path.plain));
        let access = if public { RequiredRole::Public } else { RequiredRole::Any };
        Ok(Ahead { path, origin, table, route, local, access })
    }

    /// Whether the gateway itself answers: what is no endpoint's, and what a route leads away from one.
    pub(super) fn leads_away(ahead: Option<&Ahead>, endpoint: bool) -> bool {
        match ahead {
            Some(Ahead { route: Some(_), local, .. }) => !local,
            _ => !endpoint,
        }
    }

    /// Around an endpoint of this process: the common limit, then the filters of the route that led here.
    pub(super) async fn inwards<'a>(
        &'a self,
        ahead: &Ahead,
        cx: Cx,
        request: &'a HttpRequest,
        payload: Payload,
        work: Work<'a>,
    ) -> Result<HttpResponse, Problem> {
        // peers call each other as often as they need to
        let rate = self.rate().filter(|_| !cx.has_role("service"));
        let verdict = rate.map(|rate| self.limit("", &cx, &ahead.origin, rate));
        if let Some(verdict) = verdict.as_ref().filter(|v| !v.allowed) {
            return Ok(too_many(&cx, request, &verdict.headers));
        }
        let limits = verdict.map(|v| v.headers).unwrap_or_default();
        let Some((route, variables)) = &ahead.route else {
            let answer = work(cx.clone(), payload).await;
            return if limits.is_empty() { answer } else { Ok(with(told(answer, &cx, request), limits)) };
        };
        let started = Instant::now();
        let answer = self.through(ahead, route, variables, cx, request, payload, work).await;
        self.observe(route, request, &answer, started);
        answer.map(|response| with(response, limits))
    }

    #[expect(clippy::too_many_arguments, reason = "a request, what is known of it, and who answers it")]
    async fn through<'a>(
        &'a self,
        ahead: &Ahead,
        route: &Route,
        variables: &Variables,
        mut cx: Cx,
        request: &'a HttpRequest,
        payload: Payload,
        work: Work<'a>,
    ) -> Result<HttpResponse, Problem> {
        let limits = match self.limits(route, &cx, &ahead.origin) {
            Ok(headers) => headers,
            Err(headers) => return Ok(too_many(&cx, request, &headers)),
        };
        let circuit = route.circuit();
        let limit = route.response.into_iter().chain(circuit.and_then(|c| c.settings.limit)).min().unwrap_or(NEVER);
        cx.deadline = cx.deadline.min(Instant::now() + limit.min(NEVER));
        let body = Body::new(request, payload, self.body_limit);
        body.limit(route.size().unwrap_or(self.body_limit)).map_err(|failure| refusal(route, failure))?;
        let trip = Trip { cx: &cx, request, origin: &ahead.origin, table: &ahead.table };
        let calling = async {
            let answer = tokio::time::timeout(limit.min(NEVER), work(cx.clone(), body.as_payload())).await;
            let answer = told(answer.map_err(|_| Failure::LazyRef)?, &cx, request);
            if body.is_over() { Err(Failure::TooLarge(route.size().unwrap_or(self.body_limit))) } else { Ok(answer) }
        };
        let (result, failed) = self.guarded(&trip, circuit, HttpResponse::status, calling).await;
        if failed && let Some(answer) = self.fall_back(&trip, route, circuit, variables, Body::empty(), 0).await {
            return answer;
        }
        let response = result.map_err(|failure| refusal(route, failure))?;
        Ok(with(finish(route, variables, response), limits))
    }
}

/// What the client is told, refusals included: filters treat them like any answer.
fn told(answer: Result<HttpResponse, Problem>, cx: &Cx, request: &HttpRequest) -> HttpResponse {
    answer.unwrap_or_else(|problem| problem.respond(sent_method(request).as_str(), request.path(), &cx.trace.id()))
}

/// Lets the filters change the request, and names the endpoint that it is for.
fn redirect(request: &mut ServiceRequest, route: &Route, variables: &Variables, path: &CleanPath) -> Result<(), Problem> {
    let headers = request.headers_mut();
    hygiene::strip_claims(headers);
    let headers = std::mem::take(headers);
    let query = request.query_string().to_string();
    let mut out = Outgoing { path: path.raw.clone(), query, headers, preserve_host: false };
    for filter in &route.filters {
        filter.before(&mut out, variables);
    }
    *request.headers_mut() = std::mem::take(&mut out.headers);
    out.path = clean_path(&out.path)?.raw;
    hygiene::registry_is_read_only(request.method(), &clean_path(&out.path)?)?;
    if out.path == request.uri().path() && out.query == request.query_string() {
        return Ok(());
    }
    let target = super::exchange::target(&out);
    let uri: Uri = target.parse().map_err(|_| Problem::new(400, format!("malformed request: `{target}` is no path")))?;
    let sent = SentPath(request.path().to_string());
    request.extensions_mut().insert(sent);
    request.match_info_mut().get_mut().update(&uri);
    request.head_mut().uri = uri;
    Ok(())
}

/// The status of a refusal or of an answer.
pub(super) fn status(answer: &Result<HttpResponse, Problem>) -> StatusCode {
    answer.as_ref().map_or_else(|p| StatusCode::from_u16(p.status).unwrap_or_default(), HttpResponse::status)
}
