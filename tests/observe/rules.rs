//! Checks of alert rules that promtool lacks: each alert has instructions for the person on call, and tests in which it
//! fires and in which it is silent.

use super::files::{dashboards, list, names, rules, text, word, yaml};
use serde_json::Value;
use std::collections::BTreeSet;
use tradepost::kernel::module::Module;

fn alerts() -> Vec<Value> {
    rules().into_iter().map(|(_, rule)| rule).filter(|rule| rule.get("alert").is_some()).collect()
}

/// The anchor of a heading of one word is that word in lower case.
#[test]
fn every_alert_has_a_description_and_a_runbook() {
    let runbook = text("prometheus/README.md");
    let boards: BTreeSet<_> = dashboards().iter().map(|(_, board)| word(board, "uid").to_string()).collect();
    for alert in alerts() {
        let (name, notes) = (word(&alert, "alert"), &alert["annotations"]);
        assert!(["page", "ticket", "none"].contains(&word(&alert["labels"], "severity")), "{name}");
        assert!(!word(notes, "summary").is_empty() && !word(notes, "description").is_empty(), "{name}");
        assert_eq!(word(notes, "runbook"), format!("deploy/prometheus/README.md#{}", name.to_lowercase()));
        assert!(runbook.lines().any(|line| line == format!("### {name}")), "deploy/prometheus/README.md has no heading {name}");
        assert!(notes.get("dashboard").is_none_or(|uid| boards.contains(uid.as_str().unwrap())), "{name}: {notes}");
    }
}

#[test]
fn every_runbook_entry_has_an_alert() {
    let alerts: BTreeSet<_> = alerts().iter().map(|alert| word(alert, "alert").to_string()).collect();
    let runbook = text("prometheus/README.md");
    let headings: BTreeSet<_> = runbook.lines().filter_map(|line| line.strip_prefix("### ")).map(str::to_string).collect();
    assert_eq!(headings, alerts);
}

/// Reads the tests that promtool runs. The watchdog is never silent.
#[test]
fn every_alert_is_tested_firing_and_silent() {
    let tests: Vec<_> = names("prometheus/tests").iter().map(|name| yaml(&format!("prometheus/tests/{name}"))).collect();
    let cases: Vec<_> = tests.iter().flat_map(|file| list(file, "tests")).flat_map(|test| list(test, "alert_rule_test")).collect();
    for alert in alerts() {
        let name = word(&alert, "alert");
        let of = |severity: Option<&str>| {
            cases.iter().filter(|case| word(case, "alertname") == name).any(|case| match severity {
                None => list(case, "exp_alerts").is_empty(),
                Some(severity) => list(case, "exp_alerts").iter().any(|alert| alert["exp_labels"]["severity"] == severity),
            })
        };
        assert!(of(alert["labels"]["severity"].as_str()), "no test expects {name} to fire as {}", alert["labels"]["severity"]);
        assert!(name == "Watchdog" || of(None), "no test expects {name} to be silent");
    }
}

#[test]
fn every_rule_file_is_loaded_and_tested() {
    let loaded = |file: &str, member: &str| -> BTreeSet<String> {
        list(&yaml(file), member).iter().map(|name| name.as_str().unwrap().rsplit('/').next().unwrap().to_string()).collect()
    };
    let there: BTreeSet<_> = names("prometheus/rules").into_iter().collect();
    let mut split = loaded("prometheus/prometheus.yml", "rule_files");
    let mut whole = loaded("prometheus/all-in-one.yml", "rule_files");
    assert!(split.remove("modules.yml") && whole.remove("all-in-one.yml"));
    assert_eq!(split, whole, "a shop in one process must have the same rules as one in several processes");
    split.extend(["modules.yml".into(), "all-in-one.yml".into()]);
    assert_eq!(split, there);
    let tested: BTreeSet<_> =
        names("prometheus/tests").iter().flat_map(|name| loaded(&format!("prometheus/tests/{name}"), "rule_files")).collect();
    assert_eq!(tested, there);
}

/// The config server is optional; `up --split` starts none.
#[test]
fn every_module_has_an_alert_when_it_is_down() {
    let expected: BTreeSet<_> = rules()
        .iter()
        .filter(|(_, rule)| rule["record"] == "module:expected")
        .map(|(_, rule)| word(&rule["labels"], "module").to_string())
        .collect();
    let modules: BTreeSet<_> =
        Module::ALL.iter().filter(|module| **module != Module::ConfigServer).map(|module| module.name().to_string()).collect();
    assert_eq!(expected, modules);
}
