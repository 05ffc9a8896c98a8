//! Errors of a routes document, from one argument up to the whole file.

use super::pattern::{AddressRangeError, PatternError};
use actix_web::http::StatusCode;
use serde_json::Value;

/// An invalid argument of a predicate or filter, or an invalid setting.
#[derive(Debug, thiserror::Error)]
pub(super) enum ValueError {
    #[error("lacks `{name}`")]
    Missing { name: String },
    #[error("`{value}` is no {expected}")]
    Malformed { value: String, expected: &'static str },
    #[error("{name}: `{value}` is no {expected}")]
    MalformedNamed { name: String, value: String, expected: &'static str },
    #[error("{name} `{value}`: expected {expected}")]
    Unexpected { name: &'static str, value: String, expected: &'static str },
    /// A status of `RedirectTo` outside 300 to 399.
    #[error("{0} is no redirection")]
    NotARedirection(StatusCode),
    #[error("`{value}` is no time such as 2030-01-20T17:42:47+01:00[Europe/Paris]: {source}")]
    Time { value: String, source: time::error::Parse },
    /// A time in milliseconds outside the years that the `time` crate supports.
    #[error("`{value}`: {source}")]
    TimeRange { value: String, source: time::error::ComponentRange },
    #[error(transparent)]
    Pattern(#[from] PatternError),
    #[error(transparent)]
    Range(#[from] AddressRangeError),
}

impl ValueError {
    pub(super) fn malformed(value: &str, expected: &'static str) -> Self {
        Self::Malformed { value: value.into(), expected }
    }
}

/// An invalid predicate or filter.
#[derive(Debug, thiserror::Error)]
pub(super) enum ComponentError {
    #[error("there is no {kind} `{name}`; known: {}", known.join(", "))]
    Unknown { kind: &'static str, name: String, known: &'static [&'static str] },
    #[error("{name}: {source}")]
    Argument { name: String, source: ValueError },
    /// The long form lacks `name`.
    #[error("a predicate or filter has no `name`")]
    MissingName,
    #[error("`{name}`: args must be a map, not {found}")]
    ArgsNotAMap { name: String, found: Value },
    /// Neither the shortcut form nor the long form.
    #[error("expected `Name=arguments` or {{name, args}}, found {found}")]
    Malformed { found: Value },
}

/// An invalid route, with its id.
#[derive(Debug, thiserror::Error)]
#[error("route `{id}`: {reason}")]
pub(super) struct RouteError {
    pub(super) id: String,
    #[source]
    pub(super) reason: RouteErrorReason,
}

impl RouteError {
    pub(super) fn new(id: &str, reason: impl Into<RouteErrorReason>) -> Self {
        Self { id: id.into(), reason: reason.into() }
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum RouteErrorReason {
    /// A member is missing or has another type.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Component(#[from] ComponentError),
    #[error("uri `{uri}`: expected lb://service-name or http://host:port")]
    Uri { uri: String },
    /// `uri` needs the feature `tls`.
    #[error("uri `{uri}`: this build has no https; build with --features tls")]
    NoTls { uri: String },
    #[error("metadata {name}: `{value}` is no number of milliseconds")]
    Metadata { name: &'static str, value: String },
}

/// Routes that do not form a table.
#[derive(Debug, thiserror::Error)]
pub(super) enum TableError {
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error("route `{id}` is defined twice")]
    DuplicateId { id: String },
}

/// An invalid routes document.
#[derive(Debug, thiserror::Error)]
pub(super) enum DocumentError {
    #[error(transparent)]
    Yaml(#[from] serde_yaml_ng::Error),
    /// `${` without `}`.
    #[error("`{text}`: a placeholder is not closed")]
    OpenPlaceholder { text: String },
    #[error("`{text}`: {name} is not in the environment and has no default")]
    UnknownVariable { text: String, name: String },
    #[error("{key}: expected a list, found {found}")]
    NotAList { key: String, found: Value },
    #[error(transparent)]
    DefaultFilter(ComponentError),
    /// A setting outside the routes.
    #[error("{key}: {source}")]
    Setting { key: String, source: ValueError },
    /// `baseConfig` names a configuration that the document lacks.
    #[error("there is no configuration `{name}`")]
    UnknownConfiguration { name: String },
    #[error(transparent)]
    Route(#[from] RouteError),
}
