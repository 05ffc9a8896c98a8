//! Webhooks of git forges: which applications the pushed files concern.
//!
//! Source: spring-cloud-config-monitor `PropertyPathEndpoint`, and the push events of GitHub, GitLab,
//! Gitea and Bitbucket, which agree on `commits[].{added,modified,removed}`.

use crate::kernel::uri::query_pairs;
use serde_json::Value;
use std::collections::BTreeSet;

/// The applications (`*` for all) from a push event, or from a form's `path`. `order-service-prod.yml` may belong to
/// `order-service` with a profile, to `order`, or to an application named `order-service-prod`.
pub(super) fn applications(body: &[u8]) -> Vec<String> {
    let applications: BTreeSet<String> = paths(body).iter().flat_map(|path| candidates(path)).collect();
    applications.into_iter().collect()
}

fn paths(body: &[u8]) -> Vec<String> {
    let Ok(event) = serde_json::from_slice::<Value>(body) else {
        let form = std::str::from_utf8(body).unwrap_or_default();
        return query_pairs(form).filter(|(key, _)| key == "path").map(|(_, path)| path).collect();
    };
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let pushed = |commit: &Value| ["added", "modified", "removed"].map(|kind| list(commit, kind)).concat();
    let files = list(&event, "commits").iter().flat_map(pushed).collect::<Vec<_>>();
    files.iter().chain(event.get("path")).filter_map(Value::as_str).map(str::to_string).collect()
}

fn candidates(path: &str) -> Vec<String> {
    let file = path.rsplit('/').next().unwrap_or_default();
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    if stem == "application" || stem.starts_with("application-") {
        return vec!["*".into()];
    }
    let prefixes = stem.match_indices('-').filter_map(|(at, _)| stem.get(..at));
    prefixes.chain(Some(stem)).filter(|name| !name.is_empty()).map(str::to_string).collect()
}
