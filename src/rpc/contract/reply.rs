//! Response bodies: JSON, and three other forms that the Spring system uses.

use crate::kernel::problem::Problem;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, HttpResponseBuilder};
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// The response of a contract operation, for server and client.
pub trait Reply: Sized {
    /// Media type of the body; empty if there is no body.
    const MEDIA: &'static str;
    /// Server side: builds the response with the contract's status.
    fn write(self, status: u16) -> Result<HttpResponse, Problem>;
    /// Client side: parses `ETag` and body.
    fn read(etag: Option<&str>, body: &[u8]) -> Result<Self, Problem>;
    /// JSON schema of the body.
    fn schema(schemas: &mut SchemaGenerator) -> Value;
}

fn builder(status: u16) -> HttpResponseBuilder {
    HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::OK))
}

fn unreadable(cause: impl std::fmt::Display) -> Problem {
    Problem::new(502, "the peer's response does not match the contract").with_cause(cause)
}

impl<T: Serialize + DeserializeOwned + JsonSchema> Reply for T {
    const MEDIA: &'static str = "application/json";

    fn write(self, status: u16) -> Result<HttpResponse, Problem> {
        let body = serde_json::to_vec(&self).map_err(Problem::internal)?;
        Ok(builder(status).content_type(Self::MEDIA).body(body))
    }

    fn read(_: Option<&str>, body: &[u8]) -> Result<Self, Problem> {
        serde_json::from_slice(body).map_err(unreadable)
    }

    fn schema(schemas: &mut SchemaGenerator) -> Value {
        schemas.subschema_for::<T>().into()
    }
}

/// Plain text: the Spring system's response to a DELETE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(pub String);

impl Reply for Text {
    const MEDIA: &'static str = "text/plain";

    fn write(self, status: u16) -> Result<HttpResponse, Problem> {
        Ok(builder(status).content_type("text/plain; charset=utf-8").body(self.0))
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
        Ok(builder(status).finish())
    }

    fn read(_: Option<&str>, _: &[u8]) -> Result<Self, Problem> {
        Ok(Empty)
    }

    fn schema(_: &mut SchemaGenerator) -> Value {
        Value::Null
    }
}

/// JSON with a strong `ETag`: the version, for use in `If-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged<T> {
    pub value: T,
    /// Starts at 1.
    pub version: i64,
}

impl<T: Serialize + DeserializeOwned + JsonSchema> Reply for Tagged<T> {
    const MEDIA: &'static str = "application/json";

    fn write(self, status: u16) -> Result<HttpResponse, Problem> {
        let body = serde_json::to_vec(&self.value).map_err(Problem::internal)?;
        let tag = format!("\"{}\"", self.version);
        Ok(builder(status).content_type(Self::MEDIA).insert_header((header::ETAG, tag)).body(body))
    }

    fn read(etag: Option<&str>, body: &[u8]) -> Result<Self, Problem> {
        let version = etag.and_then(|tag| tag.trim_matches('"').parse().ok()).ok_or_else(|| unreadable("no ETag"))?;
        Ok(Tagged { value: serde_json::from_slice(body).map_err(unreadable)?, version })
    }

    fn schema(schemas: &mut SchemaGenerator) -> Value {
        schemas.subschema_for::<T>().into()
    }
}
