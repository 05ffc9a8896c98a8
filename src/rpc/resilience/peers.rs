//! The peers of this process that are called over HTTP.

use super::counters::PeerMetrics;
use super::gauges::Gauges;
use super::peer::{Peer, PeersByName};
use super::registry::BreakerRegistry;
use crate::kernel::error::StartError;
use crate::settings::Resilience;
use std::sync::Arc;

pub struct Peers {
    settings: Resilience,
    metrics: PeerMetrics,
    /// All circuit breakers of this process: one per peer, and those of the gateway's routes.
    pub breakers: BreakerRegistry,
    peers: PeersByName,
}

impl Peers {
    /// Starts without peers. Validates the settings of all peers, used or not.
    pub fn new(settings: Resilience, registry: &prometheus::Registry) -> Result<Self, StartError> {
        settings.limits("")?;
        for peer in settings.peers.keys() {
            settings.limits(peer)?;
        }
        let peers = PeersByName::default();
        let breakers = BreakerRegistry::new(registry)?;
        registry.register(Box::new(Gauges::new(peers.clone(), breakers.clone())?))?;
        let metrics = PeerMetrics::register(registry)?;
        Ok(Self { settings, metrics, breakers, peers })
    }

    /// Returns the peer's shared state; creates it on the first call.
    pub fn of(&self, module: &'static str) -> Result<Arc<Peer>, StartError> {
        let limits = self.settings.limits(module)?;
        let mut peers = self.peers.lock();
        let create = || Arc::new(Peer::new(module, limits, self.breakers.of_peer(module, limits.breaker), self.metrics.of(module)));
        Ok(peers.entry(module).or_insert_with(create).clone())
    }
}
