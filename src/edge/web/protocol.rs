//! HTTP rules that apply to every endpoint.

use super::headers::header_text;
use crate::kernel::problem::Problem;
use crate::rpc::contract::Endpoint;
use actix_web::body::{BodySize, BodyStream, BoxBody, MessageBody, None as NoBody};
use actix_web::http::header;
use actix_web::http::{Method, StatusCode};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream;

/// Both `Content-Length` and `Transfer-Encoding`: a sign of request smuggling (RFC 9112 6.1).
pub(super) fn has_conflicting_lengths(request: &HttpRequest) -> bool {
    [header::CONTENT_LENGTH, header::TRANSFER_ENCODING].iter().all(|name| request.headers().contains_key(name))
}

fn allow(endpoints: &[Endpoint]) -> String {
    let mut methods: Vec<&str> = endpoints.iter().map(|e| e.operation.method.as_str()).collect();
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.push("OPTIONS");
    methods.dedup();
    methods.join(", ")
}

/// Removes the body for HEAD and keeps `Content-Length`. actix-http does this too, but not if another request is
/// pipelined on the same connection.
pub(super) fn without_body(mut response: HttpResponse) -> HttpResponse {
    let BodySize::Sized(length) = response.body().size() else { return response.set_body(BoxBody::new(NoBody::new())) };
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    // A stream without chunking: actix adds no length or encoding header of its own.
    response.head_mut().no_chunking(true);
    response.set_body(BoxBody::new(BodyStream::new(stream::empty::<Result<Bytes, std::io::Error>>())))
}

/// The response to OPTIONS. It needs no token, because it reveals only what the contract does.
pub(super) fn options_response(endpoints: &[Endpoint], has_gateway: bool, request: &HttpRequest) -> Option<HttpResponse> {
    if request.method() != Method::OPTIONS {
        return None;
    }
    if endpoints.is_empty() {
        // The edge answers CORS preflights for the gateway's routes too.
        let is_preflight = [header::ORIGIN, header::ACCESS_CONTROL_REQUEST_METHOD].iter().all(|name| request.headers().contains_key(name));
        return (has_gateway && is_preflight).then(|| HttpResponse::NoContent().finish());
    }
    Some(HttpResponse::build(StatusCode::NO_CONTENT).insert_header((header::ALLOW, allow(endpoints))).finish())
}

/// 404 for an unknown path, 405 for an unknown method.
pub(super) fn not_found(endpoints: &[Endpoint]) -> Problem {
    if endpoints.is_empty() {
        return Problem::new(404, "there is nothing at this path");
    }
    let allow = allow(endpoints);
    let mut problem = Problem::new(405, format!("this path takes {allow}"));
    problem.allow = Some(allow);
    problem
}

/// 406 unless `Accept` permits JSON or plain text, the media types of contract responses.
pub(super) fn check_accept(request: &HttpRequest) -> Result<(), Problem> {
    let Some(accept) = header_text(request, "accept") else { return Ok(()) };
    let accepts = |range: &str| {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let refused = parts.any(|p| p.replace(' ', "").strip_prefix("q=").is_some_and(|q| q.parse::<f32>() == Ok(0.0)));
        !refused
            && (matches!(media.as_str(), "" | "*/*" | "application/*" | "application/json" | "text/*" | "text/plain")
                || media.ends_with("+json"))
    };
    if accept.split(',').any(accepts) {
        Ok(())
    } else {
        Err(Problem::new(406, "answers are application/json; the Accept header rules it out"))
    }
}
