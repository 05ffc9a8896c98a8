//! Metrics of a database's writer, readers and file.

use crate::kernel::error::{StartError, StoreError};
use crate::observe::metrics;
use crate::observe::metrics::Pool;
use prometheus::{IntGaugeVec, Opts, Registry};

/// Registers the depth of the writer's queue as `<store>-writer`, the state of the readers, and the permits for lists as
/// `<store>-lists`.
pub(super) fn register(
    registry: &Registry,
    store: &str,
    queue_capacity: usize,
    queue_depth: impl Fn() -> usize + Send + Sync + 'static,
    readers: impl Fn() -> Pool + Send + Sync + 'static,
    lists: impl Fn() -> Pool + Send + Sync + 'static,
) -> Result<(), StartError> {
    metrics::queue(registry, &format!("{store}-writer"), queue_capacity, queue_depth)?;
    metrics::pool(registry, store, readers)?;
    metrics::pool(registry, &format!("{store}-lists"), lists)
}

/// Registers `tradepost_database_fault`. `fault` is why the database is out of service.
pub(super) fn register_fault(
    registry: &Registry,
    store: &str,
    fault: impl Fn() -> Option<StoreError> + Send + Sync + 'static,
) -> Result<(), StartError> {
    let help = "1 if a SQLite database is out of service, because its file was moved or deleted (lost) or is damaged (corrupt).";
    let gauge = IntGaugeVec::new(Opts::new("tradepost_database_fault", help).const_label("store", store), &["kind"])?;
    metrics::on_scrape(registry, vec![gauge], move |gauges| {
        let [gauge] = gauges else { return };
        let fault = fault();
        gauge.with_label_values(&["lost"]).set(matches!(fault, Some(StoreError::FileLost { .. })).into());
        gauge.with_label_values(&["corrupt"]).set(matches!(fault, Some(StoreError::Corrupt { .. })).into());
    })
}
