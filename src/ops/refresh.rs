//! The active settings: shown at `/actuator/env`, reloaded by `POST /actuator/refresh`.
//!
//! Source: spring-cloud-context `RefreshEndpoint`, whose response is a list of changed keys. Here it lists the keys that
//! were applied; keys that need a restart are logged.

use crate::config;
use crate::config::{Loaded, SettingsError};
use crate::kernel::error::ReloadError;
use crate::kernel::problem::Problem;
use crate::kernel::secret::Secret;
use crate::observe::log;
use crate::observe::trace;
use crate::runtime::Reloadable;
use actix_web::HttpResponse;
use actix_web::error::BlockingError;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

/// Minimum time between two reads from Vault: many requests may fail with the same rejected secret.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_millis(500);

struct State {
    active: Loaded,
    /// Differs from `active` in keys that need a restart or were rejected.
    last_read: Loaded,
    /// The active values, with secrets masked.
    masked: Value,
    /// Some of the settings read last could not be applied.
    has_rejected: bool,
}

pub struct Property {
    /// Dotted.
    pub key: String,
    /// `******` for a secret.
    pub value: Value,
    /// The configuration layer that set it.
    pub origin: String,
}

#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Components that rejected their new values.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Rejected(Vec<ReloadError>),
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("{0}")]
    Panicked(#[from] BlockingError),
}

pub struct ActiveConfig {
    state: Mutex<State>,
    reloadable: Vec<Reloadable>,
}

impl ActiveConfig {
    pub fn new(loaded: Loaded, mut reloadable: Vec<Reloadable>) -> Result<Self, SettingsError> {
        let masked = serde_json::to_value(&loaded.settings)?;
        reloadable.push(Reloadable { keys: trace::RELOADABLE_KEYS, apply: Arc::new(|settings| Ok(trace::set(&settings.telemetry)?)) });
        reloadable.push(Reloadable { keys: &["log.level"], apply: Arc::new(|settings| Ok(log::set_levels(&settings.log.level)?)) });
        Ok(Self { state: Mutex::new(State { last_read: loaded.clone(), active: loaded, masked, has_rejected: false }), reloadable })
    }

    /// The profile and all settings. Secrets are masked.
    pub async fn properties(&self) -> (Value, Vec<Property>) {
        let state = self.state.lock().await;
        let mut properties = Vec::new();
        config::visit_leaves("", &state.masked, &mut |key, value| {
            let origin = state.active.origins.get(key).map_or("defaults", String::as_str);
            // a value that was encrypted in its source is a secret, whatever its key
            let value = if config::is_decrypted(origin) { json!(Secret::default()) } else { value.clone() };
            properties.push(Property { key: key.to_string(), value, origin: origin.to_string() });
        });
        (state.masked.pointer("/server/profile").cloned().unwrap_or_default(), properties)
    }

    /// Reloads all layers and applies the reloadable keys. Invalid settings change nothing.
    pub async fn refresh(&self) -> Result<HttpResponse, Problem> {
        // serialised: of two concurrent refreshes, the one with older values could finish last
        let mut state = self.state.lock().await;
        let before = state.last_read.clone();
        let read = actix_web::web::block(move || before.reload()).await.map_err(Problem::internal)?;
        let new = read.map_err(|cause| Problem::new(409, format!("nothing was changed: {cause}")))?;
        let Outcome { applied, rejected } = self.apply_changes(&mut state, &new).map_err(Problem::internal)?;
        match rejected.is_empty() {
            true => Ok(HttpResponse::Ok().json(applied)),
            false => Err(Problem::new(409, RefreshError::Rejected(rejected).to_string())),
        }
    }

    /// Reloads only the secrets from Vault, which change independently; the other layers stay as last read.
    async fn refresh_secrets(&self) -> Result<(), RefreshError> {
        let mut state = self.state.lock().await;
        let before = state.last_read.clone();
        let new = actix_web::web::block(move || before.reload_secrets()).await??;
        // keys that need a restart stay different until then: compare with the last read, so that each is logged once
        if state.last_read.changed_keys(&new).is_empty() && !state.has_rejected {
            return Ok(());
        }
        let Outcome { rejected, .. } = self.apply_changes(&mut state, &new)?;
        if rejected.is_empty() { Ok(()) } else { Err(RefreshError::Rejected(rejected)) }
    }

    fn apply_changes(&self, state: &mut State, new: &Loaded) -> Result<Outcome, serde_json::Error> {
        let masked = serde_json::to_value(&new.settings)?;
        let changed = state.active.changed_keys(new);
        let (mut applied, mut rejected) = (Vec::new(), Vec::new());
        for component in &self.reloadable {
            let keys: Vec<&String> = changed.iter().filter(|key| component.keys.contains(&key.as_str())).collect();
            if keys.is_empty() {
                continue;
            }
            match (component.apply)(&new.settings) {
                Ok(()) => applied.extend(keys.into_iter().cloned()),
                Err(cause) => rejected.push(cause),
            }
        }
        for key in &applied {
            state.active.accept(key, new);
            let pointer = format!("/{}", key.replace('.', "/"));
            if let (Some(target), Some(value)) = (state.masked.pointer_mut(&pointer), masked.pointer(&pointer)) {
                *target = value.clone();
            }
        }
        state.last_read = new.clone();
        state.has_rejected = !rejected.is_empty();
        let needs_restart: Vec<_> = changed.iter().filter(|key| !applied.contains(key)).map(String::as_str).collect();
        tracing::info!(applied = applied.join(","), needs_restart = needs_restart.join(","), "settings reloaded");
        Ok(Outcome { applied, rejected })
    }
}

struct Outcome {
    /// Keys.
    applied: Vec<String>,
    rejected: Vec<ReloadError>,
}

async fn any_notified(signals: &[Arc<Notify>]) {
    if signals.is_empty() {
        return std::future::pending().await;
    }
    futures_util::future::select_all(signals.iter().map(|signal| Box::pin(signal.notified()))).await;
}

/// Reloads secrets from Vault at this interval, and at once after a server rejected one of them. Zero means no interval.
pub async fn refresh_secrets_periodically(
    config: Arc<ActiveConfig>,
    interval: Duration,
    auth_failures: Vec<Arc<Notify>>,
    stop: CancellationToken,
) {
    let mut healthy = true;
    loop {
        let elapsed = async {
            match interval.is_zero() {
                true => std::future::pending().await,
                false => tokio::time::sleep(interval).await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = elapsed => {}
            () = any_notified(&auth_failures) => {}
        }
        let outcome = config.refresh_secrets().await;
        match &outcome {
            Ok(()) if healthy => {}
            Ok(()) => tracing::info!("refresh of secrets from Vault works again"),
            // a warning for the first failure only
            Err(cause) if healthy => tracing::warn!(%cause, "refresh of secrets from Vault failed; the known secrets stay in use"),
            Err(cause) => tracing::debug!(%cause, "refresh of secrets from Vault still fails"),
        }
        healthy = outcome.is_ok();
        tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(MIN_REFRESH_INTERVAL) => {} }
    }
}
