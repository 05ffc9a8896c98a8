//! The AsyncAPI document matches the published events: every event validates against its schema, and every documented
//! event is published.

use crate::chaos::sql::Sql;
use crate::support::{Shape, Shop, on_system, wait_for};
use boon::{Compiler, Schemas};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The AsyncAPI document, for validating events.
pub struct Document(Value);

impl Document {
    pub fn new() -> Self {
        Self(tradepost::app::wiring::asyncapi())
    }

    /// All documented event types.
    pub fn kinds(&self) -> BTreeSet<String> {
        self.0["components"]["messages"].as_object().unwrap().keys().cloned().collect()
    }

    /// Validates a part of an event (`headers` or `payload`) against the schema of its type.
    #[track_caller]
    pub fn check(&self, kind: &str, part: &str, value: &Value) {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.enable_format_assertions();
        compiler.add_resource("http://test/asyncapi.json", self.0.clone()).unwrap();
        let uri = format!("http://test/asyncapi.json#/components/messages/{kind}/{part}");
        let schema = compiler.compile(&uri, &mut schemas).unwrap();
        schemas.validate(value, schema).unwrap_or_else(|cause| panic!("{kind}: {part} {value} does not fit: {cause:#}"));
    }
}

/// The required members of an event with their types, one per line: consumers rely on them.
fn required(document: &Value, kind: &str) -> BTreeSet<String> {
    fn walk(document: &Value, schema: &Value, path: String, lines: &mut BTreeSet<String>) {
        let schema = match schema["$ref"].as_str() {
            Some(uri) => document.pointer(uri.trim_start_matches('#')).unwrap(),
            None => schema,
        };
        lines.insert(format!("{path}: {}", schema["type"]));
        for name in schema["required"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap()) {
            walk(document, &schema["properties"][name], format!("{path}.{name}"), lines);
        }
        if schema["items"].is_object() {
            walk(document, &schema["items"], format!("{path}[]"), lines);
        }
    }
    let mut lines = BTreeSet::new();
    walk(document, &document["components"]["messages"][kind]["payload"], kind.to_string(), &mut lines);
    lines
}

/// Snapshot of the whole document; the next test protects the members that consumers rely on.
#[test]
fn asyncapi_document_matches_snapshot() {
    let Document(mut document) = Document::new();
    document["info"]["version"] = "[version]".into();
    insta::assert_json_snapshot!("asyncapi", document);
}

/// Consumers ignore unknown members; a required member is never removed and never changes its type.
#[test]
fn event_required_members_are_never_removed() {
    let document = Document::new();
    let now: BTreeSet<String> = document.kinds().iter().flat_map(|kind| required(&document.0, kind)).collect();
    let recorded: BTreeSet<String> = include_str!("events.txt").lines().map(str::to_string).collect();
    let gone: Vec<_> = recorded.difference(&now).collect();
    assert!(gone.is_empty(), "consumers rely on these removed members: {gone:#?}");
    let new: Vec<_> = now.difference(&recorded).cloned().collect();
    assert!(new.is_empty(), "consumers will rely on these new members; add them to tests/contract/events.txt:\n{}", new.join("\n"));
}

#[test]
fn sent_events_equal_documented_events() {
    on_system(async {
        // the embedded bus stores its log in a table; chaos::kafka checks the headers that Kafka adds
        let mut shop = Shop::start(Shape::Local, |settings| settings.bus.url = "local://".into()).await;
        let c = &shop.client;
        c.stocked("s", "2.50", 9).await;
        let gone = c.post(&c.admin, "/api/v1/products", json!({ "skuCode": "t", "name": "T", "price": 1 })).await.expect(201).json();
        let path = format!("/api/v1/products/{}", gone["id"].as_str().unwrap());
        let changed = json!({ "skuCode": "t", "name": "T2", "description": "new", "price": 2.00 });
        c.with_body(actix_web::http::Method::PUT, &c.admin, &path, &[("if-match", "*")], &changed).await.expect(200);
        c.delete(&c.admin, &path).await.expect(200);
        let placed = c.order(&[("s", 8)]).await.expect(201).json();
        c.post(&c.alice, &format!("/api/v1/orders/{}/cancel", placed["id"]), json!({})).await.expect(200);
        c.order(&[("s", 10)]).await.expect(400);
        c.put(&c.admin, "/api/v1/inventory/updateQuantitiesBySku", json!({ "s": 1 })).await.expect(200);
        let stock = c.stock("s").await;
        c.delete(&c.admin, &format!("/api/v1/inventory/{}", stock["id"])).await.expect(200);

        let document = Document::new();
        let sent = || {
            let bodies = Sql::open(shop.data.path(), "bus").column("SELECT body AS value FROM messages");
            bodies.iter().map(|body| serde_json::from_str(body).unwrap()).collect::<Vec<Value>>()
        };
        let kinds = || sent().iter().map(|event| event["type"].as_str().unwrap().to_string()).collect::<BTreeSet<_>>();
        wait_for("every documented event was sent", || async {
            if kinds().is_superset(&document.kinds()) { Ok(()) } else { Err(format!("{:?} of {:?}", kinds(), document.kinds())) }
        })
        .await;
        shop.assert_sound().await;
        assert_eq!(kinds(), document.kinds());
        let mut causes = BTreeSet::new();
        for event in sent() {
            document.check(event["type"].as_str().unwrap(), "payload", &event["data"]);
            causes.extend(event["data"]["cause"].as_str().map(String::from));
        }
        assert_eq!(causes.len(), 5, "only these causes of stock changes: {causes:?}");
        shop.stop().await;
    });
}

/// The schemas reject missing members, wrong types and missing headers.
#[test]
fn event_schemas_reject_invalid_events() {
    let document = Document::new();
    let fits = |kind: &str, part: &str, value: Value| std::panic::catch_unwind(|| document.check(kind, part, &value)).is_ok();
    let low = json!({ "skuCode": "s", "quantity": 1, "threshold": 5 });
    assert!(fits("stock.low", "payload", low.clone()));
    for (member, value) in [("quantity", json!("1")), ("skuCode", Value::Null)] {
        let mut wrong = low.clone();
        wrong[member] = value;
        assert!(!fits("stock.low", "payload", wrong), "{member}");
    }
    assert!(!fits("stock.low", "payload", json!({ "skuCode": "s" })));
    assert!(!fits("order.placed", "headers", json!({ "ce_specversion": "1.0" })));
}
