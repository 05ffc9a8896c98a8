//! What is counted of orders, and what is shown of those that are not at their end.

use super::store::OrderStore;
use crate::kernel::error::StartError;
use crate::kernel::money::Money;
use crate::modules::inventory::api::StockCheck;
use crate::observe::metrics;
use prometheus::{Counter, IntCounterVec, IntGaugeVec, Registry};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What became of an order.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    /// Accepted.
    Placed,
    /// Refused: there is not enough of an SKU, or nothing.
    InsufficientStock,
    /// Refused: it names an SKU that is no product, or of which no stock is kept.
    UnknownProduct,
    /// Refused: its reservation was let go before the order was placed.
    Expired,
    /// Its caller was turned away, as product or inventory did not answer.
    PeerUnavailable,
    /// Its caller was turned away, as our own store did not answer.
    StoreUnavailable,
    /// Cancelled by whose order it is.
    CancelledByCustomer,
    /// Cancelled by an administrator.
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

    /// Why stock refused an order; where none of it did, its reservation was let go.
    pub(super) fn refused(stock: Option<&StockCheck>) -> Self {
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

/// Order's metrics.
pub(super) struct OrderMetrics {
    outcomes: IntCounterVec,
    value: Counter,
    // of no value before the first look: 0 would say that all is well
    pending: IntGaugeVec,
    oldest: IntGaugeVec,
}

impl OrderMetrics {
    /// Kept in this registry; every outcome is there from the start, so that its first time is a rise.
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

    /// Counts what became of an order.
    pub(super) fn ended(&self, outcome: Outcome) {
        self.outcomes.with_label_values(&outcome.labels()).inc();
    }

    /// Counts a placed order of this total.
    pub(super) fn placed(&self, total: Money) {
        self.ended(Outcome::Placed);
        self.value.inc_by(total.approximately());
    }

    /// Looks after the gauges, until told to stop.
    pub(super) async fn keep_fresh(&self, store: Arc<dyn OrderStore>, stop: CancellationToken) {
        metrics::keep_fresh("orders", stop, async || {
            let open = store.open_ends().await?;
            self.pending.with_label_values::<&str>(&[]).set(open.pending);
            self.oldest.with_label_values::<&str>(&[]).set(metrics::age_seconds(open.oldest_pending));
            Ok(())
        })
        .await;
    }
}
