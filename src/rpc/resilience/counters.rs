//! Counters of the calls to peers, named like Resilience4j's Micrometer metrics. Labels have a bounded set of
//! values: fixed words and names that the operator configured, never client input.

use crate::kernel::error::StartError;
use crate::observe::metrics;
use crate::rpc::contract::Operation;
use prometheus::{HistogramVec, IntCounter, IntCounterVec, Registry};
use std::time::Duration;

/// The counters of all peers.
pub(super) struct PeerMetrics {
    calls: IntCounterVec,
    retries: IntCounterVec,
    rejected: IntCounterVec,
    requests: HistogramVec,
}

/// The counters of one peer.
pub(super) struct PeerCounters {
    requests: HistogramVec,
    calls: IntCounterVec,
    name: &'static str,
    pub(super) retried: IntCounter,
    pub(super) over_budget: IntCounter,
    pub(super) bulkhead_full: IntCounter,
}

impl PeerCounters {
    pub(super) fn record_attempt(&self, operation: &Operation, status: Option<u16>, elapsed: Duration) {
        let outcome = match status {
            Some(200..=299) => "SUCCESS",
            Some(400..=499) => "CLIENT_ERROR",
            Some(500..=599) => "SERVER_ERROR",
            _ => "UNKNOWN",
        };
        let status = status.map_or_else(|| "IO_ERROR".to_string(), |status| status.to_string());
        let labels = [self.name, operation.path, operation.method.as_str(), &status, outcome];
        self.requests.with_label_values(&labels).observe(elapsed.as_secs_f64());
    }

    pub(super) fn record_call(&self, success: bool, retried: bool) {
        let kind = match (success, retried) {
            (true, false) => "successful_without_retry",
            (true, true) => "successful_with_retry",
            (false, false) => "failed_without_retry",
            (false, true) => "failed_with_retry",
        };
        self.calls.with_label_values(&[self.name, kind]).inc();
    }
}

impl PeerMetrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, StartError> {
        let counter = |name: &str, help: &str, labels: &[&str]| metrics::counters(registry, name, help, labels);
        Ok(Self {
            calls: counter(
                "resilience4j_retry_calls_total",
                "Calls to peers by outcome and whether they were retried.",
                &["name", "kind"],
            )?,
            retries: counter(
                "tradepost_retries_total",
                "Retries by peer: sent, or not sent because the retry budget was exhausted.",
                &["name", "kind"],
            )?,
            requests: metrics::times(
                registry,
                "http_client_requests_seconds",
                "Attempts at HTTP calls to peers; status IO_ERROR if there was no complete response.",
                &["client_name", "uri", "method", "status", "outcome"],
            )?,
            rejected: counter("tradepost_bulkhead_rejected_total", "Calls rejected because too many were in flight.", &["name"])?,
        })
    }

    pub(super) fn of(&self, name: &'static str) -> PeerCounters {
        PeerCounters {
            requests: self.requests.clone(),
            calls: self.calls.clone(),
            name,
            retried: self.retries.with_label_values(&[name, "sent"]),
            over_budget: self.retries.with_label_values(&[name, "over_budget"]),
            bulkhead_full: self.rejected.with_label_values(&[name]),
        }
    }
}
