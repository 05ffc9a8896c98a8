//! `/actuator/env` and `/actuator/configprops`: the settings in force, flat with their layers, and by section.

use crate::kernel::problem::Problem;
use crate::ops::refresh::{ActiveConfig, Property};
use actix_web::HttpResponse;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What Spring has among its system properties, and its tools ask for.
fn process() -> Map<String, Value> {
    Map::from_iter([("PID".to_string(), json!({ "value": std::process::id().to_string() }))])
}

/// Every setting with its value and layer.
pub(super) async fn all(settings: &ActiveConfig) -> HttpResponse {
    let (profile, properties) = settings.shown().await;
    let properties: Map<String, Value> =
        properties.into_iter().map(|Property { key, value, origin }| (key, json!({ "value": value, "origin": origin }))).collect();
    HttpResponse::Ok().json(json!({
        "activeProfiles": [profile],
        "defaultProfiles": ["default"],
        "propertySources": [{ "name": "tradepost", "properties": properties }, { "name": "process", "properties": process() }],
    }))
}

/// One setting; 404 where there is none of this name.
pub(super) async fn one(settings: &ActiveConfig, name: &str) -> Result<HttpResponse, Problem> {
    let (profile, properties) = settings.shown().await;
    let ours = properties.into_iter().find(|property| property.key == name);
    let ours = ours.map(|Property { value, origin, .. }| json!({ "value": value, "origin": origin }));
    let process = process().remove(name);
    let sources = [("tradepost", &ours), ("process", &process)];
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

/// A bean for each section, of those whose name begins with this; 404 where there is none.
pub(super) async fn sections(settings: &ActiveConfig, prefix: &str) -> Result<HttpResponse, Problem> {
    let (_, properties) = settings.shown().await;
    let mut sections: BTreeMap<String, (Value, Value)> = BTreeMap::new();
    for Property { key, value, origin } in properties {
        let Some((section, rest)) = key.split_once('.').filter(|(section, _)| section.starts_with(prefix)) else { continue };
        let (properties, inputs) = sections.entry(section.to_string()).or_insert((json!({}), json!({})));
        put(inputs, rest, json!({ "value": value, "origin": origin }));
        put(properties, rest, value);
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

/// Puts a value where its dotted key says.
fn put(tree: &mut Value, key: &str, value: Value) {
    let mut place = tree;
    for part in key.split('.') {
        let Value::Object(members) = place else { return };
        place = members.entry(part).or_insert_with(|| json!({}));
    }
    *place = value;
}
