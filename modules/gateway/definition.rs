//! Definitions of routes, predicates and filters as a routes document has them.

use super::error::{ComponentError, RouteError, RouteErrorReason, ValueError};
use super::value::{relaxed_name, text};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Arguments of a predicate or filter: by position from the shortcut form, by name from the long form.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Args {
    positional: Vec<String>,
    named: BTreeMap<String, String>,
}

impl Args {
    /// One argument. With `last`, a positional argument takes the rest of the shortcut, commas included.
    pub(super) fn get(&self, index: usize, names: &[&str], last: bool) -> Option<String> {
        if let Some(value) = names.iter().find_map(|name| self.named.get(&relaxed_name(name))) {
            return Some(value.clone());
        }
        let rest = self.positional.get(index..)?;
        if last && !rest.is_empty() { Some(rest.join(",")) } else { rest.first().cloned() }
    }

    /// Like `get`; a missing argument is an error.
    pub(super) fn require(&self, index: usize, names: &[&str], last: bool) -> Result<String, ValueError> {
        let missing = || ValueError::Missing { name: names.first().copied().unwrap_or_default().into() };
        self.get(index, names, last).ok_or_else(missing)
    }

    /// A list: the positions from `index` on, `name.0`, `name.1`, ..., or `name` with commas.
    pub(super) fn list(&self, index: usize, name: &str) -> Vec<String> {
        let name = relaxed_name(name);
        if let Some(text) = self.named.get(&name) {
            return text.split(',').map(|item| item.trim().to_string()).filter(|item| !item.is_empty()).collect();
        }
        let prefix = format!("{name}.");
        let indexed: Vec<String> = self.named.iter().filter(|(key, _)| key.starts_with(&prefix)).map(|(_, value)| value.clone()).collect();
        if indexed.is_empty() { self.positional.get(index..).unwrap_or_default().to_vec() } else { indexed }
    }

    fn insert(&mut self, key: &str, value: &Value) {
        match value {
            Value::Object(members) => members.iter().for_each(|(inner, value)| self.insert(&format!("{key}.{inner}"), value)),
            // an empty list is a value; a missing key selects the default
            Value::Array(items) if items.is_empty() => _ = self.named.insert(relaxed_name(key), String::new()),
            Value::Array(items) => items.iter().enumerate().for_each(|(index, value)| self.insert(&format!("{key}.{index}"), value)),
            // Spring's own definitions number the arguments of a shortcut `_genkey_0`, `_genkey_1`, ...
            leaf if key.starts_with("_genkey_") => self.positional.push(text(leaf)),
            leaf => {
                self.named.insert(relaxed_name(key), text(leaf));
            }
        }
    }
}

/// A predicate or filter: its name and arguments.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Component {
    pub(super) name: String,
    pub(super) args: Args,
}

impl Component {
    /// Parses `Name=a,b`.
    pub(super) fn shortcut(text: &str) -> Self {
        let (name, args) = text.split_once('=').unwrap_or((text, ""));
        let positional = args.split(',').map(|a| a.trim().to_string()).filter(|a| !a.is_empty()).collect();
        Self { name: name.trim().into(), args: Args { positional, named: BTreeMap::new() } }
    }

    /// Parses the shortcut form or `{name, args}`.
    pub(super) fn parse(value: &Value) -> Result<Self, ComponentError> {
        match value {
            Value::String(text) => Ok(Self::shortcut(text)),
            Value::Object(members) => {
                let name = members.get("name").and_then(Value::as_str).ok_or(ComponentError::MissingName)?;
                let mut args = Args::default();
                match members.get("args") {
                    None | Some(Value::Null) => {}
                    Some(Value::Object(named)) => named.iter().for_each(|(key, value)| args.insert(key, value)),
                    Some(other) => return Err(ComponentError::ArgsNotAMap { name: name.into(), found: other.clone() }),
                }
                Ok(Self { name: name.into(), args })
            }
            other => Err(ComponentError::Malformed { found: other.clone() }),
        }
    }

    pub(super) fn argument_error(&self, source: ValueError) -> ComponentError {
        ComponentError::Argument { name: self.name.clone(), source }
    }

    pub(super) fn unknown_error(&self, kind: &'static str, known: &'static [&'static str]) -> ComponentError {
        ComponentError::Unknown { kind, name: self.name.clone(), known }
    }
}

impl std::fmt::Display for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named = self.args.named.iter().map(|(key, value)| format!("{key} = '{value}'"));
        let all: Vec<String> = self.args.positional.iter().cloned().chain(named).collect();
        if all.is_empty() { f.write_str(&self.name) } else { write!(f, "{} {}", self.name, all.join(", ")) }
    }
}

/// A route before its predicates, filters and URI are compiled.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RouteDefinition {
    pub(super) id: String,
    pub(super) uri: String,
    pub(super) order: i64,
    pub(super) predicates: Vec<Component>,
    pub(super) filters: Vec<Component>,
    pub(super) metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RawRoute {
    id: Option<String>,
    uri: String,
    #[serde(default)]
    order: i64,
    #[serde(default)]
    predicates: Vec<Value>,
    #[serde(default)]
    filters: Vec<Value>,
    #[serde(default)]
    metadata: Map<String, Value>,
}

impl RouteDefinition {
    /// Parses one element of `routes`, or the body of `POST /actuator/gateway/routes/{id}`.
    pub(super) fn parse(value: &Value, id: &str) -> Result<Self, RouteError> {
        let raw: RawRoute = serde_json::from_value(value.clone()).map_err(|cause| RouteError::new(id, cause))?;
        let id = raw.id.unwrap_or_else(|| id.to_string());
        let components = |values: Vec<Value>| values.iter().map(Component::parse).collect::<Result<Vec<_>, _>>();
        let (predicates, filters) = (components(raw.predicates), components(raw.filters));
        let with_id = |cause: ComponentError| RouteError::new(&id, cause);
        Ok(Self {
            predicates: predicates.map_err(with_id)?,
            filters: filters.map_err(with_id)?,
            uri: raw.uri,
            order: raw.order,
            metadata: raw.metadata.iter().map(|(key, value)| (relaxed_name(key), text(value))).collect(),
            id,
        })
    }

    /// A time-out of the metadata in milliseconds; negative means no limit.
    pub(super) fn timeout_ms(&self, name: &'static str) -> Result<Option<i64>, RouteErrorReason> {
        let value = self.metadata.get(&relaxed_name(name));
        value.map(|v| v.parse().map_err(|_| RouteErrorReason::Metadata { name, value: v.clone() })).transpose()
    }
}
