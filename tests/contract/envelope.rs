//! The one form of every refusal: the old system's members and those of RFC 9457, all of them, always.

use crate::support::client::Reply;
use actix_web::http::StatusCode;

/// Fails unless it is a refusal of this status, whole and true to the request that was sent.
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

/// What a refusal must say.
#[derive(Debug, Clone)]
pub enum Says {
    /// `errors[0].field`.
    Field(String),
    /// The body as a whole is to blame: it lacks this member.
    Missing(&'static str),
    /// The end of `type`: a module's error has one of its own.
    Kind(&'static str),
    /// How `message` begins, of a refusal that has no type.
    Text(&'static str),
}

pub fn field(name: impl Into<String>) -> Says {
    Says::Field(name.into())
}

/// A module's error, as in `product:not-found`.
pub fn kind(name: &'static str) -> Says {
    Says::Kind(name)
}

pub fn says(start: &'static str) -> Says {
    Says::Text(start)
}

impl Says {
    /// Fails with `what` unless the refusal says it.
    #[track_caller]
    pub fn check(&self, reply: &Reply, what: &str) {
        let problem = reply.json();
        let blamed = &problem["errors"][0];
        let starts = |text: &serde_json::Value, start: &str| text.as_str().is_some_and(|text| text.starts_with(start));
        match self {
            Says::Field(field) => assert_eq!(blamed["field"], *field, "{what}"),
            Says::Missing(member) => {
                assert!(blamed["field"] == "body" && starts(&blamed["message"], &format!("missing field `{member}`")), "{what}");
            }
            Says::Kind(kind) => assert_eq!(problem["type"], format!("urn:tradepost:problem:{kind}"), "{what}"),
            Says::Text(start) => {
                assert!(problem["type"] == "about:blank" && starts(&problem["message"], start), "expected `{start}`: {what}");
            }
        }
    }
}
