//! Builds a layer from flat keys in any spelling of Spring's relaxed binding: `lease_seconds`, `lease-seconds`,
//! `leaseSeconds`.

use super::error::SettingsError;
use super::keys::{is_known, known_keys, unknown, visit_leaves};
use crate::kernel::module::Module;
use crate::settings::{Resilience, Settings};
use config::builder::DefaultState;
use config::{Config, ConfigBuilder, Value as Setting, ValueKind};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct LayerBuilder {
    index: KeyIndex,
    /// The source that sets each setting.
    setting_sources: BTreeMap<String, usize>,
    builder: ConfigBuilder<DefaultState>,
}

impl LayerBuilder {
    pub(super) fn new() -> Result<Self, SettingsError> {
        Ok(Self { index: KeyIndex::new()?, setting_sources: BTreeMap::new(), builder: Config::builder() })
    }

    /// Sets a key of a source. Sources come strongest first; `value` is called only if no stronger source sets the key.
    pub(super) fn set(
        &mut self,
        source: usize,
        origin: &str,
        key: &str,
        value: impl FnOnce() -> Result<Value, SettingsError>,
    ) -> Result<(), SettingsError> {
        let index = &self.index;
        let origin = origin.to_string();
        let Some((setting, rest)) = index.find(key) else { return Err(unknown(key, &origin, &index.keys)) };
        // the strongest source sets the whole setting; lists are not merged, as in Spring
        if *self.setting_sources.entry(setting.clone()).or_insert(source) != source {
            return Ok(());
        }
        let is_list = index.lists.contains(&setting) && rest.is_empty();
        let kind = match value()? {
            Value::String(text) if is_list => ValueKind::Array(
                text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(|part| Setting::new(Some(&origin), part)).collect(),
            ),
            Value::String(text) => ValueKind::String(text),
            Value::Bool(value) => ValueKind::Boolean(value),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(integer), _) => ValueKind::I64(integer),
                (None, Some(float)) => ValueKind::Float(float),
                (None, None) => ValueKind::String(number.to_string()),
            },
            _ => return Ok(()),
        };
        let path = format!("{setting}{rest}");
        let builder = std::mem::take(&mut self.builder);
        self.builder = builder.set_override(&path, Setting::new(Some(&origin), kind)).map_err(|_| unknown(&path, &origin, &index.keys))?;
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Config, SettingsError> {
        Ok(self.builder.build()?)
    }
}

struct KeyIndex {
    /// Settings by their uniform name, the form in which Spring compares names.
    by_uniform_name: BTreeMap<String, String>,
    keys: BTreeSet<String>,
    lists: Vec<String>,
}

impl KeyIndex {
    fn new() -> Result<Self, SettingsError> {
        let mut keys = known_keys()?;
        let modules = Module::ALL.map(Module::name);
        keys.extend(modules.map(|module| format!("peers.{module}")));
        let overrides = serde_json::to_value(Resilience::default())?;
        let overrides: Vec<_> = overrides.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect();
        keys.extend(modules.iter().flat_map(|module| overrides.iter().map(move |key| format!("resilience.peers.{module}.{key}"))));
        let mut lists = Vec::new();
        visit_leaves("", &serde_json::to_value(Settings::default())?, &mut |key, value| {
            if value.is_array() {
                lists.push(key.to_string());
            }
        });
        let by_uniform_name = keys.iter().filter(|key| is_known(key, &keys)).map(|key| (uniform_name(key), key.clone())).collect();
        Ok(Self { by_uniform_name, keys, lists })
    }

    /// The setting and the path within it: `notification.webhooks` and `[0].url`.
    fn find(&self, key: &str) -> Option<(String, String)> {
        let (stem, rest) = key.split_at(key.find('[').unwrap_or(key.len()));
        self.by_uniform_name.get(&uniform_name(stem)).map(|setting| (setting.clone(), snake_case(rest)))
    }
}

fn uniform_name(key: &str) -> String {
    key.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}

fn snake_case(key: &str) -> String {
    let mut out = String::new();
    for c in key.chars() {
        if c.is_uppercase() {
            out.push('_');
        }
        out.extend(if c == '-' { '_' } else { c }.to_lowercase());
    }
    out
}
