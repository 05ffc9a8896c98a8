//! Requests and responses of the issuer's endpoints: forms, JSON, pages, and errors as in RFC 6749.

use super::html;
use super::realm::REALM;
use crate::kernel::error::StoreError;
use crate::kernel::html::render;
use crate::kernel::problem::Problem;
use crate::kernel::uri::query_pairs;
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::BytesMut;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use askama::Template;
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const MAX_FORM_BYTES: usize = 16 * 1024;

/// Error of an issuer endpoint.
#[derive(Debug)]
pub(super) enum OAuthError {
    /// For a client: an error code of RFC 6749 or RFC 6750, and a description for its developer.
    Client {
        status: u16,
        error: &'static str,
        description: String,
        challenge: Option<String>,
        retry_after: Option<i64>,
    },
    /// For a user: shown as a page.
    Page {
        status: u16,
        text: String,
    },
    Internal(Box<Problem>),
}

impl OAuthError {
    /// 400 with an error code of RFC 6749.
    pub(super) fn new(error: &'static str, description: impl Into<String>) -> Self {
        OAuthError::Client { status: 400, error, description: description.into(), challenge: None, retry_after: None }
    }

    pub(super) fn invalid_request(description: impl Into<String>) -> Self {
        Self::new("invalid_request", description)
    }

    /// The code, token or password is not valid.
    pub(super) fn invalid_grant(description: impl Into<String>) -> Self {
        Self::new("invalid_grant", description)
    }

    /// Client authentication failed.
    pub(super) fn invalid_client() -> Self {
        OAuthError::Client {
            status: 401,
            error: "invalid_client",
            description: "unknown client or wrong client credentials".into(),
            challenge: Some(format!("Basic realm=\"{}\"", REALM)),
            retry_after: None,
        }
    }

    /// The name is locked after too many failed logins.
    pub(super) fn account_locked(seconds: i64) -> Self {
        OAuthError::Client {
            status: 429,
            error: "invalid_grant",
            description: format!("too many failed logins: this account is temporarily locked, try again in {seconds} seconds"),
            challenge: None,
            retry_after: Some(seconds),
        }
    }

    /// RFC 6750: the bearer token is not sufficient.
    pub(super) fn bearer(status: u16, error: &'static str, description: &str) -> Self {
        let challenge = format!("Bearer realm=\"{}\", error=\"{error}\", error_description=\"{description}\"", REALM);
        OAuthError::Client { status, error, description: description.into(), challenge: Some(challenge), retry_after: None }
    }

    /// An error page, used instead of a redirect to an untrusted URI.
    pub(super) fn page(text: impl Into<String>) -> Self {
        OAuthError::Page { status: 400, text: text.into() }
    }

    /// An internal error; the cause is logged, not sent.
    pub(super) fn internal(cause: impl std::fmt::Display) -> Self {
        OAuthError::Internal(Box::new(Problem::internal(cause)))
    }

    /// The same error for a user in a browser.
    pub(super) fn into_page(self) -> Self {
        match self {
            OAuthError::Client { status, description, .. } => OAuthError::Page { status, text: description },
            other => other,
        }
    }

    /// Builds the response; internal errors are returned to the edge.
    pub(super) fn respond(self) -> Result<HttpResponse, Box<Problem>> {
        match self {
            OAuthError::Internal(problem) => Err(problem),
            OAuthError::Page { status, text } => Ok(page(status, &html::Message { title: "This does not work", text: &text }, None)?),
            OAuthError::Client { status, error, description, challenge, retry_after } => {
                let mut response = uncached(status);
                if let Some(challenge) = challenge {
                    response.insert_header((header::WWW_AUTHENTICATE, challenge));
                }
                if let Some(seconds) = retry_after {
                    response.insert_header((header::RETRY_AFTER, seconds.to_string()));
                }
                Ok(response.json(json!({ "error": error, "error_description": description })))
            }
        }
    }
}

impl From<StoreError> for OAuthError {
    fn from(cause: StoreError) -> Self {
        OAuthError::Internal(Box::new(cause.into()))
    }
}

impl From<Box<Problem>> for OAuthError {
    fn from(problem: Box<Problem>) -> Self {
        OAuthError::Internal(problem)
    }
}

fn uncached(status: u16) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    response.insert_header((header::CACHE_CONTROL, "no-store")).insert_header((header::PRAGMA, "no-cache"));
    response
}

/// A JSON response with `Cache-Control: no-store`.
pub(super) fn json(value: &Value) -> HttpResponse {
    uncached(200).json(value)
}

pub(super) fn no_content() -> HttpResponse {
    uncached(204).finish()
}

/// 302 to a URI that the caller has validated.
pub(super) fn redirect(target: &str) -> Result<HttpResponse, OAuthError> {
    let location = HeaderValue::from_str(target).map_err(|_| OAuthError::page("the redirect_uri cannot be sent as a header"))?;
    // the target contains the code, which must not leak in a Referer header
    Ok(uncached(302).insert_header((header::LOCATION, location)).insert_header((header::REFERRER_POLICY, "no-referrer")).finish())
}

/// A page that loads no resources, runs no scripts and cannot be framed. Its form posts to the issuer, which
/// may redirect to `form_redirect`.
pub(super) fn page(status: u16, page: &impl Template, form_redirect: Option<&str>) -> Result<HttpResponse, Box<Problem>> {
    let body = render(page)?;
    let form_redirect = form_redirect.map(|source| format!(" {source}")).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'{form_redirect}; frame-ancestors 'none'; base-uri 'none'"
    );
    let response = uncached(status)
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, policy))
        .insert_header((header::X_FRAME_OPTIONS, "DENY"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .body(body);
    Ok(response)
}

/// Request parameters. Each may occur once; an empty one counts as absent (RFC 6749, 3.1).
#[derive(Debug, Default)]
pub(super) struct Form(BTreeMap<String, String>);

impl Form {
    /// Parses urlencoded text.
    pub(super) fn parse(text: &str) -> Result<Self, OAuthError> {
        let mut form = BTreeMap::new();
        for (name, value) in query_pairs(text) {
            if form.contains_key(&name) {
                return Err(OAuthError::invalid_request(format!("the parameter {name} is repeated")));
            }
            form.insert(name, value);
        }
        Ok(Form(form))
    }

    /// Reads a request's body.
    pub(super) async fn read(request: &HttpRequest, mut payload: Payload) -> Result<Self, OAuthError> {
        let media = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if !media.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(OAuthError::invalid_request("the body must be application/x-www-form-urlencoded"));
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| OAuthError::invalid_request("the body is incomplete"))?;
            if body.len() + chunk.len() > MAX_FORM_BYTES {
                return Err(OAuthError::invalid_request(format!("the body is larger than {MAX_FORM_BYTES} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Self::parse(std::str::from_utf8(&body).map_err(|_| OAuthError::invalid_request("the body is not UTF-8"))?)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(super) fn required(&self, name: &str) -> Result<&str, OAuthError> {
        self.get(name).ok_or_else(|| OAuthError::invalid_request(format!("the parameter {name} is missing")))
    }
}
