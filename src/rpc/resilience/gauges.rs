//! Gauges of circuit breakers and bulkheads, named like Resilience4j's Micrometer metrics. Read at each scrape.

use super::breaker::State;
use super::peer::{Peer, PeersByName};
use super::registry::BreakerRegistry;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Error, IntGaugeVec, Opts};
use std::sync::Arc;

pub(super) struct Gauges {
    peers: PeersByName,
    breakers: BreakerRegistry,
    state: IntGaugeVec,
    available_calls: IntGaugeVec,
}

impl Gauges {
    pub(super) fn new(peers: PeersByName, breakers: BreakerRegistry) -> Result<Self, Error> {
        let state = Opts::new("resilience4j_circuitbreaker_state", "1 for the state that a circuit breaker is in.");
        let available_calls = Opts::new("resilience4j_bulkhead_available_concurrent_calls", "Calls that the bulkhead would permit now.");
        let state = IntGaugeVec::new(state, &["name", "state"])?;
        Ok(Self { peers, breakers, state, available_calls: IntGaugeVec::new(available_calls, &["name"])? })
    }
}

impl Collector for Gauges {
    fn desc(&self) -> Vec<&Desc> {
        [self.state.desc(), self.available_calls.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.state.reset();
        for guard in self.breakers.all() {
            let current = guard.breaker.snapshot().state;
            for state in State::ALL {
                self.state.with_label_values(&[guard.name(), &state.name().to_lowercase()]).set(i64::from(state == current));
            }
        }
        let peers: Vec<Arc<Peer>> = self.peers.lock().values().cloned().collect();
        for peer in peers {
            self.available_calls.with_label_values(&[peer.module]).set(i64::try_from(peer.available_calls()).unwrap_or(i64::MAX));
        }
        [self.state.collect(), self.available_calls.collect()].concat()
    }
}
