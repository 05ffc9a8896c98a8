//! Merges layers onto the defaults and checks the keys.

use super::error::SettingsError;
use super::keys::{flatten, is_known, known_keys, unknown};
use super::{transit, value_files};
use crate::kernel::module::Module;
use crate::settings::Settings;
use config::{Config, ConfigError, Value};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

#[derive(Debug)]
pub(super) struct Merged {
    pub(super) settings: Settings,
    /// Layer by key, for every key that a layer above the defaults sets.
    pub(super) origins: BTreeMap<String, String>,
    /// One hash per value: detects changes without keeping secrets.
    pub(super) fingerprints: BTreeMap<String, u64>,
}

/// Merges the layers, weakest first; encrypted values stay encrypted.
pub(super) fn merge<'a>(layers: impl IntoIterator<Item = &'a Config>, strongest: &Config) -> Result<Merged, SettingsError> {
    merge_with(layers, strongest, &transit::before_vault)
}

pub(super) fn merge_with<'a>(
    layers: impl IntoIterator<Item = &'a Config>,
    strongest: &Config,
    decrypt: &transit::Decrypt<'_>,
) -> Result<Merged, SettingsError> {
    let mut above = Config::builder();
    for layer in layers {
        above = above.add_source(layer.clone());
    }
    let mut above = above.add_source(strongest.clone()).build()?;
    transit::replace("", &mut above.cache, decrypt)?;
    let mut origins = BTreeMap::new();
    flatten("", &above.cache, &mut |key, value| {
        origins.insert(key.to_string(), value.origin().unwrap_or("the environment").to_string());
    });
    let known = known_keys()?;
    if let Some((key, origin)) = origins.iter().find(|(key, _)| !is_known(key, &known)) {
        return Err(unknown(key, origin, &known));
    }
    let defaults = Config::try_from(&Settings::default())?;
    let all = Config::builder().add_source(defaults).add_source(above).build()?;
    let mut fingerprints = BTreeMap::new();
    flatten("", &all.cache, &mut |key, value| {
        fingerprints.insert(key.to_string(), fingerprint(value));
    });
    let mut settings: Settings = all.try_deserialize().map_err(|error| type_error(error, &origins))?;
    if !origins.contains_key("server.port")
        && let Some(port) = only_module(&settings.server.modules).and_then(Module::default_port)
    {
        settings.server.port = port;
        origins.insert("server.port".into(), format!("the default of {}", settings.server.modules.join(",")));
    }
    Ok(Merged { settings, origins, fingerprints })
}

/// Equal for `7` and `"7"`: layers differ in how they write a value.
fn fingerprint(value: &Value) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    hasher.finish()
}

/// The module of a process that runs only one.
fn only_module(wanted: &[String]) -> Option<Module> {
    let mut selected =
        Module::ALL.into_iter().filter(|m| if wanted.is_empty() { m.is_compiled_in() } else { wanted.iter().any(|w| w == m.name()) });
    selected.next().filter(|_| selected.next().is_none())
}

/// If Vault or value files are among the layers, the error shows no value: it may be a secret or a part of one.
fn type_error(error: ConfigError, origins: &BTreeMap<String, String>) -> SettingsError {
    let is_secret = |origin: &&String| origin.starts_with("vault ") || value_files::is_origin(origin);
    let Some(secret_origin) = origins.values().find(is_secret) else { return error.into() };
    let (key, expected) = match &error {
        ConfigError::Type { key, expected, .. } => (key.as_deref(), *expected),
        ConfigError::At { key, .. } => (key.as_deref(), "another form"),
        _ => (None, "another form"),
    };
    let key = key.unwrap_or("a key");
    let setting = key.split(['[', ' ']).next().unwrap_or(key);
    let origin = origins.iter().find(|(name, _)| name.starts_with(setting)).map_or(secret_origin, |(_, origin)| origin);
    SettingsError::WrongType { key: key.to_string(), origin: origin.clone(), expected }
}
