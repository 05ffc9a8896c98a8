//! Every operation of every contract is served and documented. Also checks file headers and feature descriptions.

use crate::support::Shape;
use crate::support::Shop;
use crate::support::client::Reply;
use actix_web::http::Method;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tradepost::rpc::contract::{Operation, RequiredRole};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below these folders: path from the root and text.
fn sources(folders: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut rest: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(path) = rest.pop() {
        if path.is_dir() {
            rest.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push((path.strip_prefix(root()).unwrap().into(), text));
        }
    }
    assert!(!found.is_empty(), "no files below {folders:?}");
    found
}

/// The operations of all contracts.
pub fn operations() -> Vec<Arc<Operation>> {
    tradepost::app::wiring::operations()
}

/// The operation's path with a value for each parameter.
pub fn filled(operation: &Operation) -> String {
    operation.path.replace("{id}", "1").replace("{sku_code}", "1").replace("{order_number}", "11111111-1111-4111-8111-111111111111")
}

#[test]
fn source_files_begin_with_a_header() {
    for (path, text) in sources(&["src", "modules", "tests"]) {
        assert!(text.starts_with("//! "), "{} has no header", path.display());
    }
}

/// features.md has one row per feature: what it adds, what it needs, which image has it.
#[test]
fn features_are_described() {
    let [manifest, page] = ["Cargo.toml", "features.md"].map(|file| std::fs::read_to_string(root().join(file)).unwrap());
    let features = manifest.split("[features]").nth(1).unwrap().split("\n[").next().unwrap();
    let names: Vec<&str> = features.lines().filter_map(|line| line.split_once(" = [").map(|(name, _)| name)).collect();
    assert!(names.contains(&"all-in-one") && names.len() > 20, "{names:?}");
    for name in names.into_iter().filter(|name| *name != "default" && !name.starts_with("svc-")) {
        assert!(page.contains(&format!("\n| `{name}`")), "features.md has no row for {name}");
    }
}

scenario! {
    /// Each operation, called without a body, reaches its handler, and the response is the same in every deployment mode. The
    /// snapshot has the status, the problem type and the fields of the errors.
    async fn every_operation_is_served(shop) {
        let c = &shop.client;
        let service = shop.service_token().await;
        let mut responses = Vec::new();
        for operation in operations() {
            let token = if operation.required_role == RequiredRole::Service { &service } else { &c.admin };
            let headers = [("authorization", format!("Bearer {token}")), ("content-type", "application/json".into())];
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let reply = c.send(operation.method.clone(), &filled(&operation), &headers, "").await;
            assert_ne!(reply.status, 405, "{} {}: {reply:?}", operation.method, operation.path);
            let details = if reply.status < 400 { Default::default() } else { problem_of(&reply) };
            responses.push(format!("{} {}: {}{details}", operation.method, operation.path, reply.status));
        }
        insta::assert_snapshot!("operations", responses.join("\n"));
    }
}

/// The problem type of a refusal and the fields of its errors; for `about:blank` also the message. Panics for an unknown path.
fn problem_of(reply: &Reply) -> String {
    let problem = reply.json();
    let kind = problem["type"].as_str().unwrap();
    assert!(reply.status != 404 || kind != "about:blank", "{reply:?}");
    let fields = problem["errors"].as_array().into_iter().flatten().map(|error| format!(" {}", error["field"].as_str().unwrap()));
    let untyped = if kind == "about:blank" { format!(" ({})", reply.message()) } else { String::new() };
    format!(" {}{untyped}{}", kind.trim_start_matches("urn:tradepost:problem:"), fields.collect::<String>())
}

/// Collects every value of this key at any depth.
fn values<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get(key));
            members.values().for_each(|inner| values(inner, key, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| values(inner, key, found)),
        _ => {}
    }
}

/// The OpenAPI document has the operations of the contracts, and all its references resolve.
#[test]
fn operations_are_documented_and_references_resolve() {
    crate::support::on_system(async {
        let mut shop = Shop::start(Shape::Local, |_| {}).await;
        let doc = shop.client.send(Method::GET, "/v3/api-docs", &[], "").await.expect(200).json();
        let mut shown = doc.clone();
        shown["servers"][0]["url"] = "[url]".into();
        shown["info"]["version"] = "[version]".into();
        insta::assert_json_snapshot!("openapi", shown);
        let mut references = Vec::new();
        values(&doc, "$ref", &mut references);
        assert!(references.len() > operations().len(), "{}", references.len());
        for reference in references {
            let pointer = reference.as_str().and_then(|r| r.strip_prefix('#')).unwrap_or_else(|| panic!("{reference} is not local"));
            assert!(doc.pointer(pointer).is_some(), "{reference} does not resolve");
        }
        let mut ids = BTreeSet::new();
        for operation in operations() {
            let about = &doc["paths"][operation.path][operation.method.as_str().to_lowercase()];
            assert!(about.is_object(), "{} {} is not documented", operation.method, operation.path);
            assert!(ids.insert(about["operationId"].to_string()), "{} is not unique", about["operationId"]);
            assert!(about["summary"].as_str().is_some_and(|s| s.len() > 5), "{about}");
            assert!(about["responses"][operation.status.to_string()].is_object(), "{about}");
            assert!(about["responses"]["default"].is_object(), "{about}");
            assert_eq!(about["security"].is_array(), operation.required_role != RequiredRole::Public, "{about}");
            let named: BTreeSet<_> =
                about["parameters"].as_array().into_iter().flatten().filter(|p| p["in"] == "path").map(|p| p["name"].to_string()).collect();
            let needed: BTreeSet<_> =
                operation.path.split('/').filter_map(|s| s.strip_prefix('{')?.strip_suffix('}')).map(|s| format!("\"{s}\"")).collect();
            assert_eq!(named, needed, "{}", operation.path);
        }
        let documented: usize = doc["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
        assert_eq!(documented, ids.len(), "the document has operations that no contract has");
        shop.stop().await;
    });
}
