//! `/actuator/loggers`: which parts of the program say how much, and a change of that.

use crate::kernel::problem::Problem;
use crate::observe::log as telemetry;
use actix_web::HttpResponse;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use tracing_subscriber::filter::LevelFilter;

fn level_name(level: LevelFilter) -> String {
    level.to_string().to_uppercase()
}

/// Parts of the platform that say something.
const PLATFORM: [&str; 15] = [
    "actuator",
    "auth",
    "bus",
    "contract",
    "discovery",
    "metrics",
    "outbox",
    "refresh",
    "resilience",
    "store",
    "telemetry",
    "tls",
    "trace",
    "vault",
    "web",
];

const LEVELS: [&str; 6] = ["OFF", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"];

/// A logger is a path of the program's sources, `tradepost::modules::order`, and stands for all below it. Listed are
/// these modules', the platform's, and those with a level of their own; any other may be given one by its name.
pub(super) fn all(modules: &[&str]) -> HttpResponse {
    let fixed = ["tradepost", "tradepost::platform", "tradepost::serve", "tradepost::shop"].map(String::from);
    let mut names = BTreeSet::from(fixed);
    names.extend(PLATFORM.map(|part| format!("tradepost::platform::{part}")));
    names.extend(modules.iter().map(|module| format!("tradepost::shop::{}", module.replace('-', "_"))));
    names.extend(telemetry::levels().into_iter().map(|(name, _)| name));
    let loggers: Map<_, _> = names.into_iter().map(|name| (name.clone(), levels(&name))).collect();
    HttpResponse::Ok().json(json!({ "levels": LEVELS, "loggers": loggers, "groups": {} }))
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
    if name.is_empty() {
        return Err(Problem::field("name", "expected a logger's name in UTF-8"));
    }
    let expected = || Problem::field("configuredLevel", "expected OFF, ERROR, WARN, INFO, DEBUG, TRACE or null");
    let body: Value = if body.is_empty() {
        json!({})
    } else {
        serde_json::from_slice(body).map_err(|e| Problem::new(400, format!("malformed JSON: {e}")))?
    };
    let members = body.as_object().ok_or_else(|| Problem::new(400, "the body must be a JSON object, {\"configuredLevel\": ...}"))?;
    let level = match members.get("configuredLevel") {
        None | Some(Value::Null) => None,
        // the type's own parser takes numbers, too, and nothing for a level
        Some(Value::String(text)) if LEVELS.contains(&text.to_ascii_uppercase().as_str()) => {
            Some(text.parse::<LevelFilter>().map_err(|_| expected())?)
        }
        Some(_) => return Err(expected()),
    };
    telemetry::set_level(name, level).map_err(Problem::internal)?;
    tracing::info!(logger = name, configured = level.map(level_name), "log level changed");
    Ok(HttpResponse::NoContent().finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn says_something(path: &Path) -> bool {
        if path.is_dir() {
            return path.read_dir().unwrap().any(|entry| says_something(&entry.unwrap().path()));
        }
        let text = std::fs::read_to_string(path).unwrap();
        ["error!", "warn!", "info!", "debug!"].iter().any(|level| text.contains(&format!("tracing::{level}(")))
    }

    #[test]
    fn every_part_of_the_platform_that_logs_is_listed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let parts = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).filter(|path| says_something(path));
        let parts: BTreeSet<String> = parts.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
        assert_eq!(parts, PLATFORM.map(String::from).into());
    }
}
