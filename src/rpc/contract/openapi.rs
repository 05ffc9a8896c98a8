//! The OpenAPI 3.1 document, generated from the contracts of this process.

use super::operation::{Operation, RequiredRole};
use super::param::Param;
use super::reply::Reply;
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Builds the document.
pub struct Document {
    schemas: SchemaGenerator,
    paths: Map<String, Value>,
}

impl Default for Document {
    fn default() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|s| {
            s.definitions_path = "/components/schemas".into();
            s.meta_schema = None;
        });
        Self { schemas: settings.into_generator(), paths: Map::new() }
    }
}

/// Builds one operation; [`OperationBuilder::reply`] adds it to the document.
pub struct OperationBuilder<'a> {
    document: &'a mut Document,
    operation: Option<Arc<Operation>>,
    value: Map<String, Value>,
    parameters: Vec<Value>,
}

impl Document {
    /// Starts the description of an operation from its doc comment.
    pub fn operation(&mut self, operation: Option<Arc<Operation>>, doc: &[&str]) -> OperationBuilder<'_> {
        let text: Vec<_> = doc.iter().map(|line| line.trim()).collect();
        let mut value = Map::new();
        if let Some(operation) = &operation {
            value.insert("operationId".into(), format!("{}_{}", operation.module, operation.name).into());
            value.insert("tags".into(), json!([operation.module]));
        }
        value.insert("summary".into(), text.first().copied().unwrap_or_default().into());
        value.insert("description".into(), text.join("\n").into());
        OperationBuilder { document: self, operation, value, parameters: Vec::new() }
    }

    /// Finishes the document; `server` is the server's URL.
    pub fn finish(mut self, version: &str, server: &str) -> Value {
        let problem: Value = self.schemas.subschema_for::<ProblemBody>().into();
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": "Tradepost",
                "version": version,
                "description": "The shop's HTTP contract: products, inventory, orders, notifications.",
                "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
            },
            "servers": [{ "url": server }],
            "paths": self.paths,
            "components": {
                "schemas": self.schemas.take_definitions(true),
                "responses": { "Problem": {
                    "description": "an error: the Spring system's members and RFC 9457's",
                    "content": { "application/problem+json": { "schema": problem } },
                } },
                "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" } },
            },
        })
    }
}

impl OperationBuilder<'_> {
    /// `kind` is `path`, `query` or `header`.
    pub fn parameter<T: Param>(&mut self, kind: &str, name: &str) {
        let name = if kind == "header" { name.replace('_', "-") } else { name.to_string() };
        self.parameters.push(json!({ "name": name, "in": kind, "required": T::REQUIRED, "schema": T::schema() }));
    }

    /// Describes the JSON request body.
    pub fn body<T: JsonSchema>(&mut self) {
        let schema: Value = self.document.schemas.subschema_for::<T>().into();
        self.value.insert("requestBody".into(), json!({ "required": true, "content": { "application/json": { "schema": schema } } }));
    }

    /// Describes the response and adds the operation to the document.
    pub fn reply<R: Reply>(mut self) {
        let Some(operation) = self.operation.take() else { return };
        let success = match R::MEDIA {
            "" => json!({ "description": "success" }),
            media => json!({ "description": "success", "content": { media: { "schema": R::schema(&mut self.document.schemas) } } }),
        };
        self.value.insert(
            "responses".into(),
            json!({ operation.status.to_string(): success, "default": { "$ref": "#/components/responses/Problem" } }),
        );
        if !self.parameters.is_empty() {
            self.value.insert("parameters".into(), std::mem::take(&mut self.parameters).into());
        }
        if operation.required_role != RequiredRole::Public {
            self.value.insert("security".into(), json!([{ "bearer": operation.required_role.roles() }]));
        }
        let path = self.document.paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_lowercase()] = Value::Object(self.value);
    }
}

/// Error response: the members of RFC 9457 and those of the Spring system.
#[derive(JsonSchema)]
#[schemars(rename = "Problem")]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "a schema only")]
struct ProblemBody {
    status: u16,
    method: String,
    path: String,
    message: String,
    timestamp: String,
    r#type: String,
    title: String,
    detail: String,
    instance: String,
    trace_id: String,
    #[serde(default)]
    errors: Vec<crate::kernel::problem::FieldError>,
}
