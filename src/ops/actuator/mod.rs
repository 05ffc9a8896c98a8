//! The operator's endpoints, in the paths and forms of Spring Boot 3's actuator, so that tools made for it, such as
//! Spring Boot Admin, find what they look for.
//!
//! Health, info and the list of endpoints are public, and so are the metrics in Prometheus' form; what tells
//! more, or changes something, is for administrators. Source of the forms: "Actuator API" of Spring Boot 3.5. What
//! has no meaning without a JVM (`beans`, `conditions`, `heapdump`) is not there.

mod env;
mod health;
mod info;
mod letters;
mod links;
mod loggers;
mod mappings;
mod meters;
mod process;
mod threads;

use crate::edge::exchanges::Exchanges;
use crate::edge::web::read_body;
use crate::events::bus::{Bus, Outbox};
use crate::kernel::problem::Problem;
use crate::kernel::uri::percent_decode;
use crate::ops::refresh::ActiveConfig;
use crate::rpc::context::Cx;
use crate::rpc::contract::{Endpoint, Operation, RequiredRole};
use crate::runtime::HealthCheck;
use actix_web::http::{Method, header};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use futures_util::future::LocalBoxFuture;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Everything the actuator shows.
pub struct Actuator {
    /// Settings and where they came from.
    pub settings: Arc<ActiveConfig>,
    /// Names of the modules that run here.
    pub modules: Vec<&'static str>,
    /// Health of each part.
    pub checks: Vec<(&'static str, HealthCheck)>,
    /// For dead letters; none where no module of this process has events.
    pub bus: Option<Arc<dyn Bus>>,
    /// The outboxes of this process, for events that the bus refused.
    pub outboxes: Vec<Arc<dyn Outbox>>,
    /// The numbers of `/actuator/metrics`.
    pub metrics: prometheus::Registry,
    /// The last requests.
    pub exchanges: Arc<Exchanges>,
    /// Where this process keeps files; none where it keeps none.
    pub folder: Option<PathBuf>,
    /// Cancelled when the process will end soon.
    pub leaving: CancellationToken,
    /// What this process serves beside the actuator.
    pub served: Vec<Arc<Operation>>,
}

const MAX_BODY: usize = 4096;
/// The forms' versions, the newest first: 3 is Spring Boot's since 2.2, and those who ask for 2 are served alike.
const VERSIONS: [&str; 2] = ["application/vnd.spring-boot.actuator.v3+json", "application/vnd.spring-boot.actuator.v2+json"];

type Answer = LocalBoxFuture<'static, Result<HttpResponse, Problem>>;

/// A request to an endpoint: who asks, what, and the body, which a GET has none of.
struct Ask {
    cx: Cx,
    request: HttpRequest,
    body: Bytes,
}

impl Ask {
    /// A parameter of the path, decoded; empty where it is not UTF-8, which names nothing.
    fn path(&self, name: &str) -> String {
        percent_decode(self.request.match_info().get(name).unwrap_or_default()).unwrap_or_default()
    }
}

/// The endpoints.
pub fn endpoints(actuator: Actuator) -> Vec<Endpoint> {
    let (metrics, folder) = (actuator.metrics.clone(), actuator.folder.clone());
    let actuator = Arc::new(actuator);
    let get = |access, name, path, answer| endpoint(&actuator, Method::GET, access, name, path, answer);
    let post = |name, path, answer| endpoint(&actuator, Method::POST, RequiredRole::Admin, name, path, answer);
    let exposed = metrics.clone();
    let prometheus = Endpoint::raw("actuator", "prometheus", Method::GET, "/actuator/prometheus", RequiredRole::Public, move |_, _, _| {
        let text = meters::exposed(&exposed);
        async move { text }
    });
    let meters = Arc::new(meters::Meters::new(metrics, folder));
    let mut endpoints = vec![
        prometheus,
        get(RequiredRole::Optional, "health", "/actuator/health", |a, ask| Box::pin(async move { Ok(health::whole(&a, &ask.cx).await) })),
        get(RequiredRole::Optional, "readiness", "/actuator/health/readiness", |a, ask| {
            Box::pin(async move { Ok(health::readiness(&a, &ask.cx).await) })
        }),
        get(RequiredRole::Public, "liveness", "/actuator/health/liveness", |_, _| Box::pin(async { Ok(health::liveness()) })),
        get(RequiredRole::Optional, "health_component", "/actuator/health/{path}", |a, ask| {
            Box::pin(async move { health::component(&a, &ask).await })
        }),
        get(RequiredRole::Public, "info", "/actuator/info", |a, _| Box::pin(async move { Ok(info::info(&a)) })),
        get(RequiredRole::Admin, "env", "/actuator/env", |a, _| Box::pin(async move { Ok(env::all(&a.settings).await) })),
        get(RequiredRole::Admin, "env_property", "/actuator/env/{toMatch}", |a, ask| {
            Box::pin(async move { env::one(&a.settings, &ask.path("toMatch")).await })
        }),
        get(RequiredRole::Admin, "configprops", "/actuator/configprops", |a, _| {
            Box::pin(async move { env::sections(&a.settings, "").await })
        }),
        get(RequiredRole::Admin, "configprops_prefix", "/actuator/configprops/{prefix}", |a, ask| {
            Box::pin(async move { env::sections(&a.settings, &ask.path("prefix")).await })
        }),
        post("refresh", "/actuator/refresh", |a, _| Box::pin(async move { a.settings.refresh().await })),
        get(RequiredRole::Admin, "loggers", "/actuator/loggers", |a, _| Box::pin(async move { Ok(loggers::all(&a.modules)) })),
        get(RequiredRole::Admin, "logger", "/actuator/loggers/{name}", |_, ask| {
            Box::pin(async move { Ok(loggers::one(&ask.path("name"))) })
        }),
        post("set_logger", "/actuator/loggers/{name}", |_, ask| Box::pin(async move { loggers::set(&ask.path("name"), &ask.body) })),
        get(RequiredRole::Admin, "httpexchanges", "/actuator/httpexchanges", |a, _| Box::pin(async move { Ok(a.exchanges.show()) })),
        get(RequiredRole::Admin, "threaddump", "/actuator/threaddump", |_, ask| Box::pin(async move { threads::dump(&ask.request).await })),
    ];
    endpoints.extend(meters::endpoints(&meters));
    if actuator.bus.is_some() {
        endpoints.push(get(RequiredRole::Admin, "deadletters", "/actuator/deadletters", |a, _| {
            Box::pin(async move { letters::dead(&a).await })
        }));
        let path = "/actuator/deadletters/{id}/replay";
        endpoints.push(post("replay", path, |a, ask| Box::pin(async move { letters::replay(&a, &ask.path("id")).await })));
    }
    if !actuator.outboxes.is_empty() {
        endpoints.push(get(RequiredRole::Admin, "outbox", "/actuator/outbox", |a, _| Box::pin(async move { letters::refused(&a).await })));
        let path = "/actuator/outbox/{module}/{id}/replay";
        endpoints.push(post("outbox_replay", path, |a, ask| {
            Box::pin(async move { letters::again(&a, &ask.path("module"), &ask.path("id")).await })
        }));
    }
    mappings::complete(&mut endpoints, &actuator.served);
    endpoints
}

fn endpoint(
    actuator: &Arc<Actuator>,
    method: Method,
    access: RequiredRole,
    name: &'static str,
    path: &'static str,
    answer: fn(Arc<Actuator>, Ask) -> Answer,
) -> Endpoint {
    let actuator = actuator.clone();
    Endpoint::raw("actuator", name, method, path, access, move |cx, request, payload| {
        let actuator = actuator.clone();
        async move {
            let body = read_body(&request, payload, MAX_BODY).await?;
            let sent = request.clone();
            answer(actuator, Ask { cx, request, body }).await.map(|response| as_asked(&sent, response))
        }
    })
}

/// JSON under the name that the client asked for: tools tell by it that there is an actuator at all.
fn as_asked(request: &HttpRequest, mut response: HttpResponse) -> HttpResponse {
    let json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if let Some(version) = VERSIONS.iter().find(|version| accept.contains(**version)).filter(|_| json) {
        response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(version));
    }
    response
}
