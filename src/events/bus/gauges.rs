//! Metrics of this process's consumer groups and outboxes.

use super::outbox::Outbox;
use super::transport::Bus;
use crate::kernel::error::StartError;
use crate::observe::metrics;
use prometheus::{IntGaugeVec, Registry};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub struct BusMetrics {
    lag: IntGaugeVec,
    dead_letters: IntGaugeVec,
    pending: IntGaugeVec,
    oldest: IntGaugeVec,
    refused: IntGaugeVec,
}

impl BusMetrics {
    pub fn new(registry: &Registry) -> Result<Self, StartError> {
        let register = |name: &str, help: &str, label: &str| metrics::gauges(registry, name, help, &[label]);
        Ok(Self {
            lag: register("tradepost_bus_lag", "Events published and not yet processed by this group.", "group")?,
            dead_letters: register("tradepost_dead_letters", "Dead letters of this group.", "group")?,
            pending: register("tradepost_outbox_pending", "Events not published to the bus yet.", "module")?,
            oldest: register("tradepost_outbox_oldest_seconds", "Age of the oldest unpublished event; 0 if there is none.", "module")?,
            refused: register("tradepost_outbox_refused", "Events that the bus refused permanently.", "module")?,
        })
    }

    /// Updates the metrics of an outbox until `stop` is cancelled.
    pub async fn watch_outbox(&self, outbox: Arc<dyn Outbox>, stop: CancellationToken) {
        let module = [outbox.module()];
        metrics::refresh_periodically("outbox", stop, async || {
            let backlog = outbox.backlog().await?;
            // no value until the first count: 0 would be wrong
            self.pending.with_label_values(&module).set(backlog.pending);
            self.oldest.with_label_values(&module).set(metrics::age_seconds(backlog.oldest_ms));
            self.refused.with_label_values(&module).set(backlog.refused);
            Ok(())
        })
        .await;
    }

    /// Updates the lag and the dead letters of a group until `stop` is cancelled.
    pub async fn watch_group(&self, bus: Arc<dyn Bus>, group: &'static str, stop: CancellationToken) {
        metrics::refresh_periodically("bus", stop, async || {
            // on Kafka the lag is unknown until the group reads in this process; the dead letters are known
            let (lag, dead_letters) = (bus.lag(group).await, bus.count_dead_letters(group).await);
            self.dead_letters.with_label_values(&[group]).set(dead_letters?);
            self.lag.with_label_values(&[group]).set(lag?);
            Ok(())
        })
        .await;
    }
}
