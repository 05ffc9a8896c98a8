//! The operations of all contracts: each is served and documented. And what files and features must have.

use crate::support::Shape;
use crate::support::Shop;
use crate::support::client::Reply;
use actix_web::http::Method;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tradepost::kernel::module::Module;
use tradepost::rpc::contract::{Operation, RequiredRole};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below these folders, with its path from the root and its text.
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
    assert!(!found.is_empty(), "nothing is below {folders:?}");
    found
}

/// Calls of all contracts.
pub fn operations() -> Vec<Arc<Operation>> {
    tradepost::app::wiring::operations()
}

/// Its path with something in the place of each parameter.
pub fn filled(operation: &Operation) -> String {
    operation.path.replace("{id}", "1").replace("{sku_code}", "1").replace("{order_number}", "11111111-1111-4111-8111-111111111111")
}

/// Each file begins with a line that says what it is.
#[test]
fn every_file_begins_with_a_header() {
    for (path, text) in sources(&["src", "modules", "tests"]) {
        assert!(text.starts_with("//! "), "{} has no header", path.display());
    }
}

/// features.md describes each feature: what it adds, what it needs, which image has it.
#[test]
fn every_feature_is_described() {
    let [manifest, told] = ["Cargo.toml", "features.md"].map(|file| std::fs::read_to_string(root().join(file)).unwrap());
    let features = manifest.split("[features]").nth(1).unwrap().split("\n[").next().unwrap();
    let names: Vec<&str> = features.lines().filter_map(|line| line.split_once(" = [").map(|(name, _)| name)).collect();
    assert!(names.contains(&"all-in-one") && names.len() > 20, "{names:?}");
    for name in names.into_iter().filter(|name| *name != "default" && !name.starts_with("svc-")) {
        assert!(told.contains(&format!("\n| `{name}`")), "features.md has no row for {name}");
    }
}

scenario! {
    /// Each call of each contract, sent without a body, is answered by its handler, and in every shape in the same way:
    /// the snapshot has status, type of the problem and fields to blame.
    async fn every_operation_is_served(shop) {
        let c = &shop.client;
        let service = shop.service_token().await;
        let mut answers = Vec::new();
        for operation in operations() {
            let token = if operation.required_role == RequiredRole::Service { &service } else { &c.admin };
            let headers = [("authorization", format!("Bearer {token}")), ("content-type", "application/json".into())];
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let reply = c.send(operation.method.clone(), &filled(&operation), &headers, "").await;
            assert_ne!(reply.status, 405, "{} {}: {reply:?}", operation.method, operation.path);
            let said = if reply.status < 400 { Default::default() } else { blamed(&reply) };
            answers.push(format!("{} {}: {}{said}", operation.method, operation.path, reply.status));
        }
        insta::assert_snapshot!("operations", answers.join("\n"));
    }
}

/// The type of a refusal and the fields that it names, or what it says where it has no type, as a path that is not there.
fn blamed(reply: &Reply) -> String {
    let problem = reply.json();
    let kind = problem["type"].as_str().unwrap();
    assert!(reply.status != 404 || kind != "about:blank", "{reply:?}");
    let fields = problem["errors"].as_array().into_iter().flatten().map(|error| format!(" {}", error["field"].as_str().unwrap()));
    let untyped = if kind == "about:blank" { format!(" ({})", reply.message()) } else { String::new() };
    format!(" {}{untyped}{}", kind.trim_start_matches("urn:tradepost:problem:"), fields.collect::<String>())
}

/// Every value of this key, however deep.
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

/// The document and the contracts say the same, and the document is whole in itself.
#[test]
fn every_operation_is_documented_and_every_reference_leads_somewhere() {
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
            let pointer = reference.as_str().and_then(|r| r.strip_prefix('#')).unwrap_or_else(|| panic!("{reference} leads outside"));
            assert!(doc.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
        let mut ids = BTreeSet::new();
        for operation in operations() {
            let about = &doc["paths"][operation.path][operation.method.as_str().to_lowercase()];
            assert!(about.is_object(), "{} {} is not documented", operation.method, operation.path);
            assert!(ids.insert(about["operationId"].to_string()), "{} is there twice", about["operationId"]);
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
        assert_eq!(documented, ids.len(), "the document knows calls that no contract has");
        shop.stop().await;
    });
}
