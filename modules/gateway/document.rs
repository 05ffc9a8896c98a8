//! Routes document of Spring Cloud Gateway: YAML in, route definitions out.
//!
//! Both of Spring's prefixes are valid, keys may be dotted or nested, the YAML documents of one file are
//! merged, and the environment fills `${NAME:default}`. An existing file works without changes.

use super::circuit::CircuitConfigs;
use super::definition::{Component, RouteDefinition};
use super::error::DocumentError;
use super::value::{duration, find, text};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::time::Duration;

const PREFIXES: [&str; 2] = ["spring.cloud.gateway.server.webflux.", "spring.cloud.gateway."];

/// A parsed routes document.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RouteDocument {
    pub(super) routes: Vec<RouteDefinition>,
    pub(super) default_filters: Vec<Component>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) response_timeout: Option<Duration>,
    pub(super) discovery_locator: bool,
    /// Whether `Host` patterns include the port.
    pub(super) host_with_port: bool,
    pub(super) circuits: CircuitConfigs,
}

impl Default for RouteDocument {
    fn default() -> Self {
        let (routes, default_filters, circuits) = Default::default();
        Self {
            routes,
            default_filters,
            connect_timeout: None,
            response_timeout: None,
            discovery_locator: false,
            host_with_port: true,
            circuits,
        }
    }
}

pub(super) fn parse(yaml: &str) -> Result<RouteDocument, DocumentError> {
    let mut document = RouteDocument::default();
    for yaml_document in serde_yaml_ng::Deserializer::from_str(yaml) {
        let mut value = Value::deserialize(yaml_document)?;
        fill_placeholders(&mut value)?;
        let value = nest_dotted_keys(value);
        for prefix in PREFIXES {
            let at = |key: &str| find(&value, &format!("{prefix}{key}"));
            for (index, route) in list_at(prefix, "routes", &value)?.iter().enumerate() {
                let id = route.get("id").and_then(Value::as_str).map_or_else(|| format!("route-{index}"), str::to_string);
                document.routes.push(RouteDefinition::parse(route, &id)?);
            }
            for filter in list_at(prefix, "default-filters", &value)? {
                document.default_filters.push(Component::parse(filter).map_err(DocumentError::DefaultFilter)?);
            }
            for (key, slot) in [("connect-timeout", &mut document.connect_timeout), ("response-timeout", &mut document.response_timeout)] {
                if let Some(found) = at(&format!("httpclient.{key}")) {
                    let invalid = |source| DocumentError::Setting { key: format!("httpclient.{key}"), source };
                    *slot = Some(duration(&text(found)).map_err(invalid)?);
                }
            }
            document.host_with_port &= at("predicate.host.include-port").is_none_or(|on| text(on) != "false");
            document.discovery_locator |= at("discovery.locator.enabled").is_some_and(|on| text(on) == "true");
            if at("globalcors").is_some() {
                tracing::warn!("ignoring globalcors of the route file: set server.origins");
            }
        }
        document.circuits.apply(&value)?;
    }
    Ok(document)
}

fn list_at<'a>(prefix: &str, key: &str, value: &'a Value) -> Result<&'a [Value], DocumentError> {
    let key = format!("{prefix}{key}");
    match find(value, &key) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(other) => Err(DocumentError::NotAList { key, found: other.clone() }),
    }
}

/// Turns dotted keys into nested ones, except in lists: keys there belong to a route.
fn nest_dotted_keys(value: Value) -> Value {
    let Value::Object(members) = value else { return value };
    let mut nested = Map::new();
    for (key, inner) in members {
        let inner = key.rsplit('.').fold(nest_dotted_keys(inner), |inner, name| Value::Object(Map::from_iter([(name.to_string(), inner)])));
        if let Value::Object(inner) = inner {
            merge(&mut nested, inner);
        }
    }
    Value::Object(nested)
}

fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// Replaces `${NAME:default}` from the environment. `$\{name}` stays: it is a group of `RewritePath`.
fn fill_placeholders(value: &mut Value) -> Result<(), DocumentError> {
    match value {
        Value::String(text) => *text = fill_text(text, &|name| std::env::var(name).ok())?,
        Value::Array(items) => items.iter_mut().try_for_each(fill_placeholders)?,
        Value::Object(members) => members.values_mut().try_for_each(fill_placeholders)?,
        _ => {}
    }
    Ok(())
}

fn fill_text(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, DocumentError> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (inner, tail) = after.split_once('}').ok_or_else(|| DocumentError::OpenPlaceholder { text: text.into() })?;
        let (name, default) = inner.split_once(':').map_or((inner, None), |(name, default)| (name, Some(default)));
        let variable_name = name.replace(['.', '-'], "_").to_uppercase();
        let value = variable(name).or_else(|| variable(&variable_name)).or_else(|| default.map(str::to_string));
        let value = value.ok_or_else(|| DocumentError::UnknownVariable { text: text.into(), name: name.into() })?;
        filled.push_str(before);
        filled.push_str(&value);
        rest = tail;
    }
    filled.push_str(rest);
    Ok(filled)
}
