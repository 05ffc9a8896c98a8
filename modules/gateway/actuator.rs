//! `/actuator/gateway`: lists routes; adds and removes routes until the next start. For administrators.

use super::definition::{Component, RouteDefinition};
use super::route::Route;
use super::state::Gateway;
use super::{filters, predicates};
use crate::edge::web::read_body;
use crate::kernel::problem::Problem;
use crate::rpc::contract::{Endpoint, RequiredRole, parse_json};
use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};
use std::sync::Arc;

const MAX_BODY_BYTES: usize = 64 * 1024;
/// Filters of every routed request, with their order.
const GLOBAL_FILTERS: [(&str, i64); 7] = [
    ("PathAndHeaderHygiene", -100),
    ("Authentication", -90),
    ("RateLimit", -80),
    ("ForwardedHeaders", 0),
    ("LoadBalancer", 10_150),
    ("WebSocketRouting", 2_147_483_646),
    ("HttpRouting", 2_147_483_647),
];

const LISTS: [&str; 4] = ["globalfilters", "routefilters", "routepredicates", "routes"];

fn list_link(name: &str) -> Value {
    json!({ "href": format!("/actuator/gateway/{name}"), "methods": ["GET"] })
}

pub(super) fn endpoints(gateway: &Arc<Gateway>) -> Vec<Endpoint> {
    let get = |name, path, handler: fn(&Gateway, &HttpRequest) -> Result<HttpResponse, Problem>| {
        let gateway = gateway.clone();
        Endpoint::raw("gateway", name, Method::GET, path, RequiredRole::Admin, move |_, request, _| {
            std::future::ready(handler(&gateway, &request))
        })
    };
    let (adding, removing, refreshing) = (gateway.clone(), gateway.clone(), gateway.clone());
    vec![
        get("gateway", "/actuator/gateway", |_, _| Ok(HttpResponse::Ok().json(LISTS.map(list_link)))),
        get("routes", "/actuator/gateway/routes", |gateway, _| {
            Ok(HttpResponse::Ok().json(gateway.routes.table().routes.iter().map(|route| route_json(route)).collect::<Vec<_>>()))
        }),
        get("route", "/actuator/gateway/routes/{id}", |gateway, request| {
            let table = gateway.routes.table();
            let found = table.routes.iter().find(|route| route.definition.id == route_id(request));
            found
                .map(|route| HttpResponse::Ok().json(route_json(route)))
                .ok_or_else(|| Problem::new(404, format!("no route `{}`", route_id(request))))
        }),
        get("global_filters", "/actuator/gateway/globalfilters", |_, _| {
            Ok(HttpResponse::Ok().json(Map::from_iter(GLOBAL_FILTERS.map(|(name, order)| (name.to_string(), json!(order))))))
        }),
        get("route_filters", "/actuator/gateway/routefilters", |_, _| Ok(name_map(&filters::KNOWN))),
        get("route_predicates", "/actuator/gateway/routepredicates", |_, _| Ok(name_map(&predicates::KNOWN))),
        Endpoint::raw(
            "gateway",
            "add_route",
            Method::POST,
            "/actuator/gateway/routes/{id}",
            RequiredRole::Admin,
            move |_, request, payload| {
                let gateway = adding.clone();
                async move {
                    let body: Value = parse_json(&read_body(&request, payload, MAX_BODY_BYTES).await?)?;
                    let mut definition =
                        RouteDefinition::parse(&body, route_id(&request)).map_err(|cause| Problem::new(400, cause.to_string()))?;
                    definition.id = route_id(&request).to_string();
                    gateway.routes.add(definition).map_err(|cause| Problem::new(400, cause.to_string()))?;
                    let location = request.uri().path().to_string();
                    Ok(HttpResponse::Created().insert_header(("location", location)).finish())
                }
            },
        ),
        Endpoint::raw(
            "gateway",
            "remove_route",
            Method::DELETE,
            "/actuator/gateway/routes/{id}",
            RequiredRole::Admin,
            move |_, request, _| {
                let removed = removing.routes.remove(route_id(&request)).map_err(|cause| Problem::new(404, cause.to_string()));
                std::future::ready(removed.map(|_| HttpResponse::Ok().finish()))
            },
        ),
        Endpoint::raw("gateway", "refresh", Method::POST, "/actuator/gateway/refresh", RequiredRole::Admin, move |_, _, _| {
            let refreshed = refreshing.routes.reload().map_err(|cause| {
                tracing::error!(%cause, "cannot load routes; keeping the active ones");
                Problem::new(400, cause.to_string())
            });
            std::future::ready(refreshed.map(|_| HttpResponse::Ok().finish()))
        }),
    ]
}

fn route_id(request: &HttpRequest) -> &str {
    request.match_info().get("id").unwrap_or_default()
}

fn name_map(known: &[&str]) -> HttpResponse {
    HttpResponse::Ok().json(Map::from_iter(known.iter().map(|name| (name.to_string(), Value::Null))))
}

fn route_json(route: &Route) -> Value {
    let definition = &route.definition;
    let predicates: Vec<String> = definition.predicates.iter().map(predicate_text).collect();
    let predicate = if let [only] = predicates.as_slice() { only.clone() } else { format!("({})", predicates.join(" && ")) };
    let filters = definition.filters.iter().enumerate().map(|(index, filter)| format!("[[{filter}], order = {}]", index + 1));
    let mut json = json!({
        "route_id": definition.id,
        "predicate": predicate,
        "filters": filters.collect::<Vec<_>>(),
        "uri": definition.uri,
        "order": definition.order,
    });
    if let (Some(members), false) = (json.as_object_mut(), definition.metadata.is_empty()) {
        members.insert("metadata".into(), json!(definition.metadata));
    }
    json
}

fn predicate_text(component: &Component) -> String {
    let list = |name: &str| component.args.list(0, name).join(", ");
    match component.name.as_str() {
        "Path" => format!("Paths: [{}], match trailing slash: true", list("patterns")),
        "Host" => format!("Hosts: [{}]", list("patterns")),
        "Method" => format!("Methods: [{}]", list("methods")),
        _ => component.to_string(),
    }
}
