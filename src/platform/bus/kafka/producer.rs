//! Sending so that the order of each key survives failures.
//!
//! The idempotent producer never leaves a gap within a partition as long as no record times out by itself.
//! So none does: it is we who lose patience, and then throw the whole producer away with all that it holds.
//! What reached the log is a beginning of what was sent; the sender sends all of it again, and consumers drop
//! what they have seen.

use super::record::Record;
use crate::platform::store::StoreError;
use futures_util::future::try_join_all;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long the brokers may take to acknowledge what is sent at once.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Producer {
    config: ClientConfig,
    current: Mutex<Option<Arc<FutureProducer>>>,
}

impl Producer {
    /// Connects when there is something to send.
    pub(super) fn new(mut config: ClientConfig) -> Self {
        config.set("enable.idempotence", "true").set("acks", "all").set("message.timeout.ms", "0").set("linger.ms", "2");
        Self { config, current: Mutex::new(None) }
    }

    /// Sends these in this order; all are acknowledged by every replica in sync when it returns.
    pub(super) async fn send(&self, records: Vec<Record>) -> Result<(), StoreError> {
        if records.is_empty() {
            return Ok(());
        }
        let producer = self.current()?;
        let outcome = match tokio::time::timeout(PATIENCE, deliver(&producer, &records)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no acknowledgement within {} s", PATIENCE.as_secs())),
        };
        outcome.map_err(|cause| {
            self.discard(&producer);
            super::unavailable(cause)
        })
    }

    fn current(&self) -> Result<Arc<FutureProducer>, StoreError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(producer) = current.as_ref() {
            return Ok(producer.clone());
        }
        let producer: Arc<FutureProducer> = Arc::new(self.config.create().map_err(super::unavailable)?);
        *current = Some(producer.clone());
        Ok(producer)
    }

    /// Others who wait for the same producer fail too, and send again: no order is lost there either.
    fn discard(&self, failed: &Arc<FutureProducer>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|producer| Arc::ptr_eq(producer, failed)) {
            let gone = current.take();
            purge(gone);
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        purge(self.current.get_mut().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Its end takes up to half a second: not in the way of others.
fn purge(producer: Option<Arc<FutureProducer>>) {
    use rdkafka::producer::{Producer as _, PurgeConfig};
    if let Some(producer) = producer {
        producer.purge(PurgeConfig::default().queue().inflight());
        std::thread::spawn(move || drop(producer));
    }
}

async fn deliver(producer: &FutureProducer, records: &[Record]) -> Result<(), String> {
    let mut deliveries = Vec::with_capacity(records.len());
    for record in records {
        let mut sent = FutureRecord::to(&record.topic).key(&record.key).headers(record.headers.clone());
        sent.payload = record.value.as_ref();
        let delivery = producer.send_result(sent).map_err(|(cause, _)| cause.to_string())?;
        deliveries.push(async move {
            match delivery.await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err((cause, _))) => Err(cause.to_string()),
                Err(_) => Err("the connection was given up".to_string()),
            }
        });
    }
    try_join_all(deliveries).await.map(drop)
}
