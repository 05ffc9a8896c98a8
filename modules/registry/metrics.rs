//! What is shown of the registry: looked up when somebody asks, as the registry's own rules count.

use super::peer;
use super::state::Registry;
use crate::kernel::error::StartError;
use crate::observe::metrics;
use crate::rpc::discovery::eureka::instance::Status;
use prometheus::{IntGaugeVec, Opts};
use std::sync::Arc;

const STATUSES: [Status; 5] = [Status::Up, Status::Down, Status::Starting, Status::OutOfService, Status::Unknown];

/// Shows the leases, the renewals of the last minute, whether evictions are suspended, and what other registries
/// have still to hear.
pub(super) fn show(registry: &Arc<Registry>, shown: &prometheus::Registry) -> Result<(), StartError> {
    let gauge = |name: &str, help: &str, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
    let gauges = vec![
        gauge("tradepost_registry_instances", "Registered instances by status.", &["status"])?,
        gauge("tradepost_registry_renewals_per_minute", "Renewals of the last minute, of each instance no more than it promised.", &[])?,
        gauge("tradepost_registry_renewals_expected_per_minute", "Renewals that the last minute should have brought.", &[])?,
        gauge("tradepost_registry_self_preservation", "1 while nobody is evicted, as too many renewals are missing.", &[])?,
    ];
    let leases = registry.clone();
    metrics::watched(shown, gauges, move |gauges| {
        let [instances, renewed, expected, suspended] = gauges else { return };
        let (leases, now) = (leases.leases(), (leases.clock)());
        for status in STATUSES {
            let count = leases.entries().filter(|entry| entry.instance.status == status).count();
            instances.with_label_values(&[status.name()]).set(metrics::number(count));
        }
        let preservation = leases.preservation(now);
        for (gauge, n) in [(renewed, preservation.renewed), (expected, preservation.expected), (suspended, preservation.on.into())] {
            gauge.with_label_values::<&str>(&[]).set(n);
        }
    })?;
    if registry.peers.is_empty() {
        return Ok(());
    }
    let peers = registry.peers.clone();
    let longest = move || peers.iter().map(|peer| peer.behind()).max().unwrap_or_default();
    metrics::queue(shown, "registry-replication", peer::WAITING, longest)
}
