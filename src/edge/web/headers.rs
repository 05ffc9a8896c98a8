//! Request headers as text, and the bearer token.

use crate::kernel::problem::Problem;
use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderValue};
use actix_web_httpauth::headers::authorization::{Bearer, Scheme};

/// The header's value; `None` if it is missing or not plain ASCII.
pub(super) fn header_text<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

/// The bearer token of the request's only `Authorization` header.
pub fn bearer_token(request: &HttpRequest) -> Result<String, Problem> {
    let mut sent = request.headers().get_all(header::AUTHORIZATION);
    let Some(value) = sent.next() else { return Err(Problem::unauthorized(None)) };
    if sent.next().is_some() {
        // Implementations differ in which one they use, so a proxy may have checked another one.
        return Err(Problem::unauthorized(Some("there is more than one Authorization header")));
    }
    // Schemes are case-insensitive (RFC 9110 11.1); the parser accepts only one spelling.
    let sent = value.to_str().ok().and_then(|text| text.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let spelled = sent.and_then(|(_, token)| HeaderValue::from_str(&format!("Bearer {}", token.trim())).ok());
    let parsed = spelled.and_then(|value| Bearer::parse(&value).ok()).filter(|bearer| !bearer.token().is_empty());
    parsed
        .map(|bearer| bearer.token().to_string())
        .ok_or_else(|| Problem::unauthorized(Some("the Authorization header is not Bearer <JWT>")))
}
