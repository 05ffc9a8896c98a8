//! Order metrics: outcomes, order value, and PENDING orders.

use super::store::OrderStore;
use crate::kernel::error::StartError;
use crate::kernel::money::Money;
use crate::modules::contracts::inventory::StockCheck;
use crate::observe::metrics;
use prometheus::{Counter, IntCounterVec, IntGaugeVec, Registry};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// How an attempt to place or cancel an order ended.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    Placed,
    /// Rejected: stock of an SKU does not suffice.
    InsufficientStock,
    /// Rejected: an SKU is unknown to product or to inventory.
    UnknownProduct,
    /// Rejected: the reservation was released before the order was placed.
    Expired,
    /// Not placed: product or inventory did not respond.
    PeerUnavailable,
    /// Not placed: order's own store did not respond.
    StoreUnavailable,
    CancelledByCustomer,
    CancelledByAdmin,
}

impl Outcome {
    const ALL: [Self; 8] = [
        Self::Placed,
        Self::InsufficientStock,
        Self::UnknownProduct,
        Self::Expired,
        Self::PeerUnavailable,
        Self::StoreUnavailable,
        Self::CancelledByCustomer,
        Self::CancelledByAdmin,
    ];

    /// Outcome of a rejected order. Without a stock check, its reservation was released.
    pub(super) fn rejected(stock: Option<&StockCheck>) -> Self {
        match stock {
            None => Self::Expired,
            Some(stock) if stock.invalid.is_empty() => Self::InsufficientStock,
            Some(_) => Self::UnknownProduct,
        }
    }

    /// The labels `outcome` and `reason`.
    fn labels(self) -> [&'static str; 2] {
        match self {
            Self::Placed => ["placed", "none"],
            Self::InsufficientStock => ["rejected", "insufficient_stock"],
            Self::UnknownProduct => ["rejected", "unknown_product"],
            Self::Expired => ["rejected", "expired"],
            Self::PeerUnavailable => ["unavailable", "peer_unavailable"],
            Self::StoreUnavailable => ["unavailable", "store_unavailable"],
            Self::CancelledByCustomer => ["cancelled", "by_customer"],
            Self::CancelledByAdmin => ["cancelled", "by_admin"],
        }
    }
}

pub(super) struct OrderMetrics {
    outcomes: IntCounterVec,
    value: Counter,
    // without a value until the first refresh: 0 would mean that no order is PENDING
    pending: IntGaugeVec,
    oldest: IntGaugeVec,
}

impl OrderMetrics {
    /// Registers every outcome with 0, so that `rate()` counts its first occurrence.
    pub(super) fn new(registry: &Registry) -> Result<Self, StartError> {
        let outcomes = metrics::counters(registry, "tradepost_orders_total", "Orders by outcome and reason.", &["outcome", "reason"])?;
        for outcome in Outcome::ALL {
            outcomes.with_label_values(&outcome.labels());
        }
        let value = Counter::new("tradepost_order_value_total", "Sum of the totals of placed orders, in the shop's currency.")?;
        registry.register(Box::new(value.clone()))?;
        Ok(Self {
            outcomes,
            value,
            pending: metrics::gauges(registry, "tradepost_orders_pending", "Orders without an end state.", &[])?,
            oldest: metrics::gauges(
                registry,
                "tradepost_orders_pending_oldest_seconds",
                "Age of the oldest order without an end state; 0 where there is none.",
                &[],
            )?,
        })
    }

    pub(super) fn record(&self, outcome: Outcome) {
        self.outcomes.with_label_values(&outcome.labels()).inc();
    }

    pub(super) fn record_placed(&self, total: Money) {
        self.record(Outcome::Placed);
        self.value.inc_by(total.to_f64_lossy());
    }

    pub(super) async fn refresh_periodically(&self, store: Arc<dyn OrderStore>, stop: CancellationToken) {
        metrics::refresh_periodically("orders", stop, async || {
            let stats = store.unfinished_stats().await?;
            self.pending.with_label_values::<&str>(&[]).set(stats.pending);
            self.oldest.with_label_values::<&str>(&[]).set(metrics::age_seconds(stats.oldest_pending));
            Ok(())
        })
        .await;
    }
}
