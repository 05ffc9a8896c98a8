//! Metrics of the calls to peers, named like Resilience4j's Micrometer metrics. Labels are peers' names
//! and fixed words: there are never more than modules.

use super::breaker::State;
use super::{Shared, listed};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Error, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

/// The counters of all peers.
pub(super) struct Meters {
    calls: IntCounterVec,
    ended: IntCounterVec,
    attempts: IntCounterVec,
    rejected: IntCounterVec,
}

/// Those of one peer.
pub(super) struct Counters {
    successful: IntCounter,
    failed: IntCounter,
    pub(super) not_permitted: IntCounter,
    ended: IntCounterVec,
    name: &'static str,
    pub(super) retried: IntCounter,
    pub(super) over_budget: IntCounter,
    pub(super) bulkhead_full: IntCounter,
}

impl Counters {
    /// A call ended with an outcome that counts.
    pub(super) fn answered(&self, success: bool, retried: bool) {
        let (calls, kind) = match (success, retried) {
            (true, false) => (&self.successful, "successful_without_retry"),
            (true, true) => (&self.successful, "successful_with_retry"),
            (false, false) => (&self.failed, "failed_without_retry"),
            (false, true) => (&self.failed, "failed_with_retry"),
        };
        calls.inc();
        self.ended.with_label_values(&[self.name, kind]).inc();
    }
}

impl Meters {
    pub(super) fn register(registry: &Registry, all: Shared) -> Result<Self, Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, Error>(counter)
        };
        registry.register(Box::new(Gauges::new(all)?))?;
        Ok(Self {
            calls: counter("resilience4j_circuitbreaker_calls_total", "Calls to peers by outcome.", &["name", "kind"])?,
            ended: counter(
                "resilience4j_retry_calls_total",
                "Calls to peers by outcome and whether they were retried.",
                &["name", "kind"],
            )?,
            attempts: counter("tradepost_retries_total", "Retries by peer: sent, or not sent for want of budget.", &["name", "kind"])?,
            rejected: counter("tradepost_bulkhead_rejected_total", "Calls refused because too many were in flight.", &["name"])?,
        })
    }

    pub(super) fn of(&self, name: &'static str) -> Counters {
        Counters {
            successful: self.calls.with_label_values(&[name, "successful"]),
            failed: self.calls.with_label_values(&[name, "failed"]),
            not_permitted: self.calls.with_label_values(&[name, "not_permitted"]),
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
    state: IntGaugeVec,
    seats: IntGaugeVec,
}

impl Gauges {
    fn new(all: Shared) -> Result<Self, Error> {
        let state = Opts::new("resilience4j_circuitbreaker_state", "1 for the state that a peer's circuit breaker is in.");
        let seats = Opts::new("resilience4j_bulkhead_available_concurrent_calls", "Calls that may be begun now.");
        Ok(Self { all, state: IntGaugeVec::new(state, &["name", "state"])?, seats: IntGaugeVec::new(seats, &["name"])? })
    }
}

impl Collector for Gauges {
    fn desc(&self) -> Vec<&Desc> {
        [self.state.desc(), self.seats.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for peer in listed(&self.all) {
            let now = peer.breaker.snapshot().state;
            for state in State::ALL {
                self.state.with_label_values(&[peer.module, &state.name().to_lowercase()]).set(i64::from(state == now));
            }
            self.seats.with_label_values(&[peer.module]).set(i64::try_from(peer.seats.available_permits()).unwrap_or(i64::MAX));
        }
        [self.state.collect(), self.seats.collect()].concat()
    }
}
