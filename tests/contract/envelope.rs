//! The common format of refusals: all members of RFC 9457 and of the previous system.

use crate::support::client::Reply;
use actix_web::http::StatusCode;

/// Panics unless the reply is a complete refusal with this status that names the request's method and path.
#[track_caller]
pub fn assert_refusal(reply: &Reply, status: u16, method: &str, path: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    assert_eq!(reply.headers.get("content-type").map(String::as_str), Some("application/problem+json"), "{reply:?}");
    let body = reply.json();
    assert_eq!(body["status"], status, "{reply:?}");
    assert_eq!(body["method"], method, "{reply:?}");
    assert_eq!(body["path"], path, "{reply:?}");
    assert_eq!(body["instance"], path, "{reply:?}");
    assert_eq!(body["title"], StatusCode::from_u16(status).unwrap().canonical_reason().unwrap(), "{reply:?}");
    assert!(body["message"].as_str().is_some_and(|m| !m.is_empty()), "{reply:?}");
    assert_eq!(body["detail"], body["message"], "{reply:?}");
    let kind = body["type"].as_str().unwrap_or_default();
    assert!(kind == "about:blank" || kind.starts_with("urn:tradepost:problem:"), "{reply:?}");
    assert_timestamp(body["timestamp"].as_str().unwrap_or_default());
    let trace = body["traceId"].as_str().unwrap_or_default();
    assert!(trace.len() == 32 && trace.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{reply:?}");
    assert_eq!(reply.headers.get("x-trace-id").map(String::as_str), Some(trace), "{reply:?}");
    for error in body["errors"].as_array().into_iter().flatten() {
        assert!(error["field"].is_string() && error["message"].as_str().is_some_and(|m| !m.is_empty()), "{reply:?}");
    }
}

/// `2026-11-22T20:18:54.933+00:00`: milliseconds and a numeric offset, as Spring writes it.
#[track_caller]
fn assert_timestamp(text: &str) {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000+00:00");
    let parsed = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339);
    assert!(parsed.is_ok(), "{text}: {parsed:?}");
}

/// The expected content of a refusal.
#[derive(Debug, Clone)]
pub enum Expected {
    /// `errors[0].field`.
    Field(String),
    /// The error is in the body as a whole: this member is missing.
    Missing(&'static str),
    /// The end of `type`, for a module's typed error.
    Kind(&'static str),
    /// The start of `message`, for `about:blank`.
    Text(&'static str),
}

pub fn field(name: impl Into<String>) -> Expected {
    Expected::Field(name.into())
}

/// A module's error, as in `product:not-found`.
pub fn kind(name: &'static str) -> Expected {
    Expected::Kind(name)
}

pub fn message(start: &'static str) -> Expected {
    Expected::Text(start)
}

impl Expected {
    /// Panics with `what` unless the refusal has this content.
    #[track_caller]
    pub fn check(&self, reply: &Reply, what: &str) {
        let problem = reply.json();
        let error = &problem["errors"][0];
        let starts = |text: &serde_json::Value, start: &str| text.as_str().is_some_and(|text| text.starts_with(start));
        match self {
            Expected::Field(field) => assert_eq!(error["field"], *field, "{what}"),
            Expected::Missing(member) => {
                assert!(error["field"] == "body" && starts(&error["message"], &format!("missing field `{member}`")), "{what}");
            }
            Expected::Kind(kind) => assert_eq!(problem["type"], format!("urn:tradepost:problem:{kind}"), "{what}"),
            Expected::Text(start) => {
                assert!(problem["type"] == "about:blank" && starts(&problem["message"], start), "expected `{start}`: {what}");
            }
        }
    }
}
