//! `/actuator`: links to the endpoints, generated from the operations that this process serves.

use crate::rpc::contract::Operation;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, json};
use std::sync::Arc;

const BASE: &str = "/actuator/";

/// Links in Spring's form: a path parameter is part of the link's name, and the address is a template.
pub(super) fn links(operations: &[Arc<Operation>], request: &HttpRequest) -> HttpResponse {
    let info = request.connection_info();
    let base = format!("{}://{}{}", info.scheme(), info.host(), BASE.trim_end_matches('/'));
    let mut links = Map::from_iter([("self".to_string(), json!({ "href": base, "templated": false }))]);
    let paths = operations.iter().filter_map(|operation| operation.path.strip_prefix(BASE));
    // the template of health covers its groups
    for path in paths.filter(|path| !path.starts_with("health/") || path.contains('{')) {
        let name = path.replace('/', "-").replace(['{', '}'], "");
        // in Spring, a component of health may have components of its own
        let href = format!("{base}/{}", path.replace("{path}", "{*path}"));
        links.insert(name, json!({ "href": href, "templated": path.contains('{') }));
    }
    HttpResponse::Ok().json(json!({ "_links": links }))
}
