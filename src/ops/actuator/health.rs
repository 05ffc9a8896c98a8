//! `/actuator/health`: health of this process in total and by component, and the readiness and liveness probes.
//!
//! Clients with the role `admin` or `service` get details, others only the statuses (Spring Boot's
//! `show-details: when-authorized`).

use super::exchange::ActuatorRequest;
use super::process;
use super::state::Actuator;
use crate::events::bus::{Bus, BusDown};
use crate::kernel::problem::Problem;
use crate::rpc::context::Cx;
use crate::runtime::HealthCheck;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use futures_util::future::{LocalBoxFuture, join_all};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::time::Duration;

/// A check that takes longer counts as down.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
const TIMED_OUT: &str = "no answer in time";
/// Spring's default.
const MIN_FREE_DISK_BYTES: u64 = 10 << 20;

const UP: &str = "UP";
const DOWN: &str = "DOWN";
/// The process will stop soon; load balancers must remove it. Spring's status for a readiness that refuses traffic.
const OUT_OF_SERVICE: &str = "OUT_OF_SERVICE";
/// The process answers requests, but the bus is down. Like any status unknown to Spring's mapping, it is sent with 200.
const DEGRADED: &str = "DEGRADED";

struct Component {
    name: &'static str,
    status: &'static str,
    /// A DOWN of this component does not make the process unready: events wait in the outboxes.
    is_optional: bool,
    details: Option<Value>,
}

pub(super) async fn all(actuator: &Actuator, cx: &Cx) -> HttpResponse {
    let mut components = run_checks(actuator).await;
    components.extend(actuator.folder.as_deref().map(check_disk));
    components.push(ping());
    let mut body = aggregate(&components, DEGRADED, cx);
    body.insert("groups".into(), json!(["liveness", "readiness"]));
    respond(body)
}

pub(super) async fn readiness(actuator: &Actuator, cx: &Cx) -> HttpResponse {
    if actuator.shutting_down.is_cancelled() {
        return respond(Map::from_iter([("status".to_string(), json!(OUT_OF_SERVICE))]));
    }
    respond(aggregate(&run_checks(actuator).await, UP, cx))
}

/// Liveness decides whether a restart helps: a process that answers is live.
pub(super) fn liveness() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": UP }))
}

pub(super) async fn component(actuator: &Actuator, request: &ActuatorRequest) -> Result<HttpResponse, Problem> {
    let name = request.path("path");
    let component = match (name.as_str(), &actuator.bus, &actuator.folder) {
        ("bus", Some(bus), _) => check_bus(bus.as_ref()).await,
        ("diskSpace", _, Some(folder)) => check_disk(folder),
        ("ping", ..) => ping(),
        _ => match actuator.checks.iter().find(|(check, _)| *check == name) {
            Some((name, check)) => run_check(name, check).await,
            None => return Err(Problem::new(404, format!("health has no component {name}"))),
        },
    };
    match component_json(&component, is_authorized(&request.cx)) {
        Value::Object(body) => Ok(respond(body)),
        other => Err(Problem::internal(other)),
    }
}

fn is_authorized(cx: &Cx) -> bool {
    ["admin", "service"].iter().any(|role| cx.has_role(role))
}

async fn run_checks(actuator: &Actuator) -> Vec<Component> {
    let bus = actuator.bus.iter().map(|bus| -> LocalBoxFuture<'_, Component> { Box::pin(check_bus(bus.as_ref())) });
    let checks = actuator.checks.iter().map(|(name, check)| -> LocalBoxFuture<'_, Component> { Box::pin(run_check(name, check)) });
    // concurrent: several hanging checks take one timeout in total
    join_all(bus.chain(checks)).await
}

async fn check_bus(bus: &dyn Bus) -> Component {
    let outcome = tokio::time::timeout(CHECK_TIMEOUT, bus.check_health()).await;
    // consumers of a bus that has lost its file miss events, until an operator acts
    let is_optional = !matches!(outcome, Ok(Err(BusDown::OutOfService(_))));
    let (status, state) = match outcome {
        Ok(Ok(())) => (UP, "up".to_string()),
        Ok(Err(cause)) => (DOWN, cause.to_string()),
        Err(_) => (DOWN, TIMED_OUT.to_string()),
    };
    Component { name: "bus", status, is_optional, details: Some(json!({ "state": state })) }
}

async fn run_check(name: &'static str, check: &HealthCheck) -> Component {
    let outcome = tokio::time::timeout(CHECK_TIMEOUT, check()).await;
    let outcome = outcome.map_or_else(|_| Err(TIMED_OUT.to_string()), |outcome| outcome.map_err(|cause| cause.to_string()));
    let (status, details) = match outcome {
        Ok(details) => (UP, details),
        Err(cause) => {
            tracing::warn!(component = name, cause, "health check failed");
            (DOWN, json!({ "error": cause }))
        }
    };
    Component { name, status, is_optional: false, details: Some(details) }
}

fn check_disk(folder: &Path) -> Component {
    let disk = process::disk(folder);
    let (free, total) = disk.map_or((0, 0), |disk| (disk.free, disk.total));
    let status = if free < MIN_FREE_DISK_BYTES { DOWN } else { UP };
    let details = json!({ "total": total, "free": free, "threshold": MIN_FREE_DISK_BYTES, "path": folder, "exists": disk.is_some() });
    Component { name: "diskSpace", status, is_optional: false, details: Some(details) }
}

fn ping() -> Component {
    Component { name: "ping", status: UP, is_optional: false, details: None }
}

/// `without_optional` is the status if only optional components are down.
fn aggregate(components: &[Component], without_optional: &'static str, cx: &Cx) -> Map<String, Value> {
    let is_down = |optional: bool| components.iter().any(|c| c.status == DOWN && c.is_optional == optional);
    let status = match (is_down(false), is_down(true)) {
        (true, _) => DOWN,
        (false, true) => without_optional,
        (false, false) => UP,
    };
    let details = is_authorized(cx);
    let components: Map<_, _> =
        components.iter().map(|component| (component.name.to_string(), component_json(component, details))).collect();
    Map::from_iter([("status".to_string(), json!(status)), ("components".to_string(), Value::Object(components))])
}

fn component_json(component: &Component, with_details: bool) -> Value {
    match &component.details {
        Some(details) if with_details => json!({ "status": component.status, "details": details }),
        _ => json!({ "status": component.status }),
    }
}

fn respond(body: Map<String, Value>) -> HttpResponse {
    let down = body.get("status").is_some_and(|status| status == DOWN || status == OUT_OF_SERVICE);
    HttpResponse::build(if down { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }).json(body)
}
