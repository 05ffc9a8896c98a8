//! The route file as Spring Cloud Gateway has it: YAML in, definitions out.
//!
//! Both prefixes are read, keys may be dotted or nested, several documents in one file are one, and
//! `${NAME:default}` is taken from the environment, so that a team's file works as it is.

use super::circuit::Circuits;
use super::pattern::{PatternError, RangeError};
use super::routes::{RouteError, RouteReason};
use actix_web::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::Duration;

const PREFIXES: [&str; 2] = ["spring.cloud.gateway.server.webflux.", "spring.cloud.gateway."];

/// Why an argument of a predicate or filter, or a setting, cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ValueError {
    /// An argument without a default is missing.
    #[error("lacks `{name}`")]
    Missing { name: String },
    /// A value is not of its type.
    #[error("`{value}` is no {expected}")]
    Malformed { value: String, expected: &'static str },
    /// The same, of a value that does not show by itself which one it is.
    #[error("{name}: `{value}` is no {expected}")]
    MalformedNamed { name: String, value: String, expected: &'static str },
    /// A value is none of those that are known.
    #[error("{name} `{value}`: expected {expected}")]
    Unexpected { name: &'static str, value: String, expected: &'static str },
    /// A status of `RedirectTo` is none of 300 to 399.
    #[error("{0} is no redirection")]
    NotARedirection(StatusCode),
    /// A time is malformed.
    #[error("`{value}` is no time such as 2030-01-20T17:42:47+01:00[Europe/Paris]: {source}")]
    Time { value: String, source: time::error::Parse },
    /// A time in milliseconds is outside the years that we know.
    #[error("`{value}`: {source}")]
    TimeRange { value: String, source: time::error::ComponentRange },
    #[error(transparent)]
    Pattern(#[from] PatternError),
    #[error(transparent)]
    Range(#[from] RangeError),
}

impl ValueError {
    /// For a value that is not of its type.
    pub(super) fn malformed(value: &str, expected: &'static str) -> Self {
        Self::Malformed { value: value.into(), expected }
    }
}

/// Why a predicate or filter cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum RoutePartError {
    /// There is none of this name.
    #[error("there is no {kind} `{name}`; known: {}", known.join(", "))]
    Unknown { kind: &'static str, name: String, known: &'static [&'static str] },
    /// One of its arguments is wrong.
    #[error("{name}: {source}")]
    Argument { name: String, source: ValueError },
    /// Its long form has no name.
    #[error("a predicate or filter has no `name`")]
    Nameless,
    /// The arguments of its long form are no map.
    #[error("`{name}`: args must be a map, not {found}")]
    ArgsForm { name: String, found: Value },
    /// It is neither in the shortcut form nor in the long one.
    #[error("expected `Name=arguments` or {{name, args}}, found {found}")]
    Form { found: Value },
}

/// Why the text of a route file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum DocumentError {
    #[error(transparent)]
    Yaml(#[from] serde_yaml_ng::Error),
    /// `${` without `}`.
    #[error("`{text}`: a placeholder is not closed")]
    OpenPlaceholder { text: String },
    /// A placeholder names nothing.
    #[error("`{text}`: {name} is not in the environment and has no default")]
    UnknownVariable { text: String, name: String },
    /// What must be a list is none.
    #[error("{key}: expected a list, found {found}")]
    NotAList { key: String, found: Value },
    /// A filter of `default-filters` is malformed.
    #[error(transparent)]
    DefaultFilter(RoutePartError),
    /// A setting outside the routes is wrong.
    #[error("{key}: {source}")]
    Setting { key: String, source: ValueError },
    /// A `baseConfig` names none of the configurations.
    #[error("there is no configuration `{name}`")]
    UnknownConfiguration { name: String },
    #[error(transparent)]
    Route(#[from] RouteError),
}

/// Arguments of a predicate or filter: by position from the shortcut form, by name from the long one.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Args {
    positional: Vec<String>,
    named: BTreeMap<String, String>,
}

impl Args {
    /// One argument; the last of a shortcut takes what is left, commas included, where `last` says so.
    pub(super) fn one(&self, index: usize, names: &[&str], last: bool) -> Option<String> {
        if let Some(value) = names.iter().find_map(|name| self.named.get(&plain(name))) {
            return Some(value.clone());
        }
        let rest = self.positional.get(index..)?;
        if last && !rest.is_empty() { Some(rest.join(",")) } else { rest.first().cloned() }
    }

    /// One argument that must be there.
    pub(super) fn need(&self, index: usize, names: &[&str], last: bool) -> Result<String, ValueError> {
        let missing = || ValueError::Missing { name: names.first().copied().unwrap_or_default().into() };
        self.one(index, names, last).ok_or_else(missing)
    }

    /// A list: the positions from `index` on, `name.0`, `name.1`, ..., or `name` with commas.
    pub(super) fn list(&self, index: usize, name: &str) -> Vec<String> {
        let name = plain(name);
        if let Some(text) = self.named.get(&name) {
            return text.split(',').map(|item| item.trim().to_string()).filter(|item| !item.is_empty()).collect();
        }
        let start = format!("{name}.");
        let indexed: Vec<String> = self.named.iter().filter(|(key, _)| key.starts_with(&start)).map(|(_, value)| value.clone()).collect();
        if indexed.is_empty() { self.positional.get(index..).unwrap_or_default().to_vec() } else { indexed }
    }

    fn insert(&mut self, key: &str, value: &Value) {
        match value {
            Value::Object(members) => members.iter().for_each(|(inner, value)| self.insert(&format!("{key}.{inner}"), value)),
            // none at all, which is not the same as nothing said
            Value::Array(items) if items.is_empty() => _ = self.named.insert(plain(key), String::new()),
            Value::Array(items) => items.iter().enumerate().for_each(|(index, value)| self.insert(&format!("{key}.{index}"), value)),
            // what Spring's own definitions call the positions of a shortcut
            leaf if key.starts_with("_genkey_") => self.positional.push(text(leaf)),
            leaf => {
                self.named.insert(plain(key), text(leaf));
            }
        }
    }
}

/// Spring takes `key-resolver`, `keyResolver` and `key_resolver` for the same.
fn plain(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_')).collect::<String>().to_ascii_lowercase()
}

/// A value as it would be written without quotes.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A predicate or a filter as it is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) args: Args,
}

impl Part {
    /// From `Name=a,b`.
    pub(super) fn shortcut(text: &str) -> Self {
        let (name, args) = text.split_once('=').unwrap_or((text, ""));
        let positional = args.split(',').map(|a| a.trim().to_string()).filter(|a| !a.is_empty()).collect();
        Self { name: name.trim().into(), args: Args { positional, named: BTreeMap::new() } }
    }

    /// From its shortcut, or from `{name, args}`.
    pub(super) fn read(value: &Value) -> Result<Self, RoutePartError> {
        match value {
            Value::String(text) => Ok(Self::shortcut(text)),
            Value::Object(members) => {
                let name = members.get("name").and_then(Value::as_str).ok_or(RoutePartError::Nameless)?;
                let mut args = Args::default();
                match members.get("args") {
                    None | Some(Value::Null) => {}
                    Some(Value::Object(named)) => named.iter().for_each(|(key, value)| args.insert(key, value)),
                    Some(other) => return Err(RoutePartError::ArgsForm { name: name.into(), found: other.clone() }),
                }
                Ok(Self { name: name.into(), args })
            }
            other => Err(RoutePartError::Form { found: other.clone() }),
        }
    }

    /// For one whose argument is wrong.
    pub(super) fn refuse(&self, source: ValueError) -> RoutePartError {
        RoutePartError::Argument { name: self.name.clone(), source }
    }

    /// For one that is none of the known.
    pub(super) fn unknown(&self, kind: &'static str, known: &'static [&'static str]) -> RoutePartError {
        RoutePartError::Unknown { kind, name: self.name.clone(), known }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named = self.args.named.iter().map(|(key, value)| format!("{key} = '{value}'"));
        let all: Vec<String> = self.args.positional.iter().cloned().chain(named).collect();
        if all.is_empty() { f.write_str(&self.name) } else { write!(f, "{} {}", self.name, all.join(", ")) }
    }
}

/// A route as it is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Definition {
    pub(super) id: String,
    pub(super) uri: String,
    pub(super) order: i64,
    pub(super) predicates: Vec<Part>,
    pub(super) filters: Vec<Part>,
    pub(super) metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Raw {
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

impl Definition {
    /// From one element of `routes`, or from the body of `POST /actuator/gateway/routes/{id}`.
    pub(super) fn read(value: &Value, id: &str) -> Result<Self, RouteError> {
        let raw: Raw = serde_json::from_value(value.clone()).map_err(|cause| RouteError::of(id, cause))?;
        let id = raw.id.unwrap_or_else(|| id.to_string());
        let parts = |values: Vec<Value>| values.iter().map(Part::read).collect::<Result<Vec<_>, _>>();
        let (predicates, filters) = (parts(raw.predicates), parts(raw.filters));
        let named = |cause: RoutePartError| RouteError::of(&id, cause);
        Ok(Self {
            predicates: predicates.map_err(named)?,
            filters: filters.map_err(named)?,
            uri: raw.uri,
            order: raw.order,
            metadata: raw.metadata.iter().map(|(key, value)| (plain(key), text(value))).collect(),
            id,
        })
    }

    /// A duration of the metadata, in milliseconds there; negative means none.
    pub(super) fn time(&self, name: &'static str) -> Result<Option<i64>, RouteReason> {
        let value = self.metadata.get(&plain(name));
        value.map(|v| v.parse().map_err(|_| RouteReason::Metadata { name, value: v.clone() })).transpose()
    }
}

/// All that is read of a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Document {
    pub(super) routes: Vec<Definition>,
    pub(super) default_filters: Vec<Part>,
    pub(super) connect: Option<Duration>,
    pub(super) response: Option<Duration>,
    pub(super) locator: bool,
    /// Whether `Host` patterns match the port, too.
    pub(super) host_with_port: bool,
    /// Resilience4j's settings.
    pub(super) circuits: Circuits,
}

impl Default for Document {
    fn default() -> Self {
        let (routes, default_filters, circuits) = Default::default();
        Self { routes, default_filters, connect: None, response: None, locator: false, host_with_port: true, circuits }
    }
}

/// Reads a file; the error says what is wrong and where.
pub(super) fn parse(yaml: &str) -> Result<Document, DocumentError> {
    let mut document = Document::default();
    for part in serde_yaml_ng::Deserializer::from_str(yaml) {
        let mut value = Value::deserialize(part)?;
        resolve(&mut value)?;
        let value = nest(value);
        for prefix in PREFIXES {
            let at = |key: &str| find(&value, &format!("{prefix}{key}"));
            for (index, route) in items(prefix, "routes", &value)?.iter().enumerate() {
                let id = route.get("id").and_then(Value::as_str).map_or_else(|| format!("route-{index}"), str::to_string);
                document.routes.push(Definition::read(route, &id)?);
            }
            for filter in items(prefix, "default-filters", &value)? {
                document.default_filters.push(Part::read(filter).map_err(DocumentError::DefaultFilter)?);
            }
            for (key, slot) in [("connect-timeout", &mut document.connect), ("response-timeout", &mut document.response)] {
                if let Some(found) = at(&format!("httpclient.{key}")) {
                    let wrong = |source| DocumentError::Setting { key: format!("httpclient.{key}"), source };
                    *slot = Some(duration(&text(found)).map_err(wrong)?);
                }
            }
            document.host_with_port &= at("predicate.host.include-port").is_none_or(|on| text(on) != "false");
            document.locator |= at("discovery.locator.enabled").is_some_and(|on| text(on) == "true");
            if at("globalcors").is_some() {
                tracing::warn!("globalcors of the route file is not read: set server.origins");
            }
        }
        document.circuits.read(&value)?;
    }
    Ok(document)
}

fn items<'a>(prefix: &str, key: &str, value: &'a Value) -> Result<&'a [Value], DocumentError> {
    let key = format!("{prefix}{key}");
    match find(value, &key) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(other) => Err(DocumentError::NotAList { key, found: other.clone() }),
    }
}

/// Looks a dotted key up.
pub(super) fn find<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(value, |value, name| value.get(name))
}

/// Makes dotted keys nested ones. Lists stay: what is in them are names of a route's own.
fn nest(value: Value) -> Value {
    let Value::Object(members) = value else { return value };
    let mut nested = Map::new();
    for (key, inner) in members {
        let inner = key.rsplit('.').fold(nest(inner), |inner, name| Value::Object(Map::from_iter([(name.to_string(), inner)])));
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

/// `10ms`, `5s`, `2m`, `PT5S`, or a bare number of milliseconds.
pub(super) fn duration(text: &str) -> Result<Duration, ValueError> {
    let wrong = || ValueError::malformed(text, "duration; expected such as 500ms, 5s, 2m");
    let bare = text.trim().to_ascii_lowercase();
    let bare = bare.strip_prefix("pt").unwrap_or(&bare);
    let digits = bare.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match bare.get(digits.len()..).unwrap_or_default() {
        "" | "ms" => 1.0,
        "s" => 1000.0,
        "m" => 60_000.0,
        "h" => 3_600_000.0,
        _ => return Err(wrong()),
    };
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * unit / 1000.0).map_err(|_| wrong())
}

/// Fills `${NAME:default}` in from the environment. `$\{name}` stays: it is a filter's own.
fn resolve(value: &mut Value) -> Result<(), DocumentError> {
    match value {
        Value::String(text) => *text = fill(text, &|name| std::env::var(name).ok())?,
        Value::Array(items) => items.iter_mut().try_for_each(resolve)?,
        Value::Object(members) => members.values_mut().try_for_each(resolve)?,
        _ => {}
    }
    Ok(())
}

fn fill(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, DocumentError> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (inner, tail) = after.split_once('}').ok_or_else(|| DocumentError::OpenPlaceholder { text: text.into() })?;
        let (name, default) = inner.split_once(':').map_or((inner, None), |(name, default)| (name, Some(default)));
        let relaxed = name.replace(['.', '-'], "_").to_uppercase();
        let value = variable(name).or_else(|| variable(&relaxed)).or_else(|| default.map(str::to_string));
        let value = value.ok_or_else(|| DocumentError::UnknownVariable { text: text.into(), name: name.into() })?;
        filled.push_str(before);
        filled.push_str(&value);
        rest = tail;
    }
    filled.push_str(rest);
    Ok(filled)
}
