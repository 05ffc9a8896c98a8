//! `/actuator/loggers`: log levels by logger, and their change.

use crate::kernel::problem::Problem;
use crate::observe::log;
use actix_web::HttpResponse;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use tracing_subscriber::filter::LevelFilter;

fn level_name(level: LevelFilter) -> String {
    level.to_string().to_uppercase()
}

/// Parts of the layers that log.
const PARTS: [&str; 22] = [
    "data::lease",
    "data::mongodb",
    "data::mysql",
    "data::sqlite",
    "edge::auth",
    "edge::web",
    "events::bus",
    "events::mongodb",
    "events::mysql",
    "events::sqlite",
    "net::http",
    "net::tls",
    "net::vault",
    "observe::log",
    "observe::metrics",
    "observe::trace",
    "ops::actuator",
    "ops::refresh",
    "rpc::contract",
    "rpc::discovery",
    "rpc::resilience",
    "runtime::service",
];

const LEVELS: [&str; 6] = ["OFF", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"];

/// A logger is a module path of the sources, such as `tradepost::modules::order`, and covers all paths below it. The list
/// has the loggers of these modules and of the layers' parts, and those with a configured level; a level can be set for
/// any other by its name.
pub(super) fn all(modules: &[&str]) -> HttpResponse {
    let mut names = BTreeSet::from(["tradepost", "tradepost::app::serve", "tradepost::modules"].map(String::from));
    names.extend(PARTS.map(|part| format!("tradepost::{part}")));
    names.extend(modules.iter().map(|module| format!("tradepost::modules::{}", module.replace('-', "_"))));
    names.extend(log::levels().into_iter().map(|(name, _)| name));
    let loggers: Map<_, _> = names.into_iter().map(|name| (name.clone(), levels(&name))).collect();
    HttpResponse::Ok().json(json!({ "levels": LEVELS, "loggers": loggers, "groups": {} }))
}

/// Without a configured level, a logger has an effective one.
pub(super) fn one(name: &str) -> HttpResponse {
    HttpResponse::Ok().json(levels(name))
}

fn levels(name: &str) -> Value {
    let configured = log::levels().into_iter().find(|(target, _)| target == name).map(|(_, level)| level_name(level));
    json!({ "configuredLevel": configured, "effectiveLevel": level_name(log::effective(name)) })
}

/// Sets a configured level, or removes it if the body has none.
pub(super) fn set(name: &str, body: &[u8]) -> Result<HttpResponse, Problem> {
    if name.is_empty() {
        return Err(Problem::invalid_field("name", "expected a logger's name in UTF-8"));
    }
    let expected = || Problem::invalid_field("configuredLevel", "expected OFF, ERROR, WARN, INFO, DEBUG, TRACE or null");
    let body: Value = if body.is_empty() {
        json!({})
    } else {
        serde_json::from_slice(body).map_err(|e| Problem::new(400, format!("malformed JSON: {e}")))?
    };
    let members = body.as_object().ok_or_else(|| Problem::new(400, "the body must be a JSON object, {\"configuredLevel\": ...}"))?;
    let level = match members.get("configuredLevel") {
        None | Some(Value::Null) => None,
        // `LevelFilter`'s parser also accepts numbers and an empty string
        Some(Value::String(text)) if LEVELS.contains(&text.to_ascii_uppercase().as_str()) => {
            Some(text.parse::<LevelFilter>().map_err(|_| expected())?)
        }
        Some(_) => return Err(expected()),
    };
    log::set_level(name, level).map_err(Problem::internal)?;
    tracing::info!(logger = name, configured = level.map(level_name), "log level changed");
    Ok(HttpResponse::NoContent().finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn has_log_statement(path: &Path) -> bool {
        if path.is_dir() {
            return path.read_dir().unwrap().any(|entry| has_log_statement(&entry.unwrap().path()));
        }
        let text = std::fs::read_to_string(path).unwrap();
        ["error!", "warn!", "info!", "debug!"].iter().any(|level| text.contains(&format!("tracing::{level}(")))
    }

    #[test]
    fn parts_with_log_statements_are_listed() {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut found = BTreeSet::new();
        for layer in src.read_dir().unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir() && !path.ends_with("app")) {
            for part in layer.read_dir().unwrap().map(|entry| entry.unwrap().path()).filter(|path| has_log_statement(path)) {
                let [layer, part] = [&layer, &part].map(|path| path.file_stem().unwrap().to_str().unwrap());
                match (layer, part) {
                    // compiled once per backend, as a module of its name
                    ("events", "sql") => found.extend(["events::mysql", "events::sqlite"].map(String::from)),
                    _ => drop(found.insert(format!("{layer}::{part}"))),
                }
            }
        }
        assert_eq!(found, PARTS.map(String::from).into());
    }
}
