//! The operator's endpoints, in the paths and forms of Spring Boot's actuator.
//!
//! Health and info are public, metrics are served by actix-web-prom's middleware; settings, log levels
//! and dead letters are for administrators.

use crate::platform::build;
use crate::platform::bus::{Bus, DeadLetter, Refused};
use crate::platform::contract::{Access, Endpoint};
use crate::platform::host::Check;
use crate::platform::problem::Problem;
use crate::platform::refresh::InForce;
use crate::platform::telemetry;
use crate::platform::web::read_body;
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;
use tracing_subscriber::filter::LevelFilter;

/// Everything the actuator shows.
pub struct Actuator {
    /// Settings and where they came from.
    pub settings: Arc<InForce>,
    /// Names of the modules that run here.
    pub modules: Vec<&'static str>,
    /// Health of each part.
    pub checks: Vec<(&'static str, Check)>,
    /// For dead letters; none where no module of this process has events.
    pub bus: Option<Arc<dyn Bus>>,
    /// What the outboxes of this process could not hand to the bus.
    pub refused: Vec<Arc<dyn Refused>>,
}

const LINKS: [&str; 10] =
    ["health", "info", "prometheus", "env", "refresh", "loggers", "deadletters", "outbox", "circuitbreakers", "health/liveness"];
/// A check that does not answer counts as down.
const PATIENCE: Duration = Duration::from_secs(2);
const MAX_BODY: usize = 4096;
/// Dead letters shown at once, the oldest.
const SHOWN: i64 = 1000;

const UP: &str = "UP";
const DOWN: &str = "DOWN";
/// It answers whoever asks, and something behind it does not work. Spring's mapping gives a status that it
/// does not know 200, too.
const DEGRADED: &str = "DEGRADED";

/// The endpoints.
pub fn endpoints(actuator: Actuator) -> Vec<Endpoint> {
    let actuator = Arc::new(actuator);
    let get = |name, path, access, answer: fn(Arc<Actuator>, HttpRequest) -> Answer| {
        let actuator = actuator.clone();
        Endpoint::raw("actuator", name, Method::GET, path, access, move |_, request, _| answer(actuator.clone(), request))
    };
    let loggers = Endpoint::raw(
        "actuator",
        "set_logger",
        Method::POST,
        "/actuator/loggers/{name}",
        Access::Admin,
        move |_, request, payload| async move {
            let body = read_body(&request, payload, MAX_BODY).await?;
            set_logger(request.match_info().get("name").unwrap_or_default(), &body)
        },
    );
    let refreshed = actuator.clone();
    let refresh = Endpoint::raw("actuator", "refresh", Method::POST, "/actuator/refresh", Access::Admin, move |_, _, _| {
        let actuator = refreshed.clone();
        async move { actuator.settings.refresh().await }
    });
    let mut endpoints = vec![
        get("links", "/actuator", Access::Public, |a, request| Box::pin(async move { links(&a, &request) })),
        get("health", "/actuator/health", Access::Public, |a, _| Box::pin(async move { Ok(health(&a, DEGRADED).await) })),
        get("readiness", "/actuator/health/readiness", Access::Public, |a, _| Box::pin(async move { Ok(health(&a, UP).await) })),
        get("liveness", "/actuator/health/liveness", Access::Public, |_, _| {
            Box::pin(async { Ok(HttpResponse::Ok().json(json!({ "status": "UP" }))) })
        }),
        get("info", "/actuator/info", Access::Public, |a, _| Box::pin(async move { Ok(info(&a)) })),
        get("env", "/actuator/env", Access::Admin, |a, _| Box::pin(async move { Ok(a.settings.show().await) })),
        get("loggers", "/actuator/loggers", Access::Admin, |_, _| Box::pin(async { Ok(loggers_all()) })),
        get("logger", "/actuator/loggers/{name}", Access::Admin, |_, request| Box::pin(async move { Ok(logger(&request)) })),
        loggers,
        refresh,
    ];
    endpoints.extend(actuator.bus.as_ref().into_iter().flat_map(letters));
    if !actuator.refused.is_empty() {
        endpoints.extend(outbox(&actuator));
    }
    endpoints
}

/// What outboxes could not hand to the bus, where there are any.
fn outbox(actuator: &Arc<Actuator>) -> [Endpoint; 2] {
    let (listed, replayed) = (actuator.clone(), actuator.clone());
    let list = Endpoint::raw("actuator", "outbox", Method::GET, "/actuator/outbox", Access::Admin, move |_, _, _| {
        let actuator = listed.clone();
        async move {
            let mut letters = Vec::new();
            for one in &actuator.refused {
                letters.extend(one.list(SHOWN).await?);
            }
            shown(&letters)
        }
    });
    let path = "/actuator/outbox/{module}/{id}/replay";
    let again = Endpoint::raw("actuator", "outbox_replay", Method::POST, path, Access::Admin, move |_, request, _| {
        let actuator = replayed.clone();
        async move {
            let (module, id) = (request.match_info().get("module").unwrap_or_default(), number(&request)?);
            let known = actuator.refused.iter().find(|one| one.store() == module);
            if let Some(one) = known
                && one.again(id).await?
            {
                return Ok(HttpResponse::Accepted().finish());
            }
            Err(Problem::new(404, format!("the outbox of {module} keeps no event {id}")))
        }
    });
    [list, again]
}

/// Dead letters, where there is a bus.
fn letters(bus: &Arc<dyn Bus>) -> [Endpoint; 2] {
    let (listed, replayed) = (bus.clone(), bus.clone());
    let list = Endpoint::raw("actuator", "deadletters", Method::GET, "/actuator/deadletters", Access::Admin, move |_, _, _| {
        let bus = listed.clone();
        async move { dead_letters(bus.as_ref()).await }
    });
    let path = "/actuator/deadletters/{id}/replay";
    let replay = Endpoint::raw("actuator", "replay", Method::POST, path, Access::Admin, move |_, request, _| {
        let bus = replayed.clone();
        async move { replay(bus.as_ref(), &request).await }
    });
    [list, replay]
}

type Answer = futures_util::future::LocalBoxFuture<'static, Result<HttpResponse, Problem>>;

fn links(actuator: &Actuator, request: &HttpRequest) -> Result<HttpResponse, Problem> {
    let info = request.connection_info();
    let base = format!("{}://{}/actuator", info.scheme(), info.host());
    let mut links = Map::from_iter([("self".to_string(), json!({ "href": base, "templated": false }))]);
    for name in LINKS.into_iter().filter(|name| match *name {
        "deadletters" => actuator.bus.is_some(),
        "outbox" => !actuator.refused.is_empty(),
        _ => true,
    }) {
        links.insert(name.replace('/', "-"), json!({ "href": format!("{base}/{name}"), "templated": false }));
    }
    Ok(HttpResponse::Ok().json(json!({ "_links": links })))
}

/// Brokers that are away make nobody unready: events wait in their outboxes. `without_bus` is the status then.
async fn health(actuator: &Actuator, without_bus: &'static str) -> HttpResponse {
    let mut components = Map::new();
    let mut status = UP;
    if let Some(bus) = &actuator.bus {
        let state = tokio::time::timeout(PATIENCE, bus.state()).await.unwrap_or_else(|_| Err("no answer in time".into()));
        let (well, state) = match state {
            Ok(()) => (UP, "up".to_string()),
            Err(state) => (DOWN, state),
        };
        if well == DOWN {
            status = without_bus;
        }
        components.insert("bus".into(), json!({ "status": well, "details": { "state": state } }));
    }
    for (name, check) in &actuator.checks {
        let outcome = tokio::time::timeout(PATIENCE, check()).await.unwrap_or_else(|_| Err("no answer in time".into()));
        let component = match outcome {
            Ok(details) => json!({ "status": UP, "details": details }),
            Err(cause) => {
                tracing::warn!(component = name, cause, "not healthy");
                status = DOWN;
                json!({ "status": DOWN })
            }
        };
        components.insert((*name).to_string(), component);
    }
    let code = if status == DOWN { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    HttpResponse::build(code).json(json!({ "status": status, "components": components }))
}

fn info(actuator: &Actuator) -> HttpResponse {
    HttpResponse::Ok().json(json!({
        "build": { "artifact": "tradepost", "name": "tradepost", "version": build::VERSION },
        "modules": actuator.modules,
    }))
}

fn level_name(level: LevelFilter) -> String {
    level.to_string().to_uppercase()
}

fn loggers_all() -> HttpResponse {
    let named = telemetry::levels().into_iter().map(|(target, level)| {
        let level = level_name(level);
        (target, json!({ "configuredLevel": level, "effectiveLevel": level }))
    });
    HttpResponse::Ok().json(json!({ "levels": ["OFF", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"], "loggers": Map::from_iter(named) }))
}

fn logger(request: &HttpRequest) -> HttpResponse {
    let name = request.match_info().get("name").unwrap_or_default();
    let configured = telemetry::levels().into_iter().find(|(target, _)| target == name).map(|(_, level)| level_name(level));
    HttpResponse::Ok().json(json!({ "configuredLevel": configured, "effectiveLevel": level_name(telemetry::effective(name)) }))
}

fn set_logger(name: &str, body: &[u8]) -> Result<HttpResponse, Problem> {
    let expected = || Problem::field("configuredLevel", "expected OFF, ERROR, WARN, INFO, DEBUG, TRACE or null");
    let body: Value = if body.is_empty() {
        json!({})
    } else {
        serde_json::from_slice(body).map_err(|e| Problem::new(400, format!("malformed JSON: {e}")))?
    };
    let level = match body.get("configuredLevel") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.parse::<LevelFilter>().map_err(|_| expected())?),
        Some(_) => return Err(expected()),
    };
    telemetry::set_level(name, level).map_err(Problem::internal)?;
    tracing::info!(logger = name, level = level.map(level_name), "log level changed");
    Ok(HttpResponse::NoContent().finish())
}

async fn dead_letters(bus: &dyn Bus) -> Result<HttpResponse, Problem> {
    shown(&bus.dead_letters(SHOWN).await?)
}

fn shown(letters: &[DeadLetter]) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().content_type("application/json").body(serde_json::to_vec(letters).map_err(Problem::internal)?))
}

fn number(request: &HttpRequest) -> Result<i64, Problem> {
    request.match_info().get("id").and_then(|id| id.parse().ok()).ok_or_else(|| Problem::field("id", "expected a whole number"))
}

async fn replay(bus: &dyn Bus, request: &HttpRequest) -> Result<HttpResponse, Problem> {
    let id = number(request)?;
    if bus.replay(id).await? {
        Ok(HttpResponse::Accepted().finish())
    } else {
        Err(Problem::new(404, format!("there is no dead letter {id}")))
    }
}
