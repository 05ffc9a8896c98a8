//! Registry: a Eureka server over HTTP, for Tradepost's modules and for any Spring Cloud client.
//!
//! Guarantees: the next response contains every change (nothing is cached); an expired lease is evicted soon; a
//! network failure evicts no instance. Registry depends on no peer, and speaks Eureka's protocol instead of a
//! contract. On disk it stores only its password: after a start, clients register again within one renewal.

mod auth;
mod body;
mod dashboard;
mod http;
mod leases;
mod metrics;
mod peer;
mod renewal_rate;
mod replication;
mod state;
#[cfg(test)]
mod tests;
mod validate;
mod xml;

use crate::kernel::error::StartError;
use crate::runtime::{Host, Parts};
use serde_json::json;
use state::{Clock, Registry};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Builds the module with its workers.
pub fn build(host: &Host) -> Result<Parts, StartError> {
    let settings = &host.settings.registry;
    // a monotonic clock: if the system clock is set, no lease expires
    let (start, since) = (crate::kernel::clock::now_ms(), Instant::now());
    let clock: Clock = Arc::new(move || start.saturating_add(i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX)));
    let registry = Arc::new(Registry::new(settings, &host.settings.data.dir, host.settings.server.body_limit, clock)?);
    let mut parts = Parts { endpoints: http::endpoints(&registry), ..Parts::default() };
    let (evictor, interval) = (registry.clone(), Duration::from_secs(settings.eviction_interval_seconds));
    parts.worker("registry-eviction", move |stop| async move {
        while stop.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
            evictor.evict_expired();
        }
    });
    for peer in registry.peers.clone() {
        let registry = registry.clone();
        parts.worker("registry-replication", move |stop| async move { replication::run(&registry, &peer, &stop).await });
    }
    metrics::register(&registry, &host.metrics)?;
    parts.check("registry", move || {
        let (leases, now) = (registry.leases(), (registry.clock)());
        let details = json!({ "instances": leases.entries().count(), "selfPreservation": leases.self_preservation(now).active });
        std::future::ready(Ok(details))
    });
    Ok(parts)
}
