//! A request to an actuator endpoint, and the media type of its response.

use crate::kernel::uri::percent_decode;
use crate::rpc::context::Cx;
use actix_web::http::header;
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};

/// Spring Boot's media types, newest first. Version 3 is that of Spring Boot 2.2 and later; version 2 gets the same body.
const MEDIA_TYPES: [&str; 2] = ["application/vnd.spring-boot.actuator.v3+json", "application/vnd.spring-boot.actuator.v2+json"];

pub(super) struct ActuatorRequest {
    pub(super) cx: Cx,
    pub(super) http: HttpRequest,
    /// Empty for GET.
    pub(super) body: Bytes,
}

impl ActuatorRequest {
    /// A decoded path parameter; empty if it is not UTF-8, which matches no name.
    pub(super) fn path(&self, name: &str) -> String {
        percent_decode(self.http.match_info().get(name).unwrap_or_default()).unwrap_or_default()
    }
}

/// Sets a JSON response's media type to the Spring Boot type that the client accepts: tools detect an actuator by it.
pub(super) fn negotiate_media_type(request: &HttpRequest, mut response: HttpResponse) -> HttpResponse {
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if let Some(media_type) = MEDIA_TYPES.iter().find(|media_type| accept.contains(**media_type)).filter(|_| is_json) {
        response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(media_type));
    }
    response
}
