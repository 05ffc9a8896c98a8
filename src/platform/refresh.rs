//! Settings in force: shown at `/actuator/env`, read again by `POST /actuator/refresh`.
//!
//! Source: spring-cloud-context `RefreshEndpoint`, whose answer is a list of keys. Ours names what was
//! taken up; what needs a restart is told in the log.

use crate::config::{self, Loaded};
use crate::platform::host::Changeable;
use crate::platform::problem::Problem;
use crate::platform::telemetry;
use actix_web::HttpResponse;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tokio::sync::Mutex;

struct State {
    loaded: Loaded,
    /// The values, without secrets.
    shown: Value,
}

/// What this process runs with.
pub struct InForce {
    state: Mutex<State>,
    changeable: Vec<Changeable>,
}

impl InForce {
    /// As it started, with what may change.
    pub fn new(loaded: Loaded, mut changeable: Vec<Changeable>) -> Result<Self, String> {
        let shown = serde_json::to_value(&loaded.settings).map_err(|e| e.to_string())?;
        changeable.push(Changeable { keys: &["log.level"], apply: Arc::new(|settings| telemetry::set_levels(&settings.log.level)) });
        Ok(Self { state: Mutex::new(State { loaded, shown }), changeable })
    }

    /// Every setting with its value and layer.
    pub async fn show(&self) -> HttpResponse {
        let state = self.state.lock().await;
        let mut properties = Map::new();
        config::leaves("", &state.shown, &mut |key, value| {
            let origin = state.loaded.origins.get(key).map_or("defaults", String::as_str);
            properties.insert(key.to_string(), json!({ "value": value, "origin": origin }));
        });
        let profile = state.shown.pointer("/server/profile").cloned().unwrap_or_default();
        HttpResponse::Ok()
            .json(json!({ "activeProfiles": [profile], "propertySources": [{ "name": "tradepost", "properties": properties }] }))
    }

    /// Reads all layers again and takes up what may change. Settings that are not good change nothing.
    pub async fn refresh(&self) -> Result<HttpResponse, Problem> {
        // one after the other: two at once could end with the older values
        let mut state = self.state.lock().await;
        let before = state.loaded.clone();
        let read = actix_web::web::block(move || before.again()).await.map_err(Problem::internal)?;
        let new = read.map_err(|cause| Problem::new(409, format!("nothing was changed: {cause}")))?;
        let shown = serde_json::to_value(&new.settings).map_err(Problem::internal)?;
        let changed = state.loaded.changed(&new);
        let (mut applied, mut refused) = (Vec::new(), Vec::new());
        for part in &self.changeable {
            let keys: Vec<&String> = changed.iter().filter(|key| part.keys.contains(&key.as_str())).collect();
            if keys.is_empty() {
                continue;
            }
            match (part.apply)(&new.settings) {
                Ok(()) => applied.extend(keys.into_iter().cloned()),
                Err(cause) => refused.push(cause),
            }
        }
        for key in &applied {
            state.loaded.adopt(key, &new);
            let pointer = format!("/{}", key.replace('.', "/"));
            if let (Some(place), Some(value)) = (state.shown.pointer_mut(&pointer), shown.pointer(&pointer)) {
                *place = value.clone();
            }
        }
        let rest: Vec<_> = changed.iter().filter(|key| !applied.contains(key)).map(String::as_str).collect();
        tracing::info!(applied = applied.join(","), needs_restart = rest.join(","), "settings read again");
        if refused.is_empty() { Ok(HttpResponse::Ok().json(applied)) } else { Err(Problem::new(409, refused.join("; "))) }
    }
}
