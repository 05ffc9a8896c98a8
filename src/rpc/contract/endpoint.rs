//! The server's side of an operation: the decoded request and the handler.

use super::operation::{Operation, RequiredRole};
use super::param::Param;
use super::strict;
use crate::kernel::problem::Problem;
use crate::kernel::uri::{percent_decode, query_value};
use crate::rpc::context::Cx;
use actix_web::{HttpRequest, HttpResponse, dev::Payload, http::Method, web::Bytes};
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// An incoming call that the edge has authenticated and whose body it has read.
pub struct Call {
    pub cx: Cx,
    pub request: HttpRequest,
    pub body: Bytes,
}

impl Call {
    /// A path parameter, decoded once.
    pub fn path<T: Param>(&self, name: &str) -> Result<T, Problem> {
        let unreadable = || Problem::invalid_field(name, "is not percent-encoded UTF-8");
        // The router replaces invalid UTF-8 with U+FFFD; reject the path instead.
        percent_decode(self.request.path()).ok_or_else(unreadable)?;
        // The router leaves %, / and + encoded, so this decodes each escape only once.
        let raw = self.request.match_info().get(name).unwrap_or_default();
        let text = percent_decode(raw).ok_or_else(unreadable)?;
        T::from_text(Some(&text)).map_err(|expected| Problem::invalid_field(name, expected.to_string()))
    }

    /// A query parameter; the first one if the name is repeated.
    pub fn query<T: Param>(&self, name: &str) -> Result<T, Problem> {
        let text = query_value(self.request.query_string(), name);
        T::from_text(text.as_deref()).map_err(|expected| Problem::invalid_field(name, expected.to_string()))
    }

    /// A request header; the argument `idempotency_key` reads `idempotency-key`.
    pub fn header<T: Param>(&self, name: &str) -> Result<T, Problem> {
        let name = name.replace('_', "-");
        let text = match self.request.headers().get(&name) {
            None => None,
            Some(value) => Some(value.to_str().map_err(|_| Problem::invalid_field(name.as_str(), "is not plain ASCII"))?),
        };
        T::from_text(text).map_err(|expected| Problem::invalid_field(name, expected.to_string()))
    }

    /// The JSON body; errors name the path of the invalid member.
    pub fn body<T: DeserializeOwned>(&self, _name: &str) -> Result<T, Problem> {
        parse_json(&self.body)
    }
}

/// Parses JSON; errors name the path of the invalid member.
pub fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Problem::new(400, "a JSON body is required"));
    }
    // Checks the whole body: serde does not validate members that it skips.
    let text = std::str::from_utf8(body).map_err(|cause| Problem::new(400, format!("malformed JSON: {cause}")))?;
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(strict::Strict(&mut json)).map_err(|error| {
        let path = error.path().to_string();
        let cause = error.into_inner();
        if cause.is_syntax() || cause.is_eof() || cause.is_io() {
            Problem::new(400, format!("malformed JSON: {cause}"))
        } else {
            let field = if path == "." { "body".to_string() } else { path };
            Problem::invalid_field(field, cause.to_string())
        }
    })?;
    json.end().map_err(|cause| Problem::new(400, format!("malformed JSON: {cause}")))?;
    Ok(value)
}

pub type Handler = Arc<dyn Fn(Call) -> LocalBoxFuture<'static, Result<HttpResponse, Problem>> + Send + Sync>;

/// Reads the request body itself (forms, streams).
pub type RawHandler = Arc<dyn Fn(Cx, HttpRequest, Payload) -> LocalBoxFuture<'static, Result<HttpResponse, Problem>> + Send + Sync>;

#[derive(Clone)]
pub enum EndpointHandler {
    /// An operation of a contract: JSON request and response.
    Contract(Handler),
    /// An endpoint that a contract cannot express.
    Raw(RawHandler),
}

/// An operation and its handler.
#[derive(Clone)]
pub struct Endpoint {
    pub operation: Arc<Operation>,
    pub serve: EndpointHandler,
}

impl Endpoint {
    /// An endpoint outside contracts: pages, streams, the issuer, the actuator.
    pub fn raw<F, Fut>(
        module: &'static str,
        name: &'static str,
        method: Method,
        path: &'static str,
        required_role: RequiredRole,
        handler: F,
    ) -> Self
    where
        F: Fn(Cx, HttpRequest, Payload) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<HttpResponse, Problem>> + 'static,
    {
        let operation = Operation { module, name, method, path, status: 200, required_role, repeatable: false };
        let handler: RawHandler = Arc::new(move |cx, request, payload| Box::pin(handler(cx, request, payload)));
        Endpoint { operation: Arc::new(operation), serve: EndpointHandler::Raw(handler) }
    }
}
