//! `/actuator`: which endpoints there are. It is made of what is served, so that no link leads nowhere.

use crate::rpc::contract::Operation;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, json};
use std::sync::Arc;

const BASE: &str = "/actuator/";

/// Links as Spring writes them: a parameter is named in the link's name and leaves the address a template.
pub(super) fn links(operations: &[Arc<Operation>], request: &HttpRequest) -> HttpResponse {
    let info = request.connection_info();
    let base = format!("{}://{}{}", info.scheme(), info.host(), BASE.trim_end_matches('/'));
    let mut links = Map::from_iter([("self".to_string(), json!({ "href": base, "templated": false }))]);
    let below = operations.iter().filter_map(|operation| operation.path.strip_prefix(BASE));
    // the groups of health are among its paths, by the template
    for rest in below.filter(|rest| !rest.starts_with("health/") || rest.contains('{')) {
        let name = rest.replace('/', "-").replace(['{', '}'], "");
        // a component of health may have components of its own, in Spring
        let href = format!("{base}/{}", rest.replace("{path}", "{*path}"));
        links.insert(name, json!({ "href": href, "templated": rest.contains('{') }));
    }
    HttpResponse::Ok().json(json!({ "_links": links }))
}
