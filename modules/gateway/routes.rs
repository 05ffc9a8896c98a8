//! The table of routes: what a file, the actuator and the shop itself define, ready to be matched.

use super::file::{Definition, Document, Part, RoutePartError};
use super::filters::{Circuit, Filter, Retry};
use super::limit::Rate;
use super::predicates::{Incoming, Predicate};
use crate::rpc::resilience::registry::Guard;
use crate::settings::BreakerRules;
use serde_json::json;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A route that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("route `{id}`: {reason}")]
pub(super) struct RouteError {
    pub(super) id: String,
    #[source]
    pub(super) reason: RouteReason,
}

impl RouteError {
    /// For the route of this id.
    pub(super) fn of(id: &str, reason: impl Into<RouteReason>) -> Self {
        Self { id: id.into(), reason: reason.into() }
    }
}

/// Why a route cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum RouteReason {
    /// A member is missing or of another type.
    #[error(transparent)]
    Form(#[from] serde_json::Error),
    #[error(transparent)]
    Part(#[from] RoutePartError),
    /// `uri` leads nowhere that we know.
    #[error("uri `{uri}`: expected lb://service-name or http://host:port")]
    Uri { uri: String },
    /// `uri` needs a feature that this build has not.
    #[error("uri `{uri}`: this build has no https; build with --features tls")]
    NoTls { uri: String },
    /// A duration of the metadata is no number.
    #[error("metadata {name}: `{value}` is no number of milliseconds")]
    Metadata { name: &'static str, value: String },
}

/// Why routes do not make a table.
#[derive(Debug, thiserror::Error)]
pub(super) enum TableError {
    #[error(transparent)]
    Route(#[from] RouteError),
    /// Two routes have one id.
    #[error("route `{id}` is there twice")]
    Twice { id: String },
}

/// Where requests of a route go.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Target {
    /// An instance of this service, as discovery picks it.
    Service(String),
    /// This scheme, host and port.
    Fixed(String),
    /// Nowhere: its filters answer.
    Nowhere,
}

/// A route, ready.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) definition: Definition,
    predicates: Vec<Predicate>,
    pub(super) filters: Vec<Filter>,
    pub(super) target: Target,
    pub(super) connect: Option<Duration>,
    /// How long the answer may take to begin; `Some(MAX)` for no limit.
    pub(super) response: Option<Duration>,
}

impl Route {
    /// A route of no file.
    pub(super) fn alone(definition: Definition) -> Result<Self, RouteError> {
        Self::build(definition, &Document::default())
    }

    fn build(definition: Definition, document: &Document) -> Result<Self, RouteError> {
        let id = definition.id.clone();
        Self::ready(definition, document).map_err(|reason| RouteError { id, reason })
    }

    fn ready(definition: Definition, document: &Document) -> Result<Self, RouteReason> {
        let mut predicates = Vec::new();
        for part in &definition.predicates {
            predicates.extend(Predicate::read(part, document.host_with_port)?);
        }
        let parts = document.default_filters.iter().chain(&definition.filters);
        let filters = parts.map(|part| Filter::read(part, &document.circuits)).collect::<Result<_, _>>()?;
        let limit = |ms: i64| u64::try_from(ms).map_or(Duration::MAX, Duration::from_millis);
        Ok(Self {
            target: target(&definition.uri)?,
            connect: definition.time("connect-timeout")?.map(limit).or(document.connect),
            response: definition.time("response-timeout")?.map(limit).or(document.response),
            definition,
            predicates,
            filters,
        })
    }
}

impl Route {
    /// Its breaker.
    pub(super) fn circuit(&self) -> Option<&Circuit> {
        self.filters.iter().rev().find_map(|filter| if let Filter::Circuit(circuit) = filter { Some(circuit) } else { None })
    }

    /// When its requests are sent again.
    pub(super) fn retry(&self) -> Option<&Retry> {
        self.filters.iter().rev().find_map(|filter| if let Filter::Retry(retry) = filter { Some(retry) } else { None })
    }

    /// Largest body, where it says so itself.
    pub(super) fn size(&self) -> Option<u64> {
        self.filters.iter().rev().find_map(|filter| if let Filter::Size(size) = filter { Some(*size) } else { None })
    }

    /// Its rate limits.
    pub(super) fn rates(&self) -> impl Iterator<Item = Rate> {
        self.filters.iter().filter_map(|filter| if let Filter::Limit(rate) = filter { Some(*rate) } else { None })
    }

    /// Whether it answers by itself, and nobody is asked.
    pub(super) fn redirects(&self) -> bool {
        self.filters.iter().any(|filter| matches!(filter, Filter::RedirectTo(..)))
    }
}

fn target(uri: &str) -> Result<Target, RouteReason> {
    let wrong = || RouteReason::Uri { uri: uri.into() };
    let (scheme, rest) = uri.split_once("://").ok_or_else(wrong)?;
    let scheme = scheme.to_ascii_lowercase();
    // as in Spring, a path in the URI says nothing: the request's own goes on
    let host = rest.split(['/', '?']).next().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
    match scheme.as_str() {
        "lb" => Ok(Target::Service(host.to_ascii_lowercase())),
        "no" => Ok(Target::Nowhere),
        "http" | "ws" => Ok(Target::Fixed(format!("http://{host}"))),
        "https" | "wss" if cfg!(feature = "tls") => Ok(Target::Fixed(format!("https://{host}"))),
        "https" | "wss" => Err(RouteReason::NoTls { uri: uri.into() }),
        _ => Err(wrong()),
    }
}

/// All routes, in the order in which they are tried.
#[derive(Default)]
pub(super) struct Table {
    pub(super) routes: Vec<Arc<Route>>,
    /// The breakers that they name; filled in when it is put to use.
    pub(super) guards: BTreeMap<String, Arc<Guard>>,
    groups: BTreeMap<String, Vec<(String, u32)>>,
}

impl Table {
    /// Of a document, and of what the actuator has added.
    pub(super) fn build(document: &Document, added: &BTreeMap<String, Definition>) -> Result<Self, TableError> {
        let mut table = Self::default();
        for definition in document.routes.iter().chain(added.values()) {
            if table.routes.iter().any(|route| route.definition.id == definition.id) {
                return Err(TableError::Twice { id: definition.id.clone() });
            }
            table.routes.push(Arc::new(Route::build(definition.clone(), document)?));
        }
        // stable: routes of the same order stay as they are written
        table.routes.sort_by_key(|route| route.definition.order);
        for route in &table.routes {
            for predicate in &route.predicates {
                if let Predicate::Weight(group, weight) = predicate {
                    table.groups.entry(group.clone()).or_default().push((route.definition.id.clone(), *weight));
                }
            }
        }
        Ok(table)
    }

    /// The breakers that routes name, with their rules.
    pub(super) fn breakers(&self) -> BTreeMap<String, BreakerRules> {
        let circuits = self.routes.iter().filter_map(|route| route.circuit());
        circuits.map(|circuit| (circuit.name.clone(), circuit.settings.rules)).collect()
    }

    /// The first route that takes this request, with what its patterns name. `random` is asked once at
    /// most, for a number of 0 up to 1.
    pub(super) fn find(&self, incoming: &Incoming, random: impl Fn() -> f64) -> Option<(&Arc<Route>, BTreeMap<String, String>)> {
        let number = OnceCell::new();
        self.routes.iter().find_map(|route| {
            let mut variables = BTreeMap::new();
            let drawn = |group: &str| self.drawn(group, *number.get_or_init(&random)) == Some(route.definition.id.as_str());
            let taken = route.predicates.iter().all(|predicate| predicate.matches(incoming, &mut variables, &drawn));
            taken.then_some((route, variables))
        })
    }

    fn drawn(&self, group: &str, number: f64) -> Option<&str> {
        let members = self.groups.get(group)?;
        let mut left = number * members.iter().map(|(_, weight)| f64::from(*weight)).sum::<f64>();
        let found = members.iter().find(|(_, weight)| {
            left -= f64::from(*weight);
            left < 0.0
        });
        found.map(|(id, _)| id.as_str())
    }
}

/// The shop's own routes, where no file is given. Of the registry only its page is shown, where it does
/// not run in this process and shows it itself.
pub(super) fn builtin(dashboard: Option<&str>) -> Result<Document, RoutePartError> {
    let route = |id: &str, path: &str, filters: Vec<Part>, uri: &str| Definition {
        id: id.into(),
        uri: uri.into(),
        order: 0,
        predicates: vec![Part::shortcut(&format!("Path={path}"))],
        filters,
        metadata: BTreeMap::new(),
    };
    let service = |name: &str, path: &str| route(name, path, Vec::new(), &format!("lb://{name}"));
    // a key makes an order the same however often it is sent, and so is cancelling one: what was cut off may
    // be sent again. What the service answers stands, whatever it is
    let args = json!({ "retries": 2, "methods": "POST", "series": [], "statuses": "BAD_GATEWAY", "backoff": { "firstBackoff": "20ms" } });
    let again = Part::read(&json!({ "name": "Retry", "args": args }))?;
    let repeatable = |id: &str, path: &str, further: &[&str]| {
        let mut repeatable = route(id, path, vec![again.clone()], "lb://order-service");
        repeatable.predicates.extend(further.iter().map(|part| Part::shortcut(part)));
        repeatable
    };
    let mut routes = vec![
        repeatable("order-with-key", "/api/v1/orders", &["Method=POST", "Header=Idempotency-Key"]),
        repeatable("order-cancellation", "/api/v1/orders/{id}/cancel", &["Method=POST"]),
        service("product-service", "/api/v1/products/**"),
        service("inventory-service", "/api/v1/inventory/**"),
        service("order-service", "/api/v1/orders/**"),
        service("notification-service", "/api/v1/notifications/**"),
        service("identity-service", "/realms/**"),
        // the only module that takes events has all the dead letters there are
        route("dead-letters", "/actuator/deadletters/**", Vec::new(), "lb://notification-service"),
    ];
    if let Some(dashboard) = dashboard {
        let rest = dashboard.split_once("://").map_or(dashboard, |(_, rest)| rest);
        let page = rest.split_once('/').map_or_else(|| "/".to_string(), |(_, path)| format!("/{path}"));
        routes.push(route("discovery-server", "/eureka/web", vec![Part::shortcut(&format!("SetPath={page}"))], dashboard));
    }
    Ok(Document { routes, ..Document::default() })
}

/// What the discovery locator adds: every service under its own name, after all other routes.
pub(super) fn locator(segment: &str) -> Option<Target> {
    let name = segment.to_ascii_lowercase();
    let fits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    fits.then_some(Target::Service(name))
}
