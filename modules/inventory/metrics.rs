//! Stock metrics.

use super::store::StockStore;
use crate::kernel::error::StartError;
use crate::observe::metrics;
use prometheus::{IntGaugeVec, Registry};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub(super) struct StockMetrics {
    skus: IntGaugeVec,
    units: IntGaugeVec,
    violations: IntGaugeVec,
}

impl StockMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, StartError> {
        let gauges = |name: &str, help: &str, label: &str| metrics::gauges(registry, name, help, &[label]);
        Ok(Self {
            skus: gauges("tradepost_stock_skus", "SKUs by state: low is at or below inventory.low_stock_threshold, and not out.", "state")?,
            units: gauges("tradepost_stock_units", "Pieces by state, of all SKUs.", "state")?,
            violations: gauges("tradepost_stock_violations", "SKUs that break an invariant of stock; 0 is right.", "invariant")?,
        })
    }

    /// Updates the gauges periodically until `stop`.
    pub(super) async fn refresh_periodically(&self, store: Arc<dyn StockStore>, stop: CancellationToken) {
        metrics::refresh_periodically("stock", stop, async || {
            let levels = store.levels().await?;
            for (state, n) in [("available", levels.available), ("low", levels.low), ("out", levels.out_of_stock)] {
                self.skus.with_label_values(&[state]).set(n);
            }
            for (state, n) in [("available", levels.quantity), ("held", levels.held), ("sold", levels.sold)] {
                self.units.with_label_values(&[state]).set(n);
            }
            for (invariant, skus) in store.count_broken().await? {
                self.violations.with_label_values(&[invariant]).set(i64::try_from(skus).unwrap_or(i64::MAX));
            }
            Ok(())
        })
        .await;
    }
}
