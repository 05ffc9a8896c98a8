//! The built-in routes.

use super::definition::{Component, RouteDefinition};
use super::document::RouteDocument;
use super::error::ComponentError;
use serde_json::json;
use std::collections::BTreeMap;

/// Routes in use without `gateway.routes`. `dashboard` is the URI of the registry's page, if the registry
/// runs in another process; the rest of the registry has no route.
pub(super) fn builtin_routes(dashboard: Option<&str>) -> Result<RouteDocument, ComponentError> {
    let route = |id: &str, path: &str, filters: Vec<Component>, uri: &str| RouteDefinition {
        id: id.into(),
        uri: uri.into(),
        order: 0,
        predicates: vec![Component::shortcut(&format!("Path={path}"))],
        filters,
        metadata: BTreeMap::new(),
    };
    let service = |name: &str, path: &str| route(name, path, Vec::new(), &format!("lb://{name}"));
    // placing an order with a key and cancelling an order are idempotent: retry both after a failed call or a
    // 502; any other response is final
    let args = json!({ "retries": 2, "methods": "POST", "series": [], "statuses": "BAD_GATEWAY", "backoff": { "firstBackoff": "20ms" } });
    let retry = Component::parse(&json!({ "name": "Retry", "args": args }))?;
    let idempotent = |id: &str, path: &str, further_predicates: &[&str]| {
        let mut definition = route(id, path, vec![retry.clone()], "lb://order-service");
        definition.predicates.extend(further_predicates.iter().map(|predicate| Component::shortcut(predicate)));
        definition
    };
    let mut routes = vec![
        idempotent("order-with-key", "/api/v1/orders", &["Method=POST", "Header=Idempotency-Key"]),
        idempotent("order-cancellation", "/api/v1/orders/{id}/cancel", &["Method=POST"]),
        service("product-service", "/api/v1/products/**"),
        service("inventory-service", "/api/v1/inventory/**"),
        service("order-service", "/api/v1/orders/**"),
        service("notification-service", "/api/v1/notifications/**"),
        service("identity-service", "/realms/**"),
        // dead letters belong to the only module that consumes events
        route("dead-letters", "/actuator/deadletters/**", Vec::new(), "lb://notification-service"),
    ];
    if let Some(dashboard) = dashboard {
        let rest = dashboard.split_once("://").map_or(dashboard, |(_, rest)| rest);
        let page = rest.split_once('/').map_or_else(|| "/".to_string(), |(_, path)| format!("/{path}"));
        routes.push(route("discovery-server", "/eureka/web", vec![Component::shortcut(&format!("SetPath={page}"))], dashboard));
    }
    Ok(RouteDocument { routes, ..RouteDocument::default() })
}
