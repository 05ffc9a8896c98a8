//! What a call answers: JSON as a rule, and three forms of the old system besides.

use crate::kernel::problem::Problem;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, HttpResponseBuilder};
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// The answer of a contract call, on both sides of the wire.
pub trait Reply: Sized {
    /// Media type of the body; empty for none.
    const MEDIA: &'static str;
    /// Server: writes it with the contract's status.
    fn write(self, status: u16) -> Result<HttpResponse, Problem>;
    /// Client: reads it back from the headers that matter and the body.
    fn read(etag: Option<&str>, body: &[u8]) -> Result<Self, Problem>;
    /// Schema of the body.
    fn schema(schemas: &mut SchemaGenerator) -> Value;
}

fn start(status: u16) -> HttpResponseBuilder {
    HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::OK))
}

fn unreadable(cause: impl std::fmt::Display) -> Problem {
    Problem::new(502, "the peer's answer does not fit the contract").with_cause(cause)
}

impl<T: Serialize + DeserializeOwned + JsonSchema> Reply for T {
    const MEDIA: &'static str = "application/json";

    fn write(self, status: u16) -> Result<HttpResponse, Problem> {
        let body = serde_json::to_vec(&self).map_err(Problem::internal)?;
        Ok(start(status).content_type(Self::MEDIA).body(body))
    }

    fn read(_: Option<&str>, body: &[u8]) -> Result<Self, Problem> {
        serde_json::from_slice(body).map_err(unreadable)
    }

    fn schema(schemas: &mut SchemaGenerator) -> Value {
        schemas.subschema_for::<T>().into()
    }
}

/// A sentence in plain text, as the old system answers a DELETE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(pub String);

impl Reply for Text {
    const MEDIA: &'static str = "text/plain";

    fn write(self, status: u16) -> Result<HttpResponse, Problem> {
        Ok(start(status).content_type("text/plain; charset=utf-8").body(self.0))
    }

    fn read(_: Option<&str>, body: &[u8]) -> Result<Self, Problem> {
        String::from_utf8(body.to_vec()).map(Text).map_err(unreadable)
    }

    fn schema(_: &mut SchemaGenerator) -> Value {
        json!({ "type": "string" })
    }
}

/// No body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Empty;

impl Reply for Empty {
    const MEDIA: &'static str = "";

    fn write(self, status: u16) -> Result<HttpResponse, Problem> {
        Ok(start(status).finish())
    }

    fn read(_: Option<&str>, _: &[u8]) -> Result<Self, Problem> {
        Ok(Empty)
    }

    fn schema(_: &mut SchemaGenerator) -> Value {
        Value::Null
    }
}

/// JSON with a strong `ETag`: the version that a later `If-Match` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged<T> {
    /// The document.
    pub value: T,
    /// Its version, from 1.
    pub version: i64,
}

impl<T: Serialize + DeserializeOwned + JsonSchema> Reply for Tagged<T> {
    const MEDIA: &'static str = "application/json";

    fn write(self, status: u16) -> Result<HttpResponse, Problem> {
        let body = serde_json::to_vec(&self.value).map_err(Problem::internal)?;
        let tag = format!("\"{}\"", self.version);
        Ok(start(status).content_type(Self::MEDIA).insert_header((header::ETAG, tag)).body(body))
    }

    fn read(etag: Option<&str>, body: &[u8]) -> Result<Self, Problem> {
        let version = etag.and_then(|tag| tag.trim_matches('"').parse().ok()).ok_or_else(|| unreadable("no ETag"))?;
        Ok(Tagged { value: serde_json::from_slice(body).map_err(unreadable)?, version })
    }

    fn schema(schemas: &mut SchemaGenerator) -> Value {
        schemas.subschema_for::<T>().into()
    }
}
