//! The error envelope, and its way across the wire.
//!
//! Every refusal of the shop ends as one [`Problem`]: the members that clients of the
//! Spring system read (`status, method, path, message, timestamp`) beside those of
//! RFC 9457 (`type, title, status, detail, instance`), `traceId`, and `errors[]` where
//! single fields are to blame. A module's own errors are an enum made by
//! [`errors!`](crate::errors); it turns into a `Problem` at the edge and, in a peer that
//! called over HTTP, back into the very same enum.
//!
//! A problem has two texts: the message, which the caller sees, and the cause, which only the log sees.

use crate::kernel::error::StoreError;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, HttpResponseBuilder};
use actix_web_httpauth::headers::www_authenticate::bearer::{Bearer, Error as BearerError};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// What every problem type of ours starts with; a module's name and a variant follow.
const TYPE_PREFIX: &str = "urn:tradepost:problem:";

/// One field of a request that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FieldError {
    /// Where it is, as a path from the body's root: `orderLineItems[0].quantity`.
    pub field: String,
    /// What was expected, in words a person can act on.
    pub message: String,
}

impl FieldError {
    /// Names a field and what was expected of it.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// An answer that is not success, before it is written for one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// HTTP status, 400 to 599.
    pub status: u16,
    /// Last part of the `type` URI; empty means `about:blank`.
    pub kind: String,
    /// For people; on 5xx it carries no internals.
    pub message: String,
    /// Which fields are to blame, if any.
    pub errors: Vec<FieldError>,
    /// Further members of the body: the fields of a typed error.
    pub extra: Map<String, Value>,
    /// Seconds after which a repetition makes sense (`Retry-After`).
    pub retry_after: Option<u32>,
    /// Value of `WWW-Authenticate`, on a 401.
    pub challenge: Option<String>,
    /// Value of `Allow`, on a 405.
    pub allow: Option<String>,
    /// The cause, for the log alone: it may name hosts, files and statements. It is never written to a response.
    internal: Option<String>,
}

/// The cause of a problem that is a response already: travels with it to the edge, which logs it.
pub struct Cause(pub String);

impl Problem {
    /// A problem of this status with a message for the caller.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            kind: String::new(),
            message: message.into(),
            errors: Vec::new(),
            extra: Map::new(),
            retry_after: None,
            challenge: None,
            allow: None,
            internal: None,
        }
    }

    /// Adds the cause for the log. The caller does not see it; the edge logs it once, with the trace id.
    pub fn with_cause(mut self, cause: impl std::fmt::Display) -> Self {
        self.internal = Some(cause.to_string());
        self
    }

    /// The cause that [`with_cause`](Self::with_cause) added.
    pub fn cause(&self) -> Option<&str> {
        self.internal.as_deref()
    }

    /// Status, message and cause: for a log line, never for a response.
    pub fn for_log(&self) -> String {
        match &self.internal {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        }
    }

    /// 400 that names the fields; the message lists them too, for clients that read it alone.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let list: Vec<_> = errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect();
        let mut problem = Self::new(400, format!("invalid request: {}", list.join("; ")));
        problem.kind = "invalid".into();
        problem.errors = errors;
        problem
    }

    /// 400 for one field.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError::new(field, message)])
    }

    /// 503 with `Retry-After`: something this needs is away for now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        let mut problem = Self::new(503, message);
        problem.kind = "unavailable".into();
        problem.retry_after = Some(1);
        problem
    }

    /// 500; the cause goes to the log with the trace id, not to the caller.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        Self::new(500, "something went wrong on our side; the trace id leads to it in the log").with_cause(cause)
    }

    /// 401 of RFC 6750: with a reason, `error="invalid_token"`; without one, a bare challenge.
    pub fn unauthorized(reason: Option<&str>) -> Self {
        let mut problem = Self::new(401, reason.unwrap_or("an access token is required: Authorization: Bearer <JWT>"));
        let challenge = Bearer::build();
        let challenge = match reason {
            None => challenge,
            Some(text) => challenge.error(BearerError::InvalidToken).error_description(text.to_string()),
        };
        problem.challenge = Some(challenge.finish().to_string());
        problem.extra.insert("error".into(), "UNAUTHORIZED".into());
        problem
    }

    /// 403: who is asking is known, and may not.
    pub fn forbidden(message: impl Into<String>) -> Self {
        let mut problem = Self::new(403, message);
        problem.extra.insert("error".into(), "FORBIDDEN".into());
        problem
    }

    /// True where the same call may succeed later without any change by the caller.
    pub fn is_transient(&self) -> bool {
        matches!(self.status, 502..=504)
    }

    /// The body for one request, all members of both forms.
    pub fn body(&self, method: &str, path: &str, trace_id: &str) -> Value {
        let title = StatusCode::from_u16(self.status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Error");
        let kind = if self.kind.is_empty() { "about:blank".to_string() } else { format!("{TYPE_PREFIX}{}", self.kind) };
        let mut body = self.extra.clone();
        for (key, value) in [
            ("status", Value::from(self.status)),
            ("method", method.into()),
            ("path", path.into()),
            ("message", self.message.as_str().into()),
            ("timestamp", crate::kernel::clock::spring_timestamp().into()),
            ("type", kind.into()),
            ("title", title.into()),
            ("detail", self.message.as_str().into()),
            ("instance", path.into()),
            ("traceId", trace_id.into()),
        ] {
            body.insert(key.into(), value);
        }
        if !self.errors.is_empty() {
            body.insert("errors".into(), serde_json::to_value(&self.errors).unwrap_or_default());
        }
        Value::Object(body)
    }

    /// The HTTP response for one request.
    pub fn respond(&self, method: &str, path: &str, trace_id: &str) -> HttpResponse {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response: HttpResponseBuilder = HttpResponse::build(status);
        response.content_type("application/problem+json");
        if let Some(seconds) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        if let Some(challenge) = &self.challenge {
            response.insert_header((header::WWW_AUTHENTICATE, challenge.as_str()));
        }
        if let Some(allow) = &self.allow {
            response.insert_header((header::ALLOW, allow.as_str()));
        }
        let mut response = response.body(self.body(method, path, trace_id).to_string());
        if let Some(cause) = &self.internal {
            response.extensions_mut().insert(Cause(cause.clone()));
        }
        response
    }

    /// Reads a peer's error body back. What is no problem of ours becomes a plain one of that status.
    pub fn parse(status: u16, body: &[u8]) -> Self {
        let Ok(Value::Object(mut members)) = serde_json::from_slice::<Value>(body) else {
            return Self::new(status, format!("the peer answered {status} without a body we know"));
        };
        let text = |members: &mut Map<String, Value>, key: &str| match members.remove(key) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let kind = text(&mut members, "type").strip_prefix(TYPE_PREFIX).unwrap_or_default().to_string();
        let message = text(&mut members, "message");
        let errors = members.remove("errors").and_then(|e| serde_json::from_value(e).ok()).unwrap_or_default();
        for spare in ["status", "method", "path", "timestamp", "title", "detail", "instance", "traceId"] {
            members.remove(spare);
        }
        let retry_after = (status == 503).then_some(1);
        Self { status, kind, message, errors, extra: members, retry_after, challenge: None, allow: None, internal: None }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.status, self.message)
    }
}

impl std::error::Error for Problem {}

/// A module's errors: typed on both sides of the seam. Made by [`errors!`](crate::errors).
pub trait TypedError: Serialize + DeserializeOwned + std::fmt::Display + From<Problem> {
    /// The module's name, first part of the problem type.
    const MODULE: &'static str;
    /// HTTP status of this variant.
    fn status(&self) -> u16;
    /// Takes out what is no variant of this module's own: a platform problem passing through.
    fn into_platform(self) -> Result<Problem, Self>;

    /// The platform problem that this is, if it is one.
    fn platform(&self) -> Option<&Problem>;

    /// The text for a log line: that of a platform problem has its cause, which the caller does not see.
    fn for_log(&self) -> String {
        self.platform().map_or_else(|| self.to_string(), Problem::for_log)
    }

    /// For the edge: the envelope, with the variant's fields as members.
    fn into_problem(self) -> Problem {
        let own = match self.into_platform() {
            Ok(problem) => return problem,
            Err(own) => own,
        };
        let (tag, fields) = match serde_json::to_value(&own) {
            Ok(Value::String(tag)) => (tag, Map::new()),
            Ok(Value::Object(variant)) => match variant.into_iter().next() {
                Some((tag, Value::Object(fields))) => (tag, fields),
                _ => (String::new(), Map::new()),
            },
            _ => (String::new(), Map::new()),
        };
        let mut problem = Problem::new(own.status(), own.to_string());
        problem.kind = format!("{}:{tag}", Self::MODULE);
        problem.extra = fields;
        problem
    }

    /// For the client: the same variant again, or the problem as it is.
    fn from_problem(problem: Problem) -> Self {
        let tag = problem.kind.split_once(':').filter(|(module, _)| *module == Self::MODULE).map(|(_, tag)| tag.to_string());
        if let Some(tag) = tag {
            let mut fields = problem.extra.clone();
            fields.insert("message".into(), problem.message.as_str().into());
            let unit = Value::String(tag.clone());
            if let Ok(own) = serde_json::from_value(serde_json::json!({ tag: fields })).or_else(|_| serde_json::from_value(unit)) {
                return own;
            }
        }
        Self::from(problem)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            away @ StoreError::Unavailable { .. } => Problem::unavailable("the store is not available right now").with_cause(away),
            other => Problem::internal(other),
        }
    }
}

/// Declares a module's errors: a variant, its status, its message with the fields in braces.
///
/// ```text
/// errors! {
///     /// What the catalogue refuses.
///     pub enum ProductError in "product" {
///         /// No product has this id.
///         NotFound { id: String } = 404, "Product with id {id} not found";
///     }
/// }
/// ```
#[macro_export]
macro_rules! errors {
    ($(#[$meta:meta])* pub enum $Error:ident in $module:literal {
        $( $(#[$vmeta:meta])* $Variant:ident $({ $($field:ident : $ty:ty),* $(,)? })? = $status:literal, $message:literal $(, ($($marg:tt)+))?; )*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, thiserror::Error, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "kebab-case", rename_all_fields = "camelCase")]
        pub enum $Error {
            $( $(#[$vmeta])* #[error($message $(, $($marg)+)?)] $Variant $({ $(#[allow(missing_docs)] $field: $ty),* })?, )*
            /// A problem that is not this module's own: bad input, no permission, a store or a peer away.
            #[error("{}", .0.message)]
            #[serde(skip)]
            Platform($crate::kernel::problem::Problem),
        }
        impl From<$crate::kernel::problem::Problem> for $Error {
            fn from(problem: $crate::kernel::problem::Problem) -> Self { Self::Platform(problem) }
        }
        impl From<$crate::kernel::error::StoreError> for $Error {
            fn from(error: $crate::kernel::error::StoreError) -> Self { Self::Platform(error.into()) }
        }
        impl $crate::kernel::problem::TypedError for $Error {
            const MODULE: &'static str = $module;
            fn status(&self) -> u16 {
                match self { $( Self::$Variant { .. } => $status, )* Self::Platform(problem) => problem.status }
            }
            fn into_platform(self) -> Result<$crate::kernel::problem::Problem, Self> {
                match self { Self::Platform(problem) => Ok(problem), own => Err(own) }
            }
            fn platform(&self) -> Option<&$crate::kernel::problem::Problem> {
                match self { Self::Platform(problem) => Some(problem), _ => None }
            }
        }
    };
}
