//! `/actuator/deadletters` and `/actuator/outbox`: dead letters, and events that the bus refused.

use super::state::Actuator;
use crate::events::bus::DeadLetter;
use crate::kernel::problem::Problem;
use actix_web::HttpResponse;

/// The oldest ones are listed.
const MAX_LISTED: i64 = 1000;

/// Empty without a bus.
pub(super) async fn list(actuator: &Actuator) -> Result<HttpResponse, Problem> {
    match &actuator.bus {
        Some(bus) => respond(&bus.dead_letters(MAX_LISTED).await?),
        None => respond(&[]),
    }
}

/// Dispatches a dead letter to its consumer again.
pub(super) async fn replay(actuator: &Actuator, id: &str) -> Result<HttpResponse, Problem> {
    let number = parse_id(id)?;
    if let Some(bus) = &actuator.bus
        && bus.replay(number).await?
    {
        return Ok(HttpResponse::Accepted().finish());
    }
    Err(Problem::new(404, format!("there is no dead letter {number}")))
}

pub(super) async fn list_refused(actuator: &Actuator) -> Result<HttpResponse, Problem> {
    let mut refused = Vec::new();
    for outbox in &actuator.outboxes {
        refused.extend(outbox.refused(MAX_LISTED).await?);
    }
    respond(&refused)
}

/// Publishes a refused event to the bus again.
pub(super) async fn republish(actuator: &Actuator, module: &str, id: &str) -> Result<HttpResponse, Problem> {
    let number = parse_id(id)?;
    if let Some(outbox) = actuator.outboxes.iter().find(|outbox| outbox.module() == module)
        && outbox.requeue(number).await?
    {
        return Ok(HttpResponse::Accepted().finish());
    }
    Err(Problem::new(404, format!("the outbox of {module} has no refused event {number}")))
}

fn respond(letters: &[DeadLetter]) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().content_type("application/json").body(serde_json::to_vec(letters).map_err(Problem::internal)?))
}

fn parse_id(id: &str) -> Result<i64, Problem> {
    id.parse().map_err(|_| Problem::invalid_field("id", "expected a whole number"))
}
