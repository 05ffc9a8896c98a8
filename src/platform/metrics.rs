//! Metrics for Prometheus: what the edge serves, and what modules register beside it.

use crate::platform::contract::{Access, Endpoint};
use crate::platform::problem::Problem;
use actix_web::HttpResponse;
use actix_web::http::Method;
use prometheus::{Encoder, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder};
use std::time::Duration;

/// Requests by path, method and status. A path is the contract's, with `{id}` in it: ids never become labels.
pub struct HttpMetrics {
    total: IntCounterVec,
    seconds: HistogramVec,
}

const LABELS: [&str; 3] = ["endpoint", "method", "status"];

impl HttpMetrics {
    /// `tradepost_http_requests_total` and `tradepost_http_requests_duration_seconds` of this registry.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let total = IntCounterVec::new(Opts::new("tradepost_http_requests_total", "HTTP requests."), &LABELS)?;
        let about = HistogramOpts::new("tradepost_http_requests_duration_seconds", "From a request's head to its answer's head.");
        let seconds = HistogramVec::new(about, &LABELS)?;
        registry.register(Box::new(total.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        Ok(Self { total, seconds })
    }

    /// Counts one request; `endpoint` is none where no path matched.
    pub fn observe(&self, endpoint: Option<&str>, method: &str, status: u16, took: Duration) {
        // anybody can make methods up: only those we know become labels
        let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];
        let method = if known.contains(&method) { method } else { "UNKNOWN" };
        let status = status.to_string();
        let labels = [endpoint.unwrap_or("UNKNOWN"), method, &status];
        self.total.with_label_values(&labels).inc();
        self.seconds.with_label_values(&labels).observe(took.as_secs_f64());
    }
}

/// `GET /actuator/prometheus`
pub fn endpoint(registry: &Registry) -> Endpoint {
    let registry = registry.clone();
    Endpoint::raw("actuator", "prometheus", Method::GET, "/actuator/prometheus", Access::Public, move |_, _, _| {
        let text = text(&registry);
        async { Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text?)) }
    })
}

fn text(registry: &Registry) -> Result<Vec<u8>, Problem> {
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text).map_err(Problem::internal)?;
    Ok(text)
}
