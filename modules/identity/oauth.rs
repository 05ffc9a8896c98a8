//! How the issuer's endpoints speak: forms in, JSON or pages out, refusals as RFC 6749 wants them.

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

const MAX_FORM: usize = 16 * 1024;

/// Why an endpoint of the issuer does not do what it was asked.
#[derive(Debug)]
pub(super) enum Refusal {
    /// To a client: a code of RFC 6749 or RFC 6750, and words for its developer.
    Client { status: u16, error: &'static str, description: String, challenge: Option<String>, retry_after: Option<i64> },
    /// To a person.
    Person { status: u16, text: String },
    /// Not the asker's fault.
    Ours(Box<Problem>),
}

impl Refusal {
    /// 400 with a code of RFC 6749.
    pub(super) fn new(error: &'static str, description: impl Into<String>) -> Self {
        Refusal::Client { status: 400, error, description: description.into(), challenge: None, retry_after: None }
    }

    /// The request itself is at fault.
    pub(super) fn invalid(description: impl Into<String>) -> Self {
        Self::new("invalid_request", description)
    }

    /// The code, token or password is not good (any more).
    pub(super) fn grant(description: impl Into<String>) -> Self {
        Self::new("invalid_grant", description)
    }

    /// The client did not prove who it is.
    pub(super) fn client() -> Self {
        Refusal::Client {
            status: 401,
            error: "invalid_client",
            description: "unknown client or wrong client credentials".into(),
            challenge: Some(format!("Basic realm=\"{}\"", REALM)),
            retry_after: None,
        }
    }

    /// A name is closed after too many wrong passwords.
    pub(super) fn closed(seconds: i64) -> Self {
        Refusal::Client {
            status: 429,
            error: "invalid_grant",
            description: format!("too many failed logins: this account is temporarily locked, try again in {seconds} seconds"),
            challenge: None,
            retry_after: Some(seconds),
        }
    }

    /// RFC 6750: the bearer's token does not do.
    pub(super) fn bearer(status: u16, error: &'static str, description: &str) -> Self {
        let challenge = format!("Bearer realm=\"{}\", error=\"{error}\", error_description=\"{description}\"", REALM);
        Refusal::Client { status, error, description: description.into(), challenge: Some(challenge), retry_after: None }
    }

    /// A page that says what is wrong, in place of a redirect to somewhere we do not trust.
    pub(super) fn person(text: impl Into<String>) -> Self {
        Refusal::Person { status: 400, text: text.into() }
    }

    /// A defect of ours: the cause goes to the log.
    pub(super) fn internal(cause: impl std::fmt::Display) -> Self {
        Refusal::Ours(Box::new(Problem::internal(cause)))
    }

    /// The same refusal where a person is looking.
    pub(super) fn for_person(self) -> Self {
        match self {
            Refusal::Client { status, description, .. } => Refusal::Person { status, text: description },
            other => other,
        }
    }

    /// The response; what is our own fault goes on to the edge.
    pub(super) fn respond(self) -> Result<HttpResponse, Box<Problem>> {
        match self {
            Refusal::Ours(problem) => Err(problem),
            Refusal::Person { status, text } => Ok(page(status, &html::Message { title: "This does not work", text: &text }, None)?),
            Refusal::Client { status, error, description, challenge, retry_after } => {
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

impl From<StoreError> for Refusal {
    fn from(cause: StoreError) -> Self {
        Refusal::Ours(Box::new(cause.into()))
    }
}

impl From<Box<Problem>> for Refusal {
    fn from(problem: Box<Problem>) -> Self {
        Refusal::Ours(problem)
    }
}

fn uncached(status: u16) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    response.insert_header((header::CACHE_CONTROL, "no-store")).insert_header((header::PRAGMA, "no-cache"));
    response
}

/// A JSON answer that nobody keeps.
pub(super) fn json(value: &Value) -> HttpResponse {
    uncached(200).json(value)
}

/// 204.
pub(super) fn nothing() -> HttpResponse {
    uncached(204).finish()
}

/// 302 to a place that was checked before.
pub(super) fn redirect(target: &str) -> Result<HttpResponse, Refusal> {
    let location = HeaderValue::from_str(target).map_err(|_| Refusal::person("the redirect_uri cannot be sent as a header"))?;
    // the code is in the target: it must not travel on in a Referer
    Ok(uncached(302).insert_header((header::LOCATION, location)).insert_header((header::REFERRER_POLICY, "no-referrer")).finish())
}

/// A page that loads nothing, runs nothing and is framed by nobody; its form goes to us and may be
/// answered with a redirect to `leads_to`.
pub(super) fn page(status: u16, page: &impl Template, leads_to: Option<&str>) -> Result<HttpResponse, Box<Problem>> {
    let body = render(page)?;
    let leads_to = leads_to.map(|source| format!(" {source}")).unwrap_or_default();
    let policy =
        format!("default-src 'none'; style-src 'unsafe-inline'; form-action 'self'{leads_to}; frame-ancestors 'none'; base-uri 'none'");
    let response = uncached(status)
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, policy))
        .insert_header((header::X_FRAME_OPTIONS, "DENY"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .body(body);
    Ok(response)
}

/// Parameters of a request, each at most once; an empty one counts as absent (RFC 6749, 3.1).
#[derive(Debug, Default)]
pub(super) struct Form(BTreeMap<String, String>);

impl Form {
    /// Of urlencoded text.
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        let mut form = BTreeMap::new();
        for (name, value) in query_pairs(text) {
            if form.contains_key(&name) {
                return Err(Refusal::invalid(format!("the parameter {name} is there twice")));
            }
            form.insert(name, value);
        }
        Ok(Form(form))
    }

    /// Of a request's body.
    pub(super) async fn read(request: &HttpRequest, mut payload: Payload) -> Result<Self, Refusal> {
        let media = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if !media.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(Refusal::invalid("the body must be application/x-www-form-urlencoded"));
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| Refusal::invalid("the body broke off"))?;
            if body.len() + chunk.len() > MAX_FORM {
                return Err(Refusal::invalid(format!("the body is larger than {MAX_FORM} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Self::parse(std::str::from_utf8(&body).map_err(|_| Refusal::invalid("the body is not UTF-8"))?)
    }

    /// A parameter that may be absent.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A parameter that must be there.
    pub(super) fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.get(name).ok_or_else(|| Refusal::invalid(format!("the parameter {name} is missing")))
    }
}
