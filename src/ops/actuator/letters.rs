//! `/actuator/deadletters` and `/actuator/outbox`: events that no consumer could take, and that the bus would not.

use super::Actuator;
use crate::events::bus::DeadLetter;
use crate::kernel::problem::Problem;
use actix_web::HttpResponse;

/// Letters shown at once, the oldest.
const SHOWN: i64 = 1000;

/// Dead letters; none without a bus.
pub(super) async fn dead(actuator: &Actuator) -> Result<HttpResponse, Problem> {
    match &actuator.bus {
        Some(bus) => shown(&bus.dead_letters(SHOWN).await?),
        None => shown(&[]),
    }
}

/// Sends a dead letter to its consumer again.
pub(super) async fn replay(actuator: &Actuator, id: &str) -> Result<HttpResponse, Problem> {
    let number = number(id)?;
    if let Some(bus) = &actuator.bus
        && bus.replay(number).await?
    {
        return Ok(HttpResponse::Accepted().finish());
    }
    Err(Problem::new(404, format!("there is no dead letter {number}")))
}

/// What the outboxes could not hand to the bus.
pub(super) async fn refused(actuator: &Actuator) -> Result<HttpResponse, Problem> {
    let mut letters = Vec::new();
    for outbox in &actuator.outboxes {
        letters.extend(outbox.refused(SHOWN).await?);
    }
    shown(&letters)
}

/// Hands one to the bus again.
pub(super) async fn again(actuator: &Actuator, module: &str, id: &str) -> Result<HttpResponse, Problem> {
    let number = number(id)?;
    let known = actuator.outboxes.iter().find(|outbox| outbox.module() == module);
    if let Some(outbox) = known
        && outbox.again(number).await?
    {
        return Ok(HttpResponse::Accepted().finish());
    }
    Err(Problem::new(404, format!("the outbox of {module} keeps no event {number}")))
}

fn shown(letters: &[DeadLetter]) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().content_type("application/json").body(serde_json::to_vec(letters).map_err(Problem::internal)?))
}

fn number(id: &str) -> Result<i64, Problem> {
    id.parse().map_err(|_| Problem::field("id", "expected a whole number"))
}
