//! The operator's endpoints, with the paths and JSON of Spring Boot 3's actuator, for tools such as Spring Boot Admin.
//!
//! Health, info, the list of endpoints and the metrics in Prometheus' format are public. Endpoints that show more, or
//! change something, require the role `admin`. Source of the JSON: "Actuator API" of Spring Boot 3.5. Endpoints without
//! a meaning outside of a JVM (`beans`, `conditions`, `heapdump`) do not exist.

mod dead_letters;
mod env;
mod exchange;
mod health;
mod info;
mod links;
mod loggers;
mod mappings;
mod meters;
mod process;
mod state;
mod threads;

pub use state::Actuator;

use crate::edge::web::read_body;
use crate::kernel::problem::Problem;
use crate::rpc::contract::{Endpoint, RequiredRole};
use actix_web::HttpResponse;
use actix_web::http::Method;
use exchange::{ActuatorRequest, negotiate_media_type};
use futures_util::future::LocalBoxFuture;
use std::sync::Arc;

const MAX_BODY: usize = 4096;

type Handler = fn(Arc<Actuator>, ActuatorRequest) -> LocalBoxFuture<'static, Result<HttpResponse, Problem>>;

pub fn endpoints(actuator: Actuator) -> Vec<Endpoint> {
    let (metrics, folder) = (actuator.metrics.clone(), actuator.folder.clone());
    let actuator = Arc::new(actuator);
    let mut endpoints = vec![prometheus(metrics.clone())];
    endpoints.extend(health_endpoints(&actuator));
    endpoints.extend(settings_endpoints(&actuator));
    endpoints.extend(process_endpoints(&actuator));
    endpoints.extend(meters::endpoints(&Arc::new(meters::Meters::new(metrics, folder))));
    endpoints.extend(event_endpoints(&actuator));
    mappings::complete(&mut endpoints, &actuator.served);
    endpoints
}

fn prometheus(registry: prometheus::Registry) -> Endpoint {
    Endpoint::raw("actuator", "prometheus", Method::GET, "/actuator/prometheus", RequiredRole::Public, move |_, _, _| {
        let text = meters::exposition(&registry);
        async move { text }
    })
}

fn health_endpoints(actuator: &Arc<Actuator>) -> Vec<Endpoint> {
    let get = |role, name, path, handler| endpoint(actuator, Method::GET, role, name, path, handler);
    vec![
        get(RequiredRole::Optional, "health", "/actuator/health", |a, request| {
            Box::pin(async move { Ok(health::all(&a, &request.cx).await) })
        }),
        get(RequiredRole::Optional, "readiness", "/actuator/health/readiness", |a, request| {
            Box::pin(async move { Ok(health::readiness(&a, &request.cx).await) })
        }),
        get(RequiredRole::Public, "liveness", "/actuator/health/liveness", |_, _| Box::pin(async { Ok(health::liveness()) })),
        get(RequiredRole::Optional, "health_component", "/actuator/health/{path}", |a, request| {
            Box::pin(async move { health::component(&a, &request).await })
        }),
        get(RequiredRole::Public, "info", "/actuator/info", |a, _| Box::pin(async move { Ok(info::info(&a)) })),
    ]
}

fn settings_endpoints(actuator: &Arc<Actuator>) -> Vec<Endpoint> {
    let get = |name, path, handler| endpoint(actuator, Method::GET, RequiredRole::Admin, name, path, handler);
    let post = |name, path, handler| endpoint(actuator, Method::POST, RequiredRole::Admin, name, path, handler);
    vec![
        get("env", "/actuator/env", |a, _| Box::pin(async move { Ok(env::all(&a.settings).await) })),
        get("env_property", "/actuator/env/{toMatch}", |a, request| {
            Box::pin(async move { env::one(&a.settings, &request.path("toMatch")).await })
        }),
        get("configprops", "/actuator/configprops", |a, _| Box::pin(async move { env::sections(&a.settings, "").await })),
        get("configprops_prefix", "/actuator/configprops/{prefix}", |a, request| {
            Box::pin(async move { env::sections(&a.settings, &request.path("prefix")).await })
        }),
        post("refresh", "/actuator/refresh", |a, _| Box::pin(async move { a.settings.refresh().await })),
        get("loggers", "/actuator/loggers", |a, _| Box::pin(async move { Ok(loggers::all(&a.modules)) })),
        get("logger", "/actuator/loggers/{name}", |_, request| Box::pin(async move { Ok(loggers::one(&request.path("name"))) })),
        post("set_logger", "/actuator/loggers/{name}", |_, request| {
            Box::pin(async move { loggers::set(&request.path("name"), &request.body) })
        }),
    ]
}

fn process_endpoints(actuator: &Arc<Actuator>) -> Vec<Endpoint> {
    let get = |name, path, handler| endpoint(actuator, Method::GET, RequiredRole::Admin, name, path, handler);
    vec![
        get("httpexchanges", "/actuator/httpexchanges", |a, _| Box::pin(async move { Ok(a.exchanges.to_response()) })),
        get("threaddump", "/actuator/threaddump", |_, request| Box::pin(async move { threads::dump(&request.http).await })),
    ]
}

fn event_endpoints(actuator: &Arc<Actuator>) -> Vec<Endpoint> {
    let get = |name, path, handler| endpoint(actuator, Method::GET, RequiredRole::Admin, name, path, handler);
    let post = |name, path, handler| endpoint(actuator, Method::POST, RequiredRole::Admin, name, path, handler);
    let mut endpoints = Vec::new();
    if actuator.bus.is_some() {
        endpoints.push(get("deadletters", "/actuator/deadletters", |a, _| Box::pin(async move { dead_letters::list(&a).await })));
        endpoints.push(post("replay", "/actuator/deadletters/{id}/replay", |a, request| {
            Box::pin(async move { dead_letters::replay(&a, &request.path("id")).await })
        }));
    }
    if !actuator.outboxes.is_empty() {
        endpoints.push(get("outbox", "/actuator/outbox", |a, _| Box::pin(async move { dead_letters::list_refused(&a).await })));
        endpoints.push(post("outbox_replay", "/actuator/outbox/{module}/{id}/replay", |a, request| {
            Box::pin(async move { dead_letters::republish(&a, &request.path("module"), &request.path("id")).await })
        }));
    }
    endpoints
}

fn endpoint(
    actuator: &Arc<Actuator>,
    method: Method,
    role: RequiredRole,
    name: &'static str,
    path: &'static str,
    handler: Handler,
) -> Endpoint {
    let actuator = actuator.clone();
    Endpoint::raw("actuator", name, method, path, role, move |cx, http, payload| {
        let actuator = actuator.clone();
        async move {
            let body = read_body(&http, payload, MAX_BODY).await?;
            let request = ActuatorRequest { cx, http: http.clone(), body };
            handler(actuator, request).await.map(|response| negotiate_media_type(&http, response))
        }
    })
}
