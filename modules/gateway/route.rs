//! A route, compiled from its definition.

use super::definition::RouteDefinition;
use super::document::RouteDocument;
use super::error::{RouteError, RouteErrorReason};
use super::filters::{CircuitBreaker, Filter, Retry};
use super::limit::Rate;
use super::pattern::Variables;
use super::predicates::Predicate;
use std::sync::Arc;
use std::time::Duration;

/// Where a route sends its requests.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Target {
    /// An instance of this service, selected by discovery.
    Service(String),
    /// This scheme, host and port.
    Fixed(String),
    /// No upstream (`no://op`): the route's filters produce the response.
    NoOp,
}

/// A compiled route.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) definition: RouteDefinition,
    pub(super) predicates: Vec<Predicate>,
    pub(super) filters: Vec<Filter>,
    pub(super) target: Target,
    pub(super) connect_timeout: Option<Duration>,
    /// Time until the response head arrives; `Some(MAX)` for no limit.
    pub(super) response_timeout: Option<Duration>,
}

impl Route {
    /// A route outside any document: without default filters and default time-outs.
    pub(super) fn standalone(definition: RouteDefinition) -> Result<Self, RouteError> {
        Self::build(definition, &RouteDocument::default())
    }

    pub(super) fn build(definition: RouteDefinition, document: &RouteDocument) -> Result<Self, RouteError> {
        let id = definition.id.clone();
        Self::compile(definition, document).map_err(|reason| RouteError { id, reason })
    }

    fn compile(definition: RouteDefinition, document: &RouteDocument) -> Result<Self, RouteErrorReason> {
        let mut predicates = Vec::new();
        for component in &definition.predicates {
            predicates.extend(Predicate::parse(component, document.host_with_port)?);
        }
        let components = document.default_filters.iter().chain(&definition.filters);
        let filters = components.map(|component| Filter::parse(component, &document.circuits)).collect::<Result<_, _>>()?;
        let timeout = |ms: i64| u64::try_from(ms).map_or(Duration::MAX, Duration::from_millis);
        Ok(Self {
            target: parse_target(&definition.uri)?,
            connect_timeout: definition.timeout_ms("connect-timeout")?.map(timeout).or(document.connect_timeout),
            response_timeout: definition.timeout_ms("response-timeout")?.map(timeout).or(document.response_timeout),
            definition,
            predicates,
            filters,
        })
    }

    pub(super) fn circuit_breaker(&self) -> Option<&CircuitBreaker> {
        self.filters.iter().rev().find_map(|filter| if let Filter::CircuitBreaker(circuit) = filter { Some(circuit) } else { None })
    }

    pub(super) fn retry(&self) -> Option<&Retry> {
        self.filters.iter().rev().find_map(|filter| if let Filter::Retry(retry) = filter { Some(retry) } else { None })
    }

    /// Maximum body size in bytes, if the route sets one.
    pub(super) fn max_body_size(&self) -> Option<u64> {
        self.filters.iter().rev().find_map(|filter| if let Filter::RequestSize(size) = filter { Some(*size) } else { None })
    }

    pub(super) fn rate_limits(&self) -> impl Iterator<Item = Rate> {
        self.filters.iter().filter_map(|filter| if let Filter::RateLimit(rate) = filter { Some(*rate) } else { None })
    }

    /// Whether the route responds with a redirect and calls no service.
    pub(super) fn redirects(&self) -> bool {
        self.filters.iter().any(|filter| matches!(filter, Filter::RedirectTo(..)))
    }
}

/// The route that matches a request, with its captured values.
pub(super) type RouteMatch = (Arc<Route>, Variables);

fn parse_target(uri: &str) -> Result<Target, RouteErrorReason> {
    let invalid = || RouteErrorReason::Uri { uri: uri.into() };
    let (scheme, rest) = uri.split_once("://").ok_or_else(invalid)?;
    let scheme = scheme.to_ascii_lowercase();
    // like Spring: the URI's path is ignored, the request keeps its own
    let host = rest.split(['/', '?']).next().filter(|host| !host.is_empty()).ok_or_else(invalid)?;
    match scheme.as_str() {
        "lb" => Ok(Target::Service(host.to_ascii_lowercase())),
        "no" => Ok(Target::NoOp),
        "http" | "ws" => Ok(Target::Fixed(format!("http://{host}"))),
        "https" | "wss" if cfg!(feature = "tls") => Ok(Target::Fixed(format!("https://{host}"))),
        "https" | "wss" => Err(RouteErrorReason::NoTls { uri: uri.into() }),
        _ => Err(invalid()),
    }
}
