//! Respond phase: response filters, and problems for requests without a response.

use super::limit::RateHeaders;
use super::pattern::Variables;
use super::route::Route;
use super::upstream::UpstreamFailure;
use crate::edge::web::{body_timeout, original_method, original_path};
use crate::kernel::problem::Problem;
use crate::rpc::context::Cx;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::HeaderMap;
use actix_web::{HttpRequest, HttpResponse};

/// No endpoint and no route.
pub(super) fn not_found() -> Problem {
    Problem::new(404, "there is nothing at this path")
}

pub(super) fn too_many_requests(cx: &Cx, request: &HttpRequest, headers: &RateHeaders) -> HttpResponse {
    let mut problem = Problem::new(429, "too many requests; come back later");
    problem.retry_after = Some(1);
    with_headers(problem.respond(original_method(request).as_str(), &original_path(request), &cx.trace.id()), headers.clone())
}

/// Turns a problem into a response too, so that filters treat it like any response.
pub(super) fn into_response(result: Result<HttpResponse, Problem>, cx: &Cx, request: &HttpRequest) -> HttpResponse {
    result.unwrap_or_else(|problem| problem.respond(original_method(request).as_str(), request.path(), &cx.trace.id()))
}

pub(super) fn response_status(result: &Result<HttpResponse, Problem>) -> StatusCode {
    result.as_ref().map_or_else(|p| StatusCode::from_u16(p.status).unwrap_or_default(), HttpResponse::status)
}

pub(super) fn with_headers(mut response: HttpResponse, headers: RateHeaders) -> HttpResponse {
    headers.into_iter().for_each(|(name, value)| response.headers_mut().append(name, value));
    response
}

/// Applies the route's response filters, the last filter first.
pub(super) fn apply_response_filters(route: &Route, variables: &Variables, mut response: HttpResponse<BoxBody>) -> HttpResponse {
    let mut status = response.status();
    let headers: &mut HeaderMap = response.headers_mut();
    route.filters.iter().rev().for_each(|filter| filter.apply_to_response(&mut status, headers, variables));
    *response.status_mut() = status;
    response
}

/// The problem that the client receives for a failed call.
pub(super) fn failure_problem(route: &Route, failure: UpstreamFailure) -> Problem {
    let name = route.definition.uri.split_once("://").map_or("the service", |(_, name)| name);
    match failure {
        UpstreamFailure::BodyTooLarge(limit) => Problem::new(413, format!("the body is larger than {limit} bytes")),
        UpstreamFailure::ClientDisconnected => Problem::new(400, "the body broke off"),
        UpstreamFailure::ClientTimedOut => body_timeout(),
        UpstreamFailure::BreakerOpen(wait) => {
            let cause = format!("the breaker of route {} is open", route.definition.id);
            let mut problem = Problem::unavailable(format!("{name} is not available")).with_cause(cause);
            problem.retry_after = Some(wait.as_secs_f32().ceil().max(1.0) as u32);
            problem
        }
        failed => {
            let problem = match failed {
                UpstreamFailure::ConnectionLost(_) => {
                    Problem::new(502, format!("{name} broke off; the request may still have been served"))
                }
                UpstreamFailure::TimedOut => Problem::new(504, format!("{name} took too long; the request may still be served")),
                _ => Problem::unavailable(format!("{name} is not available")),
            };
            problem.with_cause(format!("no response along route {}: {failed}", route.definition.id))
        }
    }
}
