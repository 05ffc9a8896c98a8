//! Dashboard errors that Grafana does not report: overlapping panels, a query without a data source, an undefined
//! variable, a dead link.

use super::files::{dashboards, list, names, word, yaml};
use serde_json::Value;
use std::collections::BTreeSet;

/// Panels, including those within a collapsed row.
pub fn panels(board: &Value) -> Vec<&Value> {
    list(board, "panels").iter().flat_map(|panel| std::iter::once(panel).chain(list(panel, "panels"))).collect()
}

/// The Prometheus queries of a panel.
pub fn queries(panel: &Value) -> Vec<&str> {
    list(panel, "targets").iter().map(|target| word(target, "expr")).collect()
}

/// Collects every text in a value, at any depth.
fn texts<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(all) => all.iter().for_each(|value| texts(value, found)),
        Value::Object(all) => all.values().for_each(|value| texts(value, found)),
        _ => {}
    }
}

/// Variables in a text: `$name` and `${name}`, up to a dot. Grafana's own variables start with two underscores.
fn variables(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices('$').filter_map(|(at, _)| {
        let name = text[at + 1..].trim_start_matches('{');
        let name = &name[..name.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(name.len())];
        (!name.is_empty() && !name.starts_with("__")).then_some(name)
    })
}

fn sources() -> BTreeSet<String> {
    let files = names("grafana/provisioning/datasources").into_iter();
    let files = files.map(|name| yaml(&format!("grafana/provisioning/datasources/{name}")));
    files.flat_map(|file| list(&file, "datasources").iter().map(|source| word(source, "uid").to_string()).collect::<Vec<_>>()).collect()
}

#[test]
fn panels_do_not_overlap_and_have_descriptions() {
    for (file, board) in dashboards() {
        let mut taken = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for panel in panels(&board) {
            let (title, at) = (word(panel, "title"), &panel["gridPos"]);
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| at[side].as_u64().unwrap_or_else(|| panic!("{file}: {title}: no {side}")));
            assert!(w > 0 && h > 0 && x + w <= 24, "{file}: {title} is wider than the page");
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "{file}: {title} overlaps another panel at {cell:?}");
            }
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{file}: {title} has another panel's id");
            if panel["type"] != "row" {
                assert!(!word(panel, "description").is_empty(), "{file}: {title} has no description");
                assert!(
                    panel["fieldConfig"]["defaults"]["unit"].is_string() || panel["type"] != "timeseries",
                    "{file}: {title} has no unit"
                );
            }
        }
    }
}

#[test]
fn every_query_has_a_name_and_a_provisioned_source() {
    let sources = sources();
    for (file, board) in dashboards() {
        for panel in panels(&board).into_iter().filter(|panel| panel["type"] != "row") {
            let title = word(panel, "title");
            let targets = list(panel, "targets");
            let names: BTreeSet<_> = targets.iter().map(|target| word(target, "refId")).collect();
            assert!(!targets.is_empty() && names.len() == targets.len(), "{file}: {title}: {names:?}");
            for target in targets {
                assert!(sources.contains(word(&target["datasource"], "uid")), "{file}: {title}");
                let many = word(target, "expr").contains(" by (") && panel["type"] != "table";
                assert!(!many || target["legendFormat"].is_string() || panel["type"] == "stat", "{file}: {title} has series without names");
            }
        }
        for variable in list(&board["templating"], "list").iter().filter(|variable| variable["type"] == "query") {
            assert!(sources.contains(word(&variable["datasource"], "uid")), "{file}: {variable}");
        }
    }
}

#[test]
fn variables_are_defined_and_used() {
    for (file, board) in dashboards() {
        let mut all = Vec::new();
        texts(&board, &mut all);
        let used: BTreeSet<_> = all.into_iter().flat_map(variables).collect();
        let defined: BTreeSet<_> = list(&board["templating"], "list").iter().map(|variable| word(variable, "name")).collect();
        assert_eq!(used, defined, "{file}");
    }
}

#[test]
fn links_lead_to_existing_dashboards_and_sources() {
    let (boards, sources) = (dashboards(), sources());
    let uids: BTreeSet<_> = boards.iter().map(|(_, board)| word(board, "uid")).collect();
    assert_eq!(uids.len(), boards.len(), "two dashboards have one uid");
    for (file, board) in &boards {
        let mut all = Vec::new();
        texts(board, &mut all);
        for link in all.iter().filter_map(|text| text.strip_prefix("/d/")) {
            let uid = link.split(['?', '/']).next().unwrap();
            assert!(uids.contains(uid), "{file}: /d/{link}");
        }
        for link in all.iter().filter_map(|text| text.split_once(r#""datasource":""#)) {
            assert!(sources.contains(link.1.split('"').next().unwrap()), "{file}: {}", link.1);
        }
        assert!(list(board, "tags").contains(&"tradepost".into()), "{file}: dashboards link to each other by this tag");
    }
}
