//! A producer that keeps the order of each key across failures.
//!
//! The idempotent producer leaves no gap within a partition as long as no single record times out. So records have no
//! timeout; the batch has, and when it expires the whole producer is discarded with its queue. The log then has a prefix
//! of the batch. The sender sends the batch again, and consumers drop the duplicates. The one exception is a record that
//! its topic can never accept: it is skipped and reported.

use super::client::{ConnectionObserver, invalid_config};
use super::error::unavailable;
use super::record::{MAX_RECORD_BYTES, Record};
use crate::kernel::error::StoreError;
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::sync::Arc;
use std::time::Duration;

/// How long the brokers may take to acknowledge a batch.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Producer {
    config: ClientConfig,
    current: Mutex<Option<Arc<Client>>>,
}

struct Client {
    producer: FutureProducer<ConnectionObserver>,
    observer: ConnectionObserver,
}

/// Why a batch was not delivered.
enum DeliveryError {
    /// A record is larger than its topic allows. A retry cannot succeed.
    TooLarge,
    /// A retry may succeed.
    Failed(String),
}

impl Producer {
    /// Fails only on settings that librdkafka rejects: unavailable brokers are no error yet.
    pub(super) fn new(mut config: ClientConfig) -> Result<Self, StoreError> {
        config.set("enable.idempotence", "true").set("acks", "all").set("message.timeout.ms", "0").set("linger.ms", "2");
        config.set("message.max.bytes", MAX_RECORD_BYTES.to_string());
        let first = Client::new(&config).map_err(invalid_config)?;
        Ok(Self { config, current: Mutex::new(Some(first)) })
    }

    /// Sends the records in this order. Returns the indexes of records that are larger than their topic allows; all others
    /// are then acknowledged by every in-sync replica.
    pub(super) async fn send(&self, records: &[Record]) -> Result<Vec<usize>, StoreError> {
        if self.acknowledged(records).await? {
            return Ok(Vec::new());
        }
        // brokers reject a batch as a whole; sending each record alone finds the ones that are too large
        let mut refused = Vec::new();
        for (index, record) in records.iter().enumerate() {
            if !self.acknowledged(std::slice::from_ref(record)).await? {
                refused.push(index);
            }
        }
        Ok(refused)
    }

    /// False if a record is too large; then the outcome of the others is unknown.
    async fn acknowledged(&self, records: &[Record]) -> Result<bool, StoreError> {
        if records.is_empty() {
            return Ok(true);
        }
        let client = self.current()?;
        let outcome = match tokio::time::timeout(ACK_TIMEOUT, deliver(&client.producer, records)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(DeliveryError::Failed(format!("no acknowledgement within {} s", ACK_TIMEOUT.as_secs()))),
        };
        let Err(cause) = outcome else { return Ok(true) };
        self.discard(&client);
        match cause {
            DeliveryError::TooLarge => Ok(false),
            DeliveryError::Failed(cause) => Err(client.observer.explain(cause)),
        }
    }

    /// An error of another client, with this client's advice: it connects to the same brokers, and its observer records
    /// connection errors.
    pub(super) fn explain(&self, cause: impl ToString) -> StoreError {
        match self.current() {
            Ok(client) => client.observer.explain(cause),
            Err(error) => error,
        }
    }

    fn current(&self) -> Result<Arc<Client>, StoreError> {
        let mut current = self.current.lock();
        if let Some(client) = current.as_ref() {
            return Ok(client.clone());
        }
        let client = Client::new(&self.config).map_err(unavailable)?;
        *current = Some(client.clone());
        Ok(client)
    }

    /// Other batches in the same producer fail too and are sent again, so they keep their order as well.
    fn discard(&self, failed: &Arc<Client>) {
        let mut current = self.current.lock();
        if current.as_ref().is_some_and(|client| Arc::ptr_eq(client, failed)) {
            let discarded = current.take();
            purge(discarded);
        }
    }
}

impl Client {
    fn new(config: &ClientConfig) -> KafkaResult<Arc<Self>> {
        let observer = ConnectionObserver::default();
        Ok(Arc::new(Self { producer: config.create_with_context(observer.clone())?, observer }))
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        purge(self.current.get_mut().take());
    }
}

/// Dropping a client takes up to half a second, so a thread does it.
fn purge(client: Option<Arc<Client>>) {
    use rdkafka::producer::{Producer as _, PurgeConfig};
    if let Some(client) = client {
        client.producer.purge(PurgeConfig::default().queue().inflight());
        std::thread::spawn(move || drop(client));
    }
}

async fn deliver(producer: &FutureProducer<ConnectionObserver>, records: &[Record]) -> Result<(), DeliveryError> {
    let failed = |cause: KafkaError| match cause.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => DeliveryError::TooLarge,
        _ => DeliveryError::Failed(cause.to_string()),
    };
    let mut deliveries = Vec::with_capacity(records.len());
    for record in records {
        let mut sent = FutureRecord::to(&record.topic).key(&record.key).headers(record.headers.clone());
        sent.payload = record.value.as_ref();
        let delivery = producer.send_result(sent).map_err(|(cause, _)| failed(cause))?;
        deliveries.push(async move {
            match delivery.await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err((cause, _))) => Err(failed(cause)),
                Err(_) => Err(DeliveryError::Failed("the producer was discarded".into())),
            }
        });
    }
    try_join_all(deliveries).await.map(drop)
}
