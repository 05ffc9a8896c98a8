//! Settings in force: shown at `/actuator/env`, read again by `POST /actuator/refresh`.
//!
//! Source: spring-cloud-context `RefreshEndpoint`, whose answer is a list of keys. Ours names what was
//! taken up; what needs a restart is told in the log.

use crate::config;
use crate::config::{Loaded, SettingsError};
use crate::kernel::error::ReloadError;
use crate::kernel::problem::Problem;
use crate::kernel::secret::Secret;
use crate::observe::log as telemetry;
use crate::observe::trace;
use crate::runtime::Reloadable;
use actix_web::HttpResponse;
use actix_web::error::BlockingError;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

/// Between two looks into Vault that were asked for: many requests may meet the same refusal.
const FLOOR: Duration = Duration::from_millis(500);

struct State {
    /// What is in force.
    loaded: Loaded,
    /// What was read last: some of it may need a restart.
    read: Loaded,
    /// The values, without secrets.
    shown: Value,
    /// Something that was read last could not be taken up.
    refused: bool,
}

/// A setting as it may be shown.
pub struct Property {
    /// Its dotted key.
    pub key: String,
    /// Its value; `******` of a secret.
    pub value: Value,
    /// The layer it came from.
    pub origin: String,
}

/// Why settings that changed are not in force.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// They cannot be read.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Parts of the process did not take theirs up.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Refused(Vec<ReloadError>),
    /// They cannot be shown: a defect of ours.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// The thread that read them panicked.
    #[error("{0}")]
    Panicked(#[from] BlockingError),
}

/// What this process runs with.
pub struct ActiveConfig {
    state: Mutex<State>,
    reloadable: Vec<Reloadable>,
}

impl ActiveConfig {
    /// As it started, with what may change.
    pub fn new(loaded: Loaded, mut reloadable: Vec<Reloadable>) -> Result<Self, SettingsError> {
        let shown = serde_json::to_value(&loaded.settings)?;
        reloadable.push(Reloadable { keys: trace::CHANGEABLE, apply: Arc::new(|settings| Ok(trace::set(&settings.telemetry)?)) });
        reloadable.push(Reloadable { keys: &["log.level"], apply: Arc::new(|settings| Ok(telemetry::set_levels(&settings.log.level)?)) });
        Ok(Self { state: Mutex::new(State { read: loaded.clone(), loaded, shown, refused: false }), reloadable })
    }

    /// The profile, and every setting with its value and layer. Secrets are masked.
    pub async fn shown(&self) -> (Value, Vec<Property>) {
        let state = self.state.lock().await;
        let mut properties = Vec::new();
        config::leaves("", &state.shown, &mut |key, value| {
            let origin = state.loaded.origins.get(key).map_or("defaults", String::as_str);
            // who encrypts a value does not want it shown, whatever the key
            let value = if config::is_decrypted(origin) { json!(Secret::default()) } else { value.clone() };
            properties.push(Property { key: key.to_string(), value, origin: origin.to_string() });
        });
        (state.shown.pointer("/server/profile").cloned().unwrap_or_default(), properties)
    }

    /// Reads all layers again and takes up what may change. Settings that are not good change nothing.
    pub async fn refresh(&self) -> Result<HttpResponse, Problem> {
        // one after the other: two at once could end with the older values
        let mut state = self.state.lock().await;
        let before = state.read.clone();
        let read = actix_web::web::block(move || before.again()).await.map_err(Problem::internal)?;
        let new = read.map_err(|cause| Problem::new(409, format!("nothing was changed: {cause}")))?;
        let Outcome { applied, refused } = self.take_up(&mut state, &new).map_err(Problem::internal)?;
        match refused.is_empty() {
            true => Ok(HttpResponse::Ok().json(applied)),
            false => Err(Problem::new(409, RefreshError::Refused(refused).to_string())),
        }
    }

    /// The same for secrets alone, which change by themselves: the other layers stay as they were read.
    async fn refresh_secrets(&self) -> Result<(), RefreshError> {
        let mut state = self.state.lock().await;
        let before = state.read.clone();
        let new = actix_web::web::block(move || before.with_secrets_again()).await??;
        // what needs a restart differs until there is one, and is told once
        if state.read.changed(&new).is_empty() && !state.refused {
            return Ok(());
        }
        let Outcome { refused, .. } = self.take_up(&mut state, &new)?;
        if refused.is_empty() { Ok(()) } else { Err(RefreshError::Refused(refused)) }
    }

    fn take_up(&self, state: &mut State, new: &Loaded) -> Result<Outcome, serde_json::Error> {
        let shown = serde_json::to_value(&new.settings)?;
        let changed = state.loaded.changed(new);
        let (mut applied, mut refused) = (Vec::new(), Vec::new());
        for part in &self.reloadable {
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
            state.loaded.adopt(key, new);
            let pointer = format!("/{}", key.replace('.', "/"));
            if let (Some(place), Some(value)) = (state.shown.pointer_mut(&pointer), shown.pointer(&pointer)) {
                *place = value.clone();
            }
        }
        state.read = new.clone();
        state.refused = !refused.is_empty();
        let rest: Vec<_> = changed.iter().filter(|key| !applied.contains(key)).map(String::as_str).collect();
        tracing::info!(applied = applied.join(","), needs_restart = rest.join(","), "settings read again");
        Ok(Outcome { applied, refused })
    }
}

/// What became of settings that have changed.
struct Outcome {
    applied: Vec<String>,
    refused: Vec<ReloadError>,
}

async fn any(of: &[Arc<Notify>]) {
    if of.is_empty() {
        return std::future::pending().await;
    }
    futures_util::future::select_all(of.iter().map(|one| Box::pin(one.notified()))).await;
}

/// Looks into Vault from time to time, and at once when a server has refused what we had from it.
pub async fn keep_secrets(in_force: Arc<ActiveConfig>, every: Duration, refused: Vec<Arc<Notify>>, stop: CancellationToken) {
    let mut well = true;
    loop {
        let wait = async {
            match every.is_zero() {
                true => std::future::pending().await,
                false => tokio::time::sleep(every).await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = wait => {}
            () = any(&refused) => {}
        }
        let read = in_force.refresh_secrets().await;
        match &read {
            Ok(()) if well => {}
            Ok(()) => tracing::info!("secrets are read from Vault again"),
            // once, and not each time
            Err(cause) if well => tracing::warn!(%cause, "no new secrets from Vault; those that are known stay in use"),
            Err(cause) => tracing::debug!(%cause, "still no new secrets from Vault"),
        }
        well = read.is_ok();
        tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(FLOOR) => {} }
    }
}
