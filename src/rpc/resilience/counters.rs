//! Metrics of the calls to peers and of circuit breakers, named like Resilience4j's Micrometer metrics.
//! Labels are fixed words and names that an operator gave: never a client's.

use super::breaker::State;
use super::registry::Breakers;
use super::{Shared, listed};
use crate::kernel::error::StartError;
use crate::observe::metrics;
use crate::rpc::contract::Operation;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Error, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};
use std::time::Duration;

/// The counters of all peers.
pub(super) struct Meters {
    ended: IntCounterVec,
    attempts: IntCounterVec,
    rejected: IntCounterVec,
    requests: HistogramVec,
}

/// Those of one peer.
pub(super) struct Counters {
    requests: HistogramVec,
    ended: IntCounterVec,
    name: &'static str,
    pub(super) retried: IntCounter,
    pub(super) over_budget: IntCounter,
    pub(super) bulkhead_full: IntCounter,
}

impl Counters {
    /// An attempt at a call of this operation ended: with an answer's status, or with none.
    pub(super) fn attempted(&self, operation: &Operation, status: Option<u16>, elapsed: Duration) {
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

    /// A call ended with an outcome that counts.
    pub(super) fn answered(&self, success: bool, retried: bool) {
        let kind = match (success, retried) {
            (true, false) => "successful_without_retry",
            (true, true) => "successful_with_retry",
            (false, false) => "failed_without_retry",
            (false, true) => "failed_with_retry",
        };
        self.ended.with_label_values(&[self.name, kind]).inc();
    }
}

impl Meters {
    pub(super) fn register(registry: &Registry, all: Shared, breakers: Breakers) -> Result<Self, StartError> {
        let counter = |name: &str, help: &str, labels: &[&str]| metrics::counters(registry, name, help, labels);
        registry.register(Box::new(Gauges::new(all, breakers)?))?;
        Ok(Self {
            ended: counter(
                "resilience4j_retry_calls_total",
                "Calls to peers by outcome and whether they were retried.",
                &["name", "kind"],
            )?,
            attempts: counter("tradepost_retries_total", "Retries by peer: sent, or not sent for want of budget.", &["name", "kind"])?,
            requests: metrics::times(
                registry,
                "http_client_requests_seconds",
                "Attempts at calls of peers over HTTP; status IO_ERROR where no whole answer came.",
                &["client_name", "uri", "method", "status", "outcome"],
            )?,
            rejected: counter("tradepost_bulkhead_rejected_total", "Calls refused because too many were in flight.", &["name"])?,
        })
    }

    pub(super) fn of(&self, name: &'static str) -> Counters {
        Counters {
            requests: self.requests.clone(),
            ended: self.ended.clone(),
            name,
            retried: self.attempts.with_label_values(&[name, "sent"]),
            over_budget: self.attempts.with_label_values(&[name, "over_budget"]),
            bulkhead_full: self.rejected.with_label_values(&[name]),
        }
    }
}

/// What is looked up when somebody asks.
struct Gauges {
    all: Shared,
    breakers: Breakers,
    state: IntGaugeVec,
    seats: IntGaugeVec,
}

impl Gauges {
    fn new(all: Shared, breakers: Breakers) -> Result<Self, Error> {
        let state = Opts::new("resilience4j_circuitbreaker_state", "1 for the state that a circuit breaker is in.");
        let seats = Opts::new("resilience4j_bulkhead_available_concurrent_calls", "Calls that may be begun now.");
        Ok(Self { all, breakers, state: IntGaugeVec::new(state, &["name", "state"])?, seats: IntGaugeVec::new(seats, &["name"])? })
    }
}

impl Collector for Gauges {
    fn desc(&self) -> Vec<&Desc> {
        [self.state.desc(), self.seats.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.state.reset();
        for guard in self.breakers.listed() {
            let now = guard.breaker.snapshot().state;
            for state in State::ALL {
                self.state.with_label_values(&[guard.name(), &state.name().to_lowercase()]).set(i64::from(state == now));
            }
        }
        for peer in listed(&self.all) {
            self.seats.with_label_values(&[peer.module]).set(i64::try_from(peer.seats.available_permits()).unwrap_or(i64::MAX));
        }
        [self.state.collect(), self.seats.collect()].concat()
    }
}
