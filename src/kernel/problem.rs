//! Problem details: the error responses of all endpoints, and typed errors on the wire.
//!
//! A [`Problem`] has the members of the Spring system (`status, method, path, message, timestamp`), those of RFC 9457
//! (`type, title, status, detail, instance`), `traceId`, and `errors[]` for invalid fields. A module's errors are an
//! enum declared by [`errors!`](crate::errors). The edge converts it to a `Problem`; the generated client converts it
//! back to the same variant.
//!
//! A problem has two texts: the message is sent to the client, the cause goes to the log only.

use crate::kernel::error::StoreError;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, HttpResponseBuilder};
use actix_web_httpauth::headers::www_authenticate::bearer::{Bearer, Error as BearerError};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// Prefix of problem types; a module's name and a variant follow.
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
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// An error response, independent of the request it answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// HTTP status, 400 to 599.
    pub status: u16,
    /// Last part of the `type` URI; empty means `about:blank`.
    pub kind: String,
    /// For people; on 5xx without internals.
    pub message: String,
    /// The invalid fields.
    pub errors: Vec<FieldError>,
    /// Further members of the body: the fields of a typed error.
    pub extra: Map<String, Value>,
    /// Seconds before a retry (`Retry-After`).
    pub retry_after: Option<u32>,
    /// Value of `WWW-Authenticate`, on a 401.
    pub challenge: Option<String>,
    /// Value of `Allow`, on a 405.
    pub allow: Option<String>,
    /// For the log only: it may name hosts, files and statements. Never part of a response.
    cause: Option<String>,
}

/// Response extension with a problem's cause, for the edge to log.
pub struct Cause(pub String);

impl Problem {
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
            cause: None,
        }
    }

    /// Adds the cause, which the edge logs once, with the trace id.
    pub fn with_cause(mut self, cause: impl std::fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// Status, message and cause; never for a response.
    pub fn for_log(&self) -> String {
        match &self.cause {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        }
    }

    /// 400. The message also lists the fields, for clients that read only the message.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let list: Vec<_> = errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect();
        let mut problem = Self::new(400, format!("invalid request: {}", list.join("; ")));
        problem.kind = "invalid".into();
        problem.errors = errors;
        problem
    }

    /// 400 for one field.
    pub fn invalid_field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError::new(field, message)])
    }

    /// 503 with `Retry-After`: a dependency is unavailable.
    pub fn unavailable(message: impl Into<String>) -> Self {
        let mut problem = Self::new(503, message);
        problem.kind = "unavailable".into();
        problem.retry_after = Some(1);
        problem
    }

    /// 500; the cause goes to the log only, with the trace id.
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

    /// 403: the caller is authenticated but not authorized.
    pub fn forbidden(message: impl Into<String>) -> Self {
        let mut problem = Self::new(403, message);
        problem.extra.insert("error".into(), "FORBIDDEN".into());
        problem
    }

    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self.status, 502..=504)
    }

    /// The body of the response to one request.
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
        if let Some(cause) = &self.cause {
            response.extensions_mut().insert(Cause(cause.clone()));
        }
        response
    }

    /// Parses a peer's error body. A body that is not a JSON object becomes a problem of that status.
    pub fn parse(status: u16, body: &[u8]) -> Self {
        let Ok(Value::Object(mut members)) = serde_json::from_slice::<Value>(body) else {
            return Self::new(status, format!("the peer answered {status} with an unknown body"));
        };
        let text = |members: &mut Map<String, Value>, key: &str| match members.remove(key) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let kind = text(&mut members, "type").strip_prefix(TYPE_PREFIX).unwrap_or_default().to_string();
        let message = text(&mut members, "message");
        let errors = members.remove("errors").and_then(|e| serde_json::from_value(e).ok()).unwrap_or_default();
        for member in ["status", "method", "path", "timestamp", "title", "detail", "instance", "traceId"] {
            members.remove(member);
        }
        let retry_after = (status == 503).then_some(1);
        Self { status, kind, message, errors, extra: members, retry_after, challenge: None, allow: None, cause: None }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.status, self.message)
    }
}

impl std::error::Error for Problem {}

/// A module's errors, typed on both sides of the contract. Implemented by [`errors!`](crate::errors).
pub trait TypedError: Serialize + DeserializeOwned + std::fmt::Display + From<Problem> {
    /// Module name: the first part of the problem type.
    const MODULE: &'static str;
    fn status(&self) -> u16;
    /// Returns the `Platform` problem, or `Err` with a variant of the module.
    fn into_platform(self) -> Result<Problem, Self>;

    fn platform(&self) -> Option<&Problem>;

    /// Text for a log line; for a platform problem with its cause.
    fn for_log(&self) -> String {
        self.platform().map_or_else(|| self.to_string(), Problem::for_log)
    }

    /// For the edge: a problem with the variant's fields as members.
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

    /// For the generated client: the original variant, or `Platform`.
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
            error @ StoreError::Unavailable { .. } => Problem::unavailable("the store is not available right now").with_cause(error),
            // no `Retry-After`: an operator has to act first
            error if error.is_file_fault() => Problem::new(503, "the store is out of service until it is repaired").with_cause(error),
            other => Problem::internal(other),
        }
    }
}

/// Declares a module's errors: a variant, its status, its message with the fields in braces.
///
/// ```text
/// errors! {
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
            /// A problem outside the module: invalid input, missing permission, an unavailable store or peer.
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
