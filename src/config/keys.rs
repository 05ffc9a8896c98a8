//! Known keys, and the closest match for an unknown key.

use super::error::SettingsError;
use crate::kernel::module::Module;
use crate::settings::Settings;
use config::{Value, ValueKind};
use std::collections::BTreeSet;

pub(super) fn unknown(key: &str, origin: &str, known: &BTreeSet<String>) -> SettingsError {
    SettingsError::Unknown { key: key.into(), origin: origin.into(), closest: closest(key, known).cloned() }
}

/// All keys of the defaults. Keys of single peers are not among them; see [`is_known`].
pub(super) fn known_keys() -> Result<BTreeSet<String>, SettingsError> {
    let defaults = serde_json::to_value(Settings::default())?;
    let mut keys = BTreeSet::new();
    visit_leaves("", &defaults, &mut |key, _| {
        keys.insert(key.to_string());
    });
    Ok(keys)
}

/// Visits every value that is not an object, with its dotted key.
pub fn visit_leaves(prefix: &str, value: &serde_json::Value, visit: &mut impl FnMut(&str, &serde_json::Value)) {
    match value {
        serde_json::Value::Object(members) => {
            for (key, inner) in members {
                let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                visit_leaves(&path, inner, visit);
            }
        }
        leaf => visit(prefix, leaf),
    }
}

/// Accepts the keys in `known` and the keys of single peers, which have no default.
pub(super) fn is_known(key: &str, known: &BTreeSet<String>) -> bool {
    let is_module = |name: &str| Module::by_name(name).is_some();
    // every resilience setting can be overridden per peer
    let is_override =
        |key: &str| key.split_once('.').is_some_and(|(module, k)| is_module(module) && known.contains(&format!("resilience.{k}")));
    known.contains(key)
        || key.strip_prefix("peers.").is_some_and(is_module)
        || key.strip_prefix("resilience.peers.").is_some_and(is_override)
}

fn closest<'a>(key: &str, known: &'a BTreeSet<String>) -> Option<&'a String> {
    let distances = known.iter().map(|candidate| (strsim::damerau_levenshtein(key, candidate), candidate));
    distances.filter(|(distance, _)| *distance <= 4).min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// Like [`visit_leaves`], for a layer.
pub(super) fn flatten(prefix: &str, value: &Value, visit: &mut impl FnMut(&str, &Value)) {
    match &value.kind {
        ValueKind::Table(table) => {
            for (key, inner) in table {
                let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&path, inner, visit);
            }
        }
        _ if prefix.is_empty() => {}
        _ => visit(prefix, value),
    }
}
