//! `/actuator/mappings`: every operation of this process, in the JSON of a WebFlux application.

use super::exchange::negotiate_media_type;
use super::links;
use crate::rpc::contract::{Endpoint, Operation, RequiredRole};
use actix_web::HttpResponse;
use actix_web::http::Method;
use serde_json::{Value, json};
use std::sync::Arc;

/// Adds the two endpoints that list all others: `mappings` and the links.
pub(super) fn complete(endpoints: &mut Vec<Endpoint>, served: &[Arc<Operation>]) {
    let operation = |name, path, required_role| Operation {
        module: "actuator",
        name,
        method: Method::GET,
        path,
        status: 200,
        required_role,
        repeatable: false,
    };
    let (list, mappings) =
        (operation("links", "/actuator", RequiredRole::Public), operation("mappings", "/actuator/mappings", RequiredRole::Admin));
    let all = endpoints.iter().map(|endpoint| endpoint.operation.clone()).chain(served.iter().cloned());
    let all: Vec<Arc<Operation>> = all.chain([list, mappings].map(Arc::new)).collect();
    let all: Arc<[Arc<Operation>]> = all.into();
    let mapped = all.clone();
    endpoints.push(Endpoint::raw("actuator", "mappings", Method::GET, "/actuator/mappings", RequiredRole::Admin, move |_, request, _| {
        let response = HttpResponse::Ok().json(document(&mapped));
        async move { Ok(negotiate_media_type(&request, response)) }
    }));
    endpoints.push(Endpoint::raw("actuator", "links", Method::GET, "/actuator", RequiredRole::Public, move |_, request, _| {
        let response = links::links(&all, &request);
        async move { Ok(negotiate_media_type(&request, response)) }
    }));
}

fn document(operations: &[Arc<Operation>]) -> Value {
    let handlers: Vec<Value> = operations.iter().map(|operation| mapping(operation)).collect();
    json!({ "contexts": { "application": { "mappings": { "dispatcherHandlers": { "webHandler": handlers } } } } })
}

/// `roles` is an addition to Spring's JSON.
fn mapping(operation: &Operation) -> Value {
    let Operation { module, name, method, path, required_role, .. } = operation;
    json!({
        "predicate": format!("{{{method} {path}}}"),
        "handler": format!("{module}::{name}"),
        "details": {
            "handlerMethod": { "className": module, "name": name, "descriptor": "" },
            "requestMappingConditions": {
                "consumes": [], "headers": [], "methods": [method.as_str()], "params": [], "patterns": [path], "produces": [],
            },
        },
        "roles": required_role.roles(),
    })
}
