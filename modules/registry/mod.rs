//! Registry knows which instances of which module there are: a Eureka server over HTTP, for our own
//! modules and for any Spring Cloud client.
//!
//! It promises that a change is in the next answer (nothing is cached), that an instance whose lease
//! has ended goes soon, and that none goes because the network failed. It depends on no peer, speaks
//! Eureka's protocol instead of a contract of ours, and keeps nothing on disk but its password: after
//! a start its clients tell it all again within one renewal.

mod access;
mod body;
mod http;
mod leases;
mod metrics;
mod page;
mod peer;
mod rates;
mod replication;
mod state;
#[cfg(test)]
mod tests;
mod validate;
mod xml;

use crate::kernel::error::StartError;
use crate::runtime::host::{Host, Parts};
use serde_json::json;
use state::{Clock, Registry};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Builds the module with what runs beside it.
pub fn build(host: &Host) -> Result<Parts, StartError> {
    let settings = &host.settings.registry;
    // a clock that is set while we run must end no lease
    let (start, since) = (crate::kernel::clock::now_ms(), Instant::now());
    let clock: Clock = Arc::new(move || start.saturating_add(i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX)));
    let registry = Arc::new(Registry::new(settings, &host.settings.data.dir, host.settings.server.body_limit, clock)?);
    let mut parts = Parts { endpoints: http::endpoints(&registry), ..Parts::default() };
    let (sweeper, every) = (registry.clone(), Duration::from_secs(settings.sweep_seconds));
    parts.worker("registry-sweep", move |stop| async move {
        while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
            sweeper.sweep();
        }
    });
    for peer in registry.peers.clone() {
        let registry = registry.clone();
        parts.worker("registry-replication", move |stop| async move { replication::run(&registry, &peer, &stop).await });
    }
    metrics::show(&registry, &host.metrics)?;
    parts.check("registry", move || {
        let (leases, now) = (registry.leases(), (registry.clock)());
        let shown = json!({ "instances": leases.entries().count(), "selfPreservation": leases.preservation(now).on });
        std::future::ready(Ok(shown))
    });
    Ok(parts)
}
