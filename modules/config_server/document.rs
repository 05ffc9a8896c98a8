//! Parsing of settings files into documents with flat keys, as Spring Boot reads YAML and properties.

use super::{profiles, properties};
use serde::Deserialize;
use serde_json::Value;
use serde_yaml_ng as yaml;

#[derive(Debug, thiserror::Error)]
pub(super) enum DocumentError {
    #[error("is not UTF-8")]
    Encoding(#[from] std::str::Utf8Error),
    #[error(transparent)]
    Yaml(#[from] yaml::Error),
    #[error(transparent)]
    Properties(#[from] properties::LineError),
    #[error(transparent)]
    Profiles(#[from] profiles::ExpressionError),
}

/// Keys and values in the order of the file. A value is a string, a number or a boolean.
pub(super) type FlatProperties = Vec<(String, Value)>;

/// Activation conditions, which are keys of the document itself.
const ON_PROFILE: &str = "spring.config.activate.on-profile";
const ON_CLOUD: &str = "spring.config.activate.on-cloud-platform";

/// Selects the format by the file extension.
pub(super) fn parse(path: &str, bytes: &[u8]) -> Result<Vec<FlatProperties>, DocumentError> {
    if path.ends_with(".properties") {
        let documents = properties::parse(bytes)?;
        return Ok(documents.into_iter().map(|pairs| pairs.into_iter().map(|(key, value)| (key, value.into())).collect()).collect());
    }
    let text = std::str::from_utf8(bytes)?;
    let mut documents = Vec::new();
    for document in yaml::Deserializer::from_str(text) {
        let mut value = yaml::Value::deserialize(document)?;
        value.apply_merge()?;
        let mut flat = Vec::new();
        match value {
            yaml::Value::Null => continue,
            yaml::Value::Mapping(_) => flatten(String::new(), value, &mut flat),
            // the key that Spring uses for a document that is not a mapping
            other => flatten("document".into(), other, &mut flat),
        }
        documents.push(flat);
    }
    Ok(documents)
}

/// Flattens a Vault secret.
#[cfg(feature = "vault")]
pub(super) fn from_json(members: serde_json::Map<String, Value>) -> Result<FlatProperties, yaml::Error> {
    let mut flat = Vec::new();
    flatten(String::new(), yaml::to_value(members)?, &mut flat);
    Ok(flat)
}

fn flatten(key: String, value: yaml::Value, flat: &mut FlatProperties) {
    match value {
        yaml::Value::Mapping(members) => {
            for (name, inner) in members {
                flatten(join_key(&key, name), inner, flat);
            }
        }
        yaml::Value::Sequence(items) if !items.is_empty() => {
            for (index, inner) in items.into_iter().enumerate() {
                flatten(format!("{key}[{index}]"), inner, flat);
            }
        }
        yaml::Value::Tagged(tagged) => flatten(key, tagged.value, flat),
        leaf => flat.push((key, scalar(leaf))),
    }
}

fn join_key(prefix: &str, name: yaml::Value) -> String {
    match name {
        yaml::Value::String(name) if prefix.is_empty() => name,
        yaml::Value::String(name) if name.starts_with('[') => format!("{prefix}{name}"),
        yaml::Value::String(name) => format!("{prefix}.{name}"),
        other => format!("{prefix}[{}]", to_text(&scalar(other))),
    }
}

/// Null and an empty list become an empty string, as in Spring.
fn scalar(value: yaml::Value) -> Value {
    match value {
        yaml::Value::Bool(value) => value.into(),
        yaml::Value::String(text) => text.into(),
        yaml::Value::Number(number) => {
            let json = number.as_i64().map(Value::from).or_else(|| number.as_u64().map(Value::from));
            let json = json.or_else(|| number.as_f64().and_then(serde_json::Number::from_f64).map(Value::Number));
            json.unwrap_or_else(|| {
                if number.is_nan() {
                    "NaN"
                } else if number.as_f64() > Some(0.0) {
                    "Infinity"
                } else {
                    "-Infinity"
                }
                .into()
            })
        }
        _ => "".into(),
    }
}

pub(super) fn to_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

/// Whether the conditions of a document hold for these profiles.
pub(super) fn is_active(document: &FlatProperties, active: &[String]) -> Result<bool, profiles::ExpressionError> {
    if document.iter().any(|(key, _)| key == ON_CLOUD) {
        return Ok(false); // Tradepost detects none of the platforms that Spring supports
    }
    let mut expressions = document.iter().filter(|(key, _)| key == ON_PROFILE || key.starts_with(&format!("{ON_PROFILE}["))).peekable();
    if expressions.peek().is_none() {
        return Ok(true);
    }
    for (_, value) in expressions {
        for expression in to_text(value).split(',') {
            if profiles::matches(expression, active)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
