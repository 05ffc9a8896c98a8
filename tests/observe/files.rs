//! Reads the files of `deploy/`.

use serde_json::Value;
use std::path::{Path, PathBuf};

/// A file or folder of `deploy/`.
pub fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

/// A text of `deploy/`.
pub fn text(path: &str) -> String {
    std::fs::read_to_string(deploy(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// A YAML or JSON file of `deploy/`.
pub fn yaml(path: &str) -> Value {
    serde_yaml_ng::from_str(&text(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Sorted file names of a folder of `deploy/`.
pub fn names(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(deploy(folder)).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(!names.is_empty(), "{folder} is empty");
    names
}

/// All values of a list member; empty if it is missing.
pub fn list<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    value[member].as_array().map_or(&[], Vec::as_slice)
}

/// A text member that must exist.
#[track_caller]
pub fn word<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_else(|| panic!("no `{member}` in {value}"))
}

/// Every dashboard with its file name.
pub fn dashboards() -> Vec<(String, Value)> {
    names("grafana/dashboards").into_iter().map(|name| (name.clone(), yaml(&format!("grafana/dashboards/{name}")))).collect()
}

/// Every rule with its file name.
pub fn rules() -> Vec<(String, Value)> {
    let mut rules = Vec::new();
    for name in names("prometheus/rules") {
        for group in list(&yaml(&format!("prometheus/rules/{name}")), "groups") {
            rules.extend(list(group, "rules").iter().map(|rule| (name.clone(), rule.clone())));
        }
    }
    rules
}
