//! `/actuator/env` and `/actuator/configprops`: the active settings, flat with their layers, and by section.

use crate::kernel::problem::Problem;
use crate::ops::refresh::{ActiveConfig, Property};
use actix_web::HttpResponse;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The one of Spring's system properties that its tools read.
fn system_properties() -> Map<String, Value> {
    Map::from_iter([("PID".to_string(), json!({ "value": std::process::id().to_string() }))])
}

pub(super) async fn all(settings: &ActiveConfig) -> HttpResponse {
    let (profile, properties) = settings.properties().await;
    let properties: Map<String, Value> =
        properties.into_iter().map(|Property { key, value, origin }| (key, json!({ "value": value, "origin": origin }))).collect();
    HttpResponse::Ok().json(json!({
        "activeProfiles": [profile],
        "defaultProfiles": ["default"],
        "propertySources": [{ "name": "tradepost", "properties": properties }, { "name": "process", "properties": system_properties() }],
    }))
}

/// 404 for an unknown key.
pub(super) async fn one(settings: &ActiveConfig, name: &str) -> Result<HttpResponse, Problem> {
    let (profile, properties) = settings.properties().await;
    let property = properties.into_iter().find(|property| property.key == name);
    let property = property.map(|Property { value, origin, .. }| json!({ "value": value, "origin": origin }));
    let process = system_properties().remove(name);
    let sources = [("tradepost", &property), ("process", &process)];
    let Some((source, found)) = sources.iter().find_map(|(source, found)| found.as_ref().map(|found| (source, found))) else {
        return Err(Problem::new(404, format!("there is no setting {name}")));
    };
    let value = found.get("value").cloned().unwrap_or_default();
    let sources: Vec<Value> = sources
        .iter()
        .map(|(name, found)| match found {
            Some(property) => json!({ "name": name, "property": property }),
            None => json!({ "name": name }),
        })
        .collect();
    Ok(HttpResponse::Ok().json(json!({
        "property": { "source": source, "value": value },
        "activeProfiles": [profile],
        "defaultProfiles": ["default"],
        "propertySources": sources,
    })))
}

/// One bean per section whose name starts with the prefix; 404 if none does.
pub(super) async fn sections(settings: &ActiveConfig, prefix: &str) -> Result<HttpResponse, Problem> {
    let (_, properties) = settings.properties().await;
    let mut sections: BTreeMap<String, (Value, Value)> = BTreeMap::new();
    for Property { key, value, origin } in properties {
        let Some((section, rest)) = key.split_once('.').filter(|(section, _)| section.starts_with(prefix)) else { continue };
        let (properties, inputs) = sections.entry(section.to_string()).or_insert((json!({}), json!({})));
        insert_at(inputs, rest, json!({ "value": value, "origin": origin }));
        insert_at(properties, rest, value);
    }
    if sections.is_empty() {
        return Err(Problem::new(404, format!("no section of the settings begins with {prefix}")));
    }
    let bean = |(section, (properties, inputs)): (String, (Value, Value))| {
        (format!("tradepost.{section}"), json!({ "prefix": section, "properties": properties, "inputs": inputs }))
    };
    let beans: Map<String, Value> = sections.into_iter().map(bean).collect();
    Ok(HttpResponse::Ok().json(json!({ "contexts": { "application": { "beans": beans } } })))
}

/// Inserts a value at the path of its dotted key.
fn insert_at(tree: &mut Value, key: &str, value: Value) {
    let mut target = tree;
    for part in key.split('.') {
        let Value::Object(members) = target else { return };
        target = members.entry(part).or_insert_with(|| json!({}));
    }
    *target = value;
}
