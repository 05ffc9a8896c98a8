//! Sending so that the order of each key survives failures.
//!
//! The idempotent producer never leaves a gap within a partition as long as no record times out by itself.
//! So none does: it is we who lose patience, and then throw the whole producer away with all that it holds.
//! What reached the log is a beginning of what was sent; the sender sends all of it again, and consumers drop
//! what they have seen. The one exception is a record that its topic never takes: it is left out, and told.

use super::client::{Ear, refused};
use super::record::Record;
use crate::kernel::error::StoreError;
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::sync::Arc;
use std::time::Duration;

/// How long the brokers may take to acknowledge what is sent at once.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Producer {
    config: ClientConfig,
    current: Mutex<Option<Arc<Client>>>,
}

struct Client {
    producer: FutureProducer<Ear>,
    ear: Ear,
}

/// Why records are not on their topics.
enum Undelivered {
    /// One of them is larger than its topic takes, and always will be.
    TooLarge,
    /// Another time, perhaps.
    Failed(String),
}

impl Producer {
    /// Brokers may be away; a setting that librdkafka refuses is told now.
    pub(super) fn new(mut config: ClientConfig) -> Result<Self, StoreError> {
        config.set("enable.idempotence", "true").set("acks", "all").set("message.timeout.ms", "0").set("linger.ms", "2");
        config.set("message.max.bytes", super::LARGEST.to_string());
        let first = Client::new(&config).map_err(refused)?;
        Ok(Self { config, current: Mutex::new(Some(first)) })
    }

    /// Sends these in this order; all but those that are answered are acknowledged by every replica in sync when
    /// it returns. Answered are the places of those that are larger than their topic takes.
    pub(super) async fn send(&self, records: &[Record]) -> Result<Vec<usize>, StoreError> {
        if self.acknowledged(records).await? {
            return Ok(Vec::new());
        }
        // brokers refuse a whole batch: which of its records is too large is seen when each goes alone
        let mut refused = Vec::new();
        for (place, record) in records.iter().enumerate() {
            if !self.acknowledged(std::slice::from_ref(record)).await? {
                refused.push(place);
            }
        }
        Ok(refused)
    }

    /// False where one is too large; what of the others has arrived is not known then.
    async fn acknowledged(&self, records: &[Record]) -> Result<bool, StoreError> {
        if records.is_empty() {
            return Ok(true);
        }
        let client = self.current()?;
        let outcome = match tokio::time::timeout(PATIENCE, deliver(&client.producer, records)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Undelivered::Failed(format!("no acknowledgement within {} s", PATIENCE.as_secs()))),
        };
        let Err(cause) = outcome else { return Ok(true) };
        self.discard(&client);
        match cause {
            Undelivered::TooLarge => Ok(false),
            Undelivered::Failed(cause) => Err(client.ear.explain(cause)),
        }
    }

    /// A failure of another client, with what to do about it as far as this one knows: it connects to the same
    /// brokers, and hears why it cannot.
    pub(super) fn explain(&self, cause: impl ToString) -> StoreError {
        match self.current() {
            Ok(client) => client.ear.explain(cause),
            Err(error) => error,
        }
    }

    fn current(&self) -> Result<Arc<Client>, StoreError> {
        let mut current = self.current.lock();
        if let Some(client) = current.as_ref() {
            return Ok(client.clone());
        }
        let client = Client::new(&self.config).map_err(super::unavailable)?;
        *current = Some(client.clone());
        Ok(client)
    }

    /// Others who wait for the same producer fail too, and send again: no order is lost there either.
    fn discard(&self, failed: &Arc<Client>) {
        let mut current = self.current.lock();
        if current.as_ref().is_some_and(|client| Arc::ptr_eq(client, failed)) {
            let gone = current.take();
            purge(gone);
        }
    }
}

impl Client {
    fn new(config: &ClientConfig) -> KafkaResult<Arc<Self>> {
        let ear = Ear::default();
        Ok(Arc::new(Self { producer: config.create_with_context(ear.clone())?, ear }))
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        purge(self.current.get_mut().take());
    }
}

/// Its end takes up to half a second: not in the way of others.
fn purge(client: Option<Arc<Client>>) {
    use rdkafka::producer::{Producer as _, PurgeConfig};
    if let Some(client) = client {
        client.producer.purge(PurgeConfig::default().queue().inflight());
        std::thread::spawn(move || drop(client));
    }
}

async fn deliver(producer: &FutureProducer<Ear>, records: &[Record]) -> Result<(), Undelivered> {
    let failed = |cause: KafkaError| match cause.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => Undelivered::TooLarge,
        _ => Undelivered::Failed(cause.to_string()),
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
                Err(_) => Err(Undelivered::Failed("the connection was given up".into())),
            }
        });
    }
    try_join_all(deliveries).await.map(drop)
}
