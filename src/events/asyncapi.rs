//! The AsyncAPI 3.0 document of all events, from the types that modules publish.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The document under construction.
pub struct Document {
    schemas: SchemaGenerator,
    messages: Map<String, Value>,
    /// Event types by topic.
    topics: BTreeMap<String, Vec<String>>,
    operations: Map<String, Value>,
}

impl Default for Document {
    fn default() -> Self {
        let settings = SchemaSettings::draft2020_12().for_serialize().with(|s| {
            s.definitions_path = "/components/schemas".into();
            s.meta_schema = None;
        });
        Self { schemas: settings.into_generator(), messages: Map::new(), topics: BTreeMap::new(), operations: Map::new() }
    }
}

impl Document {
    /// Adds an event that a module publishes. `subject` describes the event's subject, which is also its key; `summary`, when
    /// the event occurs.
    pub fn sends<T: JsonSchema>(&mut self, module: &str, kind: &str, subject: &str, summary: &str) {
        let topic = kind.split('.').next().unwrap_or_default().to_string();
        let payload: Value = self.schemas.subschema_for::<T>().into();
        let message = json!({
            "name": kind,
            "title": kind,
            "summary": summary,
            "contentType": "application/json",
            "headers": headers(module, kind, subject),
            "payload": payload,
            "bindings": { "kafka": { "key": { "type": "string", "description": subject } } },
        });
        self.messages.insert(kind.into(), message);
        self.topics.entry(topic.clone()).or_default().push(kind.into());
        let operation = json!({
            "action": "send",
            "summary": summary,
            "channel": { "$ref": format!("#/channels/{topic}") },
            "messages": [{ "$ref": format!("#/channels/{topic}/messages/{kind}") }],
        });
        self.operations.insert(format!("{module}.send.{kind}"), operation);
    }

    /// Adds a module's subscription to all events of these topics.
    pub fn receives(&mut self, module: &str, topics: &[&str]) {
        for topic in topics {
            self.topics.entry((*topic).into()).or_default();
            let operation = json!({
                "action": "receive",
                "channel": { "$ref": format!("#/channels/{topic}") },
                "bindings": { "kafka": { "groupId": { "type": "string", "enum": [module] } } },
            });
            self.operations.insert(format!("{module}.receive.{topic}"), operation);
        }
    }

    pub fn finish(mut self, version: &str) -> Value {
        let channels: Map<String, Value> = self.topics.into_iter().map(|(topic, kinds)| (topic.clone(), channel(&topic, &kinds))).collect();
        json!({
            "asyncapi": "3.0.0",
            "info": {
                "title": "Tradepost",
                "version": version,
                "description": "The shop's events: CloudEvents 1.0, on Kafka in binary mode. Delivered at least once, each id \
                    to be applied once, in order for each subject. Members and headers are added over time and must be \
                    ignored where they are not known; required ones never go away.",
                "license": { "name": "MIT OR Apache-2.0" },
            },
            "defaultContentType": "application/json",
            "channels": channels,
            "operations": self.operations,
            "components": { "messages": self.messages, "schemas": self.schemas.take_definitions(true) },
        })
    }
}

fn channel(topic: &str, kinds: &[String]) -> Value {
    let messages: Map<String, Value> =
        kinds.iter().map(|kind| (kind.clone(), json!({ "$ref": format!("#/components/messages/{kind}") }))).collect();
    json!({ "address": topic, "description": "The address follows `bus.prefix`.", "messages": messages })
}

/// The attributes of an event, as the Kafka binding of CloudEvents writes them.
fn headers(module: &str, kind: &str, subject: &str) -> Value {
    json!({
        "type": "object",
        "required": ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject", "ce_time", "content-type"],
        "properties": {
            "ce_specversion": { "const": "1.0" },
            "ce_id": { "type": "string", "format": "uuid", "description": "unique: apply each once" },
            "ce_source": { "const": format!("/tradepost/{module}") },
            "ce_type": { "const": kind },
            "ce_subject": { "type": "string", "description": subject },
            "ce_time": { "type": "string", "format": "date-time" },
            "content-type": { "const": "application/json" },
            "traceparent": { "type": "string", "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$", "description": "W3C Trace Context" },
        },
    })
}
