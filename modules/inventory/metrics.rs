//! What is shown of stock.

use super::store::StockStore;
use crate::kernel::error::StartError;
use crate::observe::metrics;
use prometheus::{IntGaugeVec, Registry};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Inventory's metrics.
pub(super) struct StockMetrics {
    skus: IntGaugeVec,
    pieces: IntGaugeVec,
    violations: IntGaugeVec,
}

impl StockMetrics {
    /// Kept in this registry.
    pub(super) fn new(registry: &Registry) -> Result<Self, StartError> {
        let gauges = |name: &str, help: &str, label: &str| metrics::gauges(registry, name, help, &[label]);
        Ok(Self {
            skus: gauges("tradepost_stock_skus", "SKUs by state: low is at or below inventory.low, and not out.", "state")?,
            pieces: gauges("tradepost_stock_pieces", "Pieces by state, of all SKUs.", "state")?,
            violations: gauges("tradepost_stock_violations", "SKUs that break an invariant of stock; 0 is right.", "invariant")?,
        })
    }

    /// Looks after the gauges, until told to stop.
    pub(super) async fn keep_fresh(&self, store: Arc<dyn StockStore>, stop: CancellationToken) {
        metrics::keep_fresh("stock", stop, async || {
            let levels = store.levels().await?;
            for (state, n) in [("available", levels.available), ("low", levels.low), ("out", levels.none_left)] {
                self.skus.with_label_values(&[state]).set(n);
            }
            for (state, n) in [("available", levels.quantity), ("held", levels.held), ("sold", levels.sold)] {
                self.pieces.with_label_values(&[state]).set(n);
            }
            for (invariant, n) in [("INV-1", levels.not_conserved), ("INV-2", levels.negative)] {
                self.violations.with_label_values(&[invariant]).set(n);
            }
            Ok(())
        })
        .await;
    }
}
