//! `spring_cloud_gateway_requests_seconds`.

use super::filters::status_name;
use crate::kernel::error::StartError;
use crate::observe::metrics;
use actix_web::http::{Method, StatusCode};
use prometheus::HistogramVec;
use std::time::Duration;

const LABELS: [&str; 6] = ["routeId", "routeUri", "outcome", "status", "httpStatusCode", "httpMethod"];

/// Time until the response head, by route and status.
pub(super) struct Metrics(HistogramVec);

impl Metrics {
    pub(super) fn new(registry: &prometheus::Registry) -> Result<Self, StartError> {
        let help = "Time until the response head of a routed request";
        Ok(Self(metrics::times(registry, "spring_cloud_gateway_requests_seconds", help, &LABELS)?))
    }

    pub(super) fn observe(&self, route: &str, uri: &str, status: StatusCode, method: &Method, elapsed: Duration) {
        let outcome = match status.as_u16() / 100 {
            1 => "INFORMATIONAL",
            2 => "SUCCESSFUL",
            3 => "REDIRECTION",
            4 => "CLIENT_ERROR",
            _ => "SERVER_ERROR",
        };
        // clients choose the method, and each label value costs memory
        let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
        let method = if known.contains(method) { method.as_str() } else { "OTHER" };
        let labels = [route, uri, outcome, &status_name(status), status.as_str(), method];
        self.0.with_label_values(&labels).observe(elapsed.as_secs_f64());
    }
}
