//! `/actuator/health`: how this process is, as a whole, by component, and for probes.
//!
//! Who has the role `admin` or `service` sees details; everybody else the statuses alone (Spring Boot's
//! `show-details: when-authorized`).

use super::{Actuator, Ask, process};
use crate::events::bus::Bus;
use crate::kernel::problem::Problem;
use crate::rpc::context::Cx;
use crate::runtime::HealthCheck;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use futures_util::future::{LocalBoxFuture, join_all};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::time::Duration;

/// A check that does not answer counts as down.
const PATIENCE: Duration = Duration::from_secs(2);
/// Shown for a check that timed out.
const TIMED_OUT: &str = "no answer in time";
/// Bytes free below which a disk counts as full: Spring's default.
const THRESHOLD: u64 = 10 << 20;

const UP: &str = "UP";
const DOWN: &str = "DOWN";
/// It stops soon: whoever balances load leaves it out. Spring's word for a readiness that refuses traffic.
const OUT_OF_SERVICE: &str = "OUT_OF_SERVICE";
/// It answers whoever asks, and something behind it does not work. Spring's mapping gives a status that it
/// does not know 200, too.
const DEGRADED: &str = "DEGRADED";

/// How one part is.
struct Component {
    name: &'static str,
    status: &'static str,
    details: Option<Value>,
}

/// All components, and which groups there are.
pub(super) async fn whole(actuator: &Actuator, cx: &Cx) -> HttpResponse {
    let mut components = parts(actuator).await;
    components.extend(actuator.folder.as_deref().map(disk));
    components.push(ping());
    let mut body = shown(&components, DEGRADED, cx);
    body.insert("groups".into(), json!(["liveness", "readiness"]));
    respond(body)
}

/// Whether requests may come. Brokers that are away make nobody unready: events wait in their outboxes.
pub(super) async fn readiness(actuator: &Actuator, cx: &Cx) -> HttpResponse {
    if actuator.leaving.is_cancelled() {
        return respond(Map::from_iter([("status".to_string(), json!(OUT_OF_SERVICE))]));
    }
    respond(shown(&parts(actuator).await, UP, cx))
}

/// Whether a restart would help: who answers lives.
pub(super) fn liveness() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": UP }))
}

/// One component.
pub(super) async fn component(actuator: &Actuator, ask: &Ask) -> Result<HttpResponse, Problem> {
    let name = ask.path("path");
    let component = match (name.as_str(), &actuator.bus, &actuator.folder) {
        ("bus", Some(bus), _) => of_bus(bus.as_ref()).await,
        ("diskSpace", _, Some(folder)) => disk(folder),
        ("ping", ..) => ping(),
        _ => match actuator.checks.iter().find(|(check, _)| *check == name) {
            Some((name, check)) => of_check(name, check).await,
            None => return Err(Problem::new(404, format!("health has no component {name}"))),
        },
    };
    match one(&component, authorized(&ask.cx)) {
        Value::Object(body) => Ok(respond(body)),
        other => Err(Problem::internal(other)),
    }
}

fn authorized(cx: &Cx) -> bool {
    ["admin", "service"].iter().any(|role| cx.has_role(role))
}

/// What a request needs.
async fn parts(actuator: &Actuator) -> Vec<Component> {
    let bus = actuator.bus.iter().map(|bus| -> LocalBoxFuture<'_, Component> { Box::pin(of_bus(bus.as_ref())) });
    let checks = actuator.checks.iter().map(|(name, check)| -> LocalBoxFuture<'_, Component> { Box::pin(of_check(name, check)) });
    // at once: several that hang are waited for as long as one
    join_all(bus.chain(checks)).await
}

async fn of_bus(bus: &dyn Bus) -> Component {
    let (status, state) = match tokio::time::timeout(PATIENCE, bus.state()).await {
        Ok(Ok(())) => (UP, "up".to_string()),
        Ok(Err(down)) => (DOWN, down.to_string()),
        Err(_) => (DOWN, TIMED_OUT.to_string()),
    };
    Component { name: "bus", status, details: Some(json!({ "state": state })) }
}

async fn of_check(name: &'static str, check: &HealthCheck) -> Component {
    let outcome = tokio::time::timeout(PATIENCE, check()).await;
    let outcome = outcome.map_or_else(|_| Err(TIMED_OUT.to_string()), |outcome| outcome.map_err(|cause| cause.to_string()));
    let (status, details) = match outcome {
        Ok(details) => (UP, details),
        Err(cause) => {
            tracing::warn!(component = name, cause, "not healthy");
            (DOWN, json!({ "error": cause }))
        }
    };
    Component { name, status, details: Some(details) }
}

/// The disk of the data folder.
fn disk(folder: &Path) -> Component {
    let disk = process::disk(folder);
    let (free, total) = disk.map_or((0, 0), |disk| (disk.free, disk.total));
    let status = if free < THRESHOLD { DOWN } else { UP };
    let details = json!({ "total": total, "free": free, "threshold": THRESHOLD, "path": folder, "exists": disk.is_some() });
    Component { name: "diskSpace", status, details: Some(details) }
}

fn ping() -> Component {
    Component { name: "ping", status: UP, details: None }
}

/// `without_bus` is the status where nothing but the bus is down.
fn shown(components: &[Component], without_bus: &'static str, cx: &Cx) -> Map<String, Value> {
    let down = |bus: bool| components.iter().any(|c| c.status == DOWN && (c.name == "bus") == bus);
    let status = match (down(false), down(true)) {
        (true, _) => DOWN,
        (false, true) => without_bus,
        (false, false) => UP,
    };
    let details = authorized(cx);
    let components: Map<_, _> = components.iter().map(|component| (component.name.to_string(), one(component, details))).collect();
    Map::from_iter([("status".to_string(), json!(status)), ("components".to_string(), Value::Object(components))])
}

fn one(component: &Component, details: bool) -> Value {
    match &component.details {
        Some(shown) if details => json!({ "status": component.status, "details": shown }),
        _ => json!({ "status": component.status }),
    }
}

fn respond(body: Map<String, Value>) -> HttpResponse {
    let down = body.get("status").is_some_and(|status| status == DOWN || status == OUT_OF_SERVICE);
    HttpResponse::build(if down { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }).json(body)
}
