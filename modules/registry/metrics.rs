//! Registry metrics, computed at each scrape.

use super::peer;
use super::state::Registry;
use crate::kernel::error::StartError;
use crate::observe::metrics;
use crate::rpc::discovery::eureka::instance::Status;
use prometheus::{IntGaugeVec, Opts};
use std::sync::Arc;

const STATUSES: [Status; 5] = [Status::Up, Status::Down, Status::Starting, Status::OutOfService, Status::Unknown];

pub(super) fn register(registry: &Arc<Registry>, metrics_registry: &prometheus::Registry) -> Result<(), StartError> {
    let gauge = |name: &str, help: &str, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
    let gauges = vec![
        gauge("tradepost_registry_instances", "Registered instances by status.", &["status"])?,
        gauge("tradepost_registry_renewals_per_minute", "Renewals of the last minute; per instance at most the expected number.", &[])?,
        gauge("tradepost_registry_renewals_expected_per_minute", "Expected renewals of the last minute.", &[])?,
        gauge("tradepost_registry_self_preservation", "1 while no instance is evicted, because too many renewals are missing.", &[])?,
    ];
    let leases = registry.clone();
    metrics::on_scrape(metrics_registry, gauges, move |gauges| {
        let [instances, renewed, expected, active] = gauges else { return };
        let (leases, now) = (leases.leases(), (leases.clock)());
        for status in STATUSES {
            let count = leases.entries().filter(|entry| entry.instance.status == status).count();
            instances.with_label_values(&[status.name()]).set(metrics::gauge_value(count));
        }
        let preservation = leases.self_preservation(now);
        for (gauge, n) in [(renewed, preservation.renewed), (expected, preservation.expected), (active, preservation.active.into())] {
            gauge.with_label_values::<&str>(&[]).set(n);
        }
    })?;
    if registry.peers.is_empty() {
        return Ok(());
    }
    let peers = registry.peers.clone();
    let longest = move || peers.iter().map(|peer| peer.backlog()).max().unwrap_or_default();
    metrics::queue(metrics_registry, "registry-replication", peer::MAX_QUEUED, longest)
}
