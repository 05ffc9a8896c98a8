//! `/actuator/circuitbreakers` and the health component, in Resilience4j's JSON.

use crate::edge::web::read_body;
use crate::kernel::problem::Problem;
use crate::rpc::contract::{Endpoint, RequiredRole};
use crate::rpc::resilience::breaker::{State, StateChange};
use crate::rpc::resilience::registry::{BreakerRegistry, NamedBreaker};
use crate::runtime::Parts;
use actix_web::HttpResponse;
use actix_web::http::Method;
use serde_json::{Map, Value, json};

const MAX_BODY: usize = 4096;

/// Endpoints and health component of the circuit breakers.
pub fn parts(breakers: &BreakerRegistry) -> Parts {
    let mut parts = Parts { endpoints: endpoints(breakers), ..Parts::default() };
    // registered even without breakers: routes add and remove them
    let all = breakers.clone();
    parts.check("circuitBreakers", move || {
        let details = health(&all);
        async move { Ok(details) }
    });
    parts
}

/// JSON of `CircuitBreakerEndpoint`: rates in percent, -1 with too few calls.
fn to_json(guard: &NamedBreaker) -> (State, Value) {
    let now = guard.breaker.snapshot();
    let details = json!({
        "failureRate": format!("{:?}%", now.failure_rate.unwrap_or(-1.0)),
        "failureRateThreshold": format!("{:?}%", guard.breaker.rules().failure_percent as f32),
        "bufferedCalls": now.buffered,
        "failedCalls": now.failed,
        "notPermittedCalls": now.not_permitted,
        "state": now.state.name(),
    });
    (now.state, details)
}

/// Health details with the statuses of `CircuitBreakersHealthIndicator`. An open breaker does not make this process
/// DOWN: removing it from a load balancer would not help.
fn health(all: &BreakerRegistry) -> Value {
    let guards = all.all().into_iter().map(|guard| {
        let (state, details) = to_json(&guard);
        let status = match state {
            State::Open | State::ForcedOpen => "CIRCUIT_OPEN",
            State::HalfOpen => "CIRCUIT_HALF_OPEN",
            State::Closed | State::Disabled => "UP",
        };
        (guard.name().to_string(), json!({ "status": status, "details": details }))
    });
    Value::Object(guards.collect())
}

fn endpoints(all: &BreakerRegistry) -> Vec<Endpoint> {
    let (listing, setting) = (all.clone(), all.clone());
    let list =
        Endpoint::raw("actuator", "circuitbreakers", Method::GET, "/actuator/circuitbreakers", RequiredRole::Admin, move |_, _, _| {
            let breakers: Map<String, Value> = listing.all().iter().map(|guard| (guard.name().to_string(), to_json(guard).1)).collect();
            async move { Ok(HttpResponse::Ok().json(json!({ "circuitBreakers": breakers }))) }
        });
    let set = Endpoint::raw(
        "actuator",
        "set_circuitbreaker",
        Method::POST,
        "/actuator/circuitbreakers/{name}",
        RequiredRole::Admin,
        move |_, request, payload| {
            let all = setting.clone();
            async move {
                let body = read_body(&request, payload, MAX_BODY).await?;
                set(&all, request.match_info().get("name").unwrap_or_default(), &body)
            }
        },
    );
    vec![list, set]
}

fn set(all: &BreakerRegistry, name: &str, body: &[u8]) -> Result<HttpResponse, Problem> {
    let guard = all.find(name).ok_or_else(|| Problem::new(404, format!("there is no circuit breaker {name}")))?;
    let body: Value = serde_json::from_slice(body).map_err(|e| Problem::new(400, format!("malformed JSON: {e}")))?;
    let order = match body.get("updateState").and_then(Value::as_str) {
        Some("CLOSE") => StateChange::Close,
        Some("FORCE_OPEN") => StateChange::ForceOpen,
        Some("DISABLE") => StateChange::Disable,
        _ => return Err(Problem::invalid_field("updateState", "expected CLOSE, FORCE_OPEN or DISABLE")),
    };
    guard.breaker.change_state(order);
    Ok(HttpResponse::Ok().json(json!({
        "circuitBreakerName": name,
        "currentState": guard.breaker.snapshot().state.name(),
        "message": format!("{name} state has been changed successfully"),
    })))
}
