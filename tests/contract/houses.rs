//! The house rules, read off the sources: arrows run one way, a module knows no other's inside, files
//! stay short; and off a running shop: what a contract declares is served and documented.

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

/// Lines of a file that still reads as one thing.
const LONGEST: usize = 420;

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

/// The code of a file without its comments: what is said about others is no dependency on them.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// What follows each mention of this prefix, up to the end of the path.
fn mentions<'a>(text: &'a str, prefix: &str) -> Vec<&'a str> {
    let path =
        |rest: &'a str| &rest[..rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | ':' | '{' | '*'))).unwrap_or(rest.len())];
    text.match_indices(prefix).map(|(at, _)| path(&text[at + prefix.len()..])).collect()
}

/// Calls of all contracts.
pub fn operations() -> Vec<Arc<Operation>> {
    tradepost::app::wiring::operations()
}

/// Its path with something in the place of each parameter.
pub fn filled(operation: &Operation) -> String {
    operation.path.replace("{id}", "1").replace("{sku_code}", "1").replace("{order_number}", "11111111-1111-4111-8111-111111111111")
}

/// `src/platform` stands on nothing of the shop's.
#[test]
fn the_platform_names_no_module() {
    for (path, text) in sources(&["src/platform"]) {
        for outside in ["crate::shop", "crate::wiring", "crate::modules", "crate::serve", "crate::{"] {
            assert!(!code(&text).contains(outside), "{} names {outside}", path.display());
        }
    }
}

/// Another module's `api` and nothing else of it; and a module chooses none of its peers itself.
#[test]
fn a_module_names_only_the_contracts_of_others() {
    let names: Vec<_> = Module::ALL.iter().map(|m| m.name().replace('-', "_")).collect();
    let mut crossings = 0;
    for (path, text) in sources(&["modules"]) {
        let shown = path.display();
        let own = path.components().nth(1).unwrap().as_os_str().to_string_lossy().into_owned();
        for mention in mentions(&code(&text), "crate::shop::") {
            let mut parts = mention.split("::");
            let (module, room) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            assert!(names.iter().any(|name| name == module), "{shown}: crate::shop::{mention} names no single module");
            assert!(module == own || room == "api", "{shown} reaches into {module}: crate::shop::{mention}");
            crossings += usize::from(module != own);
        }
        let code = code(&text);
        for outside in ["crate::wiring", "crate::serve", "crate::shop;", "crate::shop as", "crate::{", "super::super::super::"] {
            assert!(!code.contains(outside), "{shown} names {outside}");
        }
    }
    assert!(crossings > 3, "the rule was held against {crossings} mentions");
}

/// `wiring.rs` is the one place that builds modules, so the one place that chooses local or remote.
#[test]
fn only_the_wiring_builds_modules() {
    let mut builders = BTreeSet::new();
    for (path, text) in sources(&["src", "modules"]) {
        let code = code(&text);
        let builds = Module::ALL.iter().any(|m| code.contains(&format!("shop::{}::build", m.name().replace('-', "_"))));
        let chooses = code.contains("Remote {") && !path.starts_with("src/platform");
        if builds || chooses {
            builders.insert(path);
        }
    }
    assert_eq!(builders, BTreeSet::from([PathBuf::from("src/wiring.rs")]));
}

/// Short files, each with a header that says what it is.
#[test]
fn files_are_short_and_say_what_they_are() {
    for (path, text) in sources(&["src", "modules", "tests"]) {
        let lines = text.lines().count();
        assert!(lines <= LONGEST, "{} has {lines} lines; {LONGEST} are enough", path.display());
        assert!(text.starts_with("//! "), "{} does not say what it is", path.display());
    }
}

/// A feature is known by features.md: what it adds, what it needs, which image has it.
#[test]
fn every_feature_is_told_of() {
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
            let token = if operation.access == RequiredRole::Service { &service } else { &c.admin };
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
            assert_eq!(about["security"].is_array(), operation.access != RequiredRole::Public, "{about}");
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
