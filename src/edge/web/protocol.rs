//! Rules of HTTP that hold for every endpoint alike.

use super::headers::header_text;
use crate::kernel::problem::Problem;
use crate::rpc::contract::Endpoint;
use actix_web::body::{BodySize, BodyStream, BoxBody, MessageBody, None as NoBody};
use actix_web::http::header;
use actix_web::http::{Method, StatusCode};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream;

/// A body with two lengths is how requests are smuggled past a proxy.
pub(super) fn two_lengths(request: &HttpRequest) -> bool {
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

/// The same length, where there is one, and no bytes. actix-http does this itself, but forgets that it was a HEAD when another
/// request comes close behind on the same connection.
pub(super) fn without_bytes(mut response: HttpResponse) -> HttpResponse {
    let BodySize::Sized(length) = response.body().size() else { return response.set_body(BoxBody::new(NoBody::new())) };
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    // a stream whose length is in its header: nothing is counted, and nothing is added
    response.head_mut().no_chunking(true);
    response.set_body(BoxBody::new(BodyStream::new(stream::empty::<Result<Bytes, std::io::Error>>())))
}

/// OPTIONS is answered without a token: it says nothing that the contract does not.
pub(super) fn preflight(endpoints: &[Endpoint], door: bool, request: &HttpRequest) -> Option<HttpResponse> {
    if request.method() != Method::OPTIONS {
        return None;
    }
    if endpoints.is_empty() {
        // a browser's question about CORS is answered here, whoever would answer the request itself
        let asks = [header::ORIGIN, header::ACCESS_CONTROL_REQUEST_METHOD].iter().all(|name| request.headers().contains_key(name));
        return (door && asks).then(|| HttpResponse::NoContent().finish());
    }
    Some(HttpResponse::build(StatusCode::NO_CONTENT).insert_header((header::ALLOW, allow(endpoints))).finish())
}

pub(super) fn unknown(endpoints: &[Endpoint]) -> Problem {
    if endpoints.is_empty() {
        return Problem::new(404, "there is nothing at this path");
    }
    let allow = allow(endpoints);
    let mut problem = Problem::new(405, format!("this path takes {allow}"));
    problem.allow = Some(allow);
    problem
}

/// Every contract call can answer JSON; a caller that takes neither that nor plain text gets 406.
pub(super) fn acceptable(request: &HttpRequest) -> Result<(), Problem> {
    let Some(accept) = header_text(request, "accept") else { return Ok(()) };
    let takes = |range: &str| {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let refused = parts.any(|p| p.replace(' ', "").strip_prefix("q=").is_some_and(|q| q.parse::<f32>() == Ok(0.0)));
        !refused
            && (matches!(media.as_str(), "" | "*/*" | "application/*" | "application/json" | "text/*" | "text/plain")
                || media.ends_with("+json"))
    };
    if accept.split(',').any(takes) {
        Ok(())
    } else {
        Err(Problem::new(406, "answers are application/json; the Accept header rules it out"))
    }
}
