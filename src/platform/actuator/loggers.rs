//! `/actuator/loggers`: which parts of the program say how much, and a change of that.

use crate::platform::problem::Problem;
use crate::platform::telemetry;
use actix_web::HttpResponse;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use tracing_subscriber::filter::LevelFilter;

fn level_name(level: LevelFilter) -> String {
    level.to_string().to_uppercase()
}

/// A logger is a path of the program's sources, `tradepost::shop::order`. Listed are those with a level of their
/// own, those that said or could have said something, these modules', and all that these are a part of.
pub(super) fn all(modules: &[&str]) -> HttpResponse {
    let mut names: BTreeSet<String> = telemetry::seen().into_iter().map(String::from).collect();
    names.extend(modules.iter().map(|module| format!("tradepost::shop::{}", module.replace('-', "_"))));
    let parents = names.iter().flat_map(|name| name.match_indices("::").filter_map(|(end, _)| name.get(..end))).map(String::from);
    let parents: Vec<_> = parents.collect();
    names.extend(parents);
    names.extend(telemetry::levels().into_iter().map(|(name, _)| name));
    let loggers: Map<_, _> = names.into_iter().map(|name| (name.clone(), levels(&name))).collect();
    HttpResponse::Ok().json(json!({ "levels": ["OFF", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"], "loggers": loggers, "groups": {} }))
}

/// One that has no level of its own shows what it has from others.
pub(super) fn one(name: &str) -> HttpResponse {
    HttpResponse::Ok().json(levels(name))
}

fn levels(name: &str) -> Value {
    let configured = telemetry::levels().into_iter().find(|(target, _)| target == name).map(|(_, level)| level_name(level));
    json!({ "configuredLevel": configured, "effectiveLevel": level_name(telemetry::effective(name)) })
}

/// Gives it a level of its own, or takes that away where there is none in the body.
pub(super) fn set(name: &str, body: &[u8]) -> Result<HttpResponse, Problem> {
    let expected = || Problem::field("configuredLevel", "expected OFF, ERROR, WARN, INFO, DEBUG, TRACE or null");
    let body: Value = if body.is_empty() {
        json!({})
    } else {
        serde_json::from_slice(body).map_err(|e| Problem::new(400, format!("malformed JSON: {e}")))?
    };
    let members = body.as_object().ok_or_else(|| Problem::new(400, "the body must be a JSON object, {\"configuredLevel\": ...}"))?;
    let level = match members.get("configuredLevel") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.parse::<LevelFilter>().map_err(|_| expected())?),
        Some(_) => return Err(expected()),
    };
    telemetry::set_level(name, level).map_err(Problem::internal)?;
    tracing::info!(logger = name, level = level.map(level_name), "log level changed");
    Ok(HttpResponse::NoContent().finish())
}
