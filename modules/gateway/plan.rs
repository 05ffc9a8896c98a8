//! Plan phase: sanitizes a request and selects its route before actix selects an endpoint, so that the
//! route's filters can change the path.

use super::context::RouteDecision;
use super::definition::{Component, RouteDefinition};
use super::filters::OutgoingRequest;
use super::pattern::Variables;
use super::predicates::IncomingRequest;
use super::route::{Route, RouteMatch, Target};
use super::sanitize::{self, CleanPath, RequestOrigin, clean_path};
use super::service::{discovery_name, is_module};
use super::state::Gateway;
use super::table::RouteTable;
use crate::edge::gateway_middleware::OriginalPath;
use crate::kernel::problem::Problem;
use crate::rpc::contract::RequiredRole;
use crate::rpc::loopback::is_loopback;
use actix_web::dev::ServiceRequest;
use actix_web::http::{Method, Uri};
use actix_web::{HttpMessage, HttpRequest};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use time::OffsetDateTime;

/// Paths of the gateway's own pages: no route applies to them.
const OWN_PATHS: [&str; 5] = ["/actuator", "/console/traces", "/console/traces.json", "/v3/api-docs", "/swagger-ui"];

/// Marks a request with a valid head but an ambiguous path.
struct AmbiguousPath;

pub(super) fn has_ambiguous_path(request: &HttpRequest) -> bool {
    request.extensions().contains::<AmbiguousPath>()
}

/// The request extension with the decision.
type SharedDecision = Rc<Result<RouteDecision, Problem>>;

/// The decision about this request; `None` if this process sent the request to itself.
pub(super) fn decision(request: &HttpRequest) -> Option<SharedDecision> {
    request.extensions().get::<SharedDecision>().cloned()
}

impl Gateway {
    /// Decides about a request and stores the decision with it. If the route leads to a module of this
    /// process, applies the request filters.
    pub(super) fn plan(&self, request: &mut ServiceRequest) {
        if is_loopback(request.headers()) {
            return;
        }
        // endpoints of this process may accept an ambiguous path: services request names with a slash, as `a%2fb`
        let path = sanitize::check_headers(request.request()).map(|()| clean_path(request.uri().path()));
        let path = path.and_then(|path| {
            path.inspect_err(|_| {
                request.extensions_mut().insert(AmbiguousPath);
            })
        });
        let mut decision = path.and_then(|path| self.decide(request.request(), path));
        if let Ok(RouteDecision { local: true, route: Some((route, variables)), path, .. }) = &decision
            && let Err(problem) = apply_request_filters(request, route, variables, path)
        {
            decision = Err(problem);
        }
        request.extensions_mut().insert::<SharedDecision>(Rc::new(decision));
    }

    fn decide(&self, request: &HttpRequest, path: CleanPath) -> Result<RouteDecision, Problem> {
        let origin = RequestOrigin::of(request, &self.trusted_proxies);
        let table = self.routes.table();
        let own = OWN_PATHS.iter().any(|own| path.decoded.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
        // dead letters belong to the process of the module notification
        let own = own && (self.local_modules.contains(&"notification") || !path.decoded.starts_with("/actuator/deadletters"));
        let route = if own { None } else { self.find_route(&table, request, &origin, &path.decoded) };
        let route = route.or_else(|| self.discovery_locator_route(&path));
        let targets_service = |condition: &dyn Fn(&str) -> bool| {
            let target = route.as_ref().map(|(route, _)| &route.target);
            matches!(target, Some(Target::Service(name)) if condition(name))
        };
        let local = targets_service(&|name| self.local_modules.contains(&discovery_name(name)))
            && !route.as_ref().is_some_and(|(route, _)| route.redirects());
        // modules answer OPTIONS without a token and without a handler; other services may not
        let preflight = request.method() == Method::OPTIONS && targets_service(&is_module);
        let public = preflight || self.public.iter().any(|pattern| pattern.matches(&path.decoded));
        let required_role = if public { RequiredRole::Public } else { RequiredRole::Any };
        Ok(RouteDecision { path, origin, table, route, local, required_role })
    }

    pub(super) fn find_route(&self, table: &RouteTable, request: &HttpRequest, origin: &RequestOrigin, path: &str) -> Option<RouteMatch> {
        let incoming = IncomingRequest { request, path, origin, now: OffsetDateTime::now_utc() };
        table.find(&incoming, rand::random).map(|(route, variables)| (route.clone(), variables))
    }

    /// The discovery locator's route: the first path segment names the service.
    fn discovery_locator_route(&self, path: &CleanPath) -> Option<RouteMatch> {
        if !self.discovery_locator && !self.routes.discovery_locator() {
            return None;
        }
        let name = service_name(path.decoded.split('/').nth(1)?)?;
        self.discovery.pick(discovery_name(&name), None)?;
        let filters = vec![Component::shortcut("StripPrefix=1")];
        let (id, uri) = (format!("DiscoveryClient_{name}"), format!("lb://{name}"));
        let definition = RouteDefinition { id, uri, order: 0, predicates: Vec::new(), filters, metadata: BTreeMap::new() };
        Some((Arc::new(Route::standalone(definition).ok()?), Variables::new()))
    }
}

fn service_name(segment: &str) -> Option<String> {
    let name = segment.to_ascii_lowercase();
    let valid = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    valid.then_some(name)
}

/// Whether the gateway itself serves the request: no endpoint has its path, or a route leads elsewhere.
pub(super) fn is_proxied(decision: Option<&RouteDecision>, has_endpoint: bool) -> bool {
    match decision {
        Some(RouteDecision { route: Some(_), local, .. }) => !local,
        _ => !has_endpoint,
    }
}

/// Applies the route's filters to a request for a module of this process; actix then selects the endpoint
/// by the new path.
fn apply_request_filters(request: &mut ServiceRequest, route: &Route, variables: &Variables, path: &CleanPath) -> Result<(), Problem> {
    let headers = request.headers_mut();
    sanitize::strip_untrusted_headers(headers);
    let headers = std::mem::take(headers);
    let query = request.query_string().to_string();
    let mut outgoing = OutgoingRequest { path: path.encoded.clone(), query, headers, preserve_host: false };
    for filter in &route.filters {
        filter.apply_to_request(&mut outgoing, variables);
    }
    *request.headers_mut() = std::mem::take(&mut outgoing.headers);
    let cleaned = clean_path(&outgoing.path)?;
    sanitize::reject_registry_write(request.method(), &cleaned)?;
    outgoing.path = cleaned.encoded;
    if outgoing.path == request.uri().path() && outgoing.query == request.query_string() {
        return Ok(());
    }
    let target = outgoing.path_and_query();
    let uri: Uri = target.parse().map_err(|_| Problem::new(400, format!("malformed request: `{target}` is no path")))?;
    let sent = OriginalPath(request.path().to_string());
    request.extensions_mut().insert(sent);
    request.match_info_mut().get_mut().update(&uri);
    request.head_mut().uri = uri;
    Ok(())
}
