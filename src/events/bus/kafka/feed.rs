//! A member of a consumer group, on a thread of its own: hands out batches one at a time, and commits their
//! positions once they are applied.
//!
//! While a batch is being applied, however long its store is away, the member stays in its group: what it
//! reads is paused and it goes on answering. Whatever is taken from it meanwhile is given to another member
//! from the last committed position, so applied twice at worst, which the inbox drops.

use super::client::Ear;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Records given to a consumer at once.
const BATCH: usize = 200;
/// How long to wait for the first record of a batch: also how soon an end is noticed.
const WAIT: Duration = Duration::from_millis(200);
/// How long leaving the group may take at a stop.
const GOODBYE: Duration = Duration::from_secs(4);

pub(super) struct Feed {
    batches: mpsc::Receiver<Vec<OwnedMessage>>,
    applied: Sender<()>,
    ended: oneshot::Receiver<KafkaResult<()>>,
}

impl Feed {
    /// Joins the group of this configuration.
    pub(super) fn start(config: &ClientConfig, topics: &[String]) -> KafkaResult<Self> {
        let consumer: BaseConsumer<Ear> = config.create_with_context(Ear::default())?;
        consumer.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>())?;
        let (give, batches) = mpsc::channel(1);
        let (applied, done) = channel();
        let (end, ended) = oneshot::channel();
        std::thread::spawn(move || {
            let outcome = Member { consumer, batches: give, done, early: Vec::new(), uncommitted: HashMap::new() }.run();
            let _ = end.send(outcome);
        });
        Ok(Self { batches, applied, ended })
    }

    /// The next batch; the one before must have been [applied](Self::applied). None: the member is at its end.
    pub(super) async fn next(&mut self) -> Option<Vec<OwnedMessage>> {
        self.batches.recv().await
    }

    /// The batch's transaction is committed.
    pub(super) fn applied(&self) {
        let _ = self.applied.send(());
    }

    /// Leaves the group, after what was applied is committed; a broker that is away is not waited for.
    pub(super) async fn close(self) -> Result<(), CloseError> {
        drop((self.batches, self.applied));
        match tokio::time::timeout(GOODBYE, self.ended).await {
            Ok(Ok(outcome)) => Ok(outcome?),
            Ok(Err(_)) => Err(CloseError::Gone),
            Err(_) => Err(CloseError::Timeout),
        }
    }
}

/// Why a member did not leave its group in order.
#[derive(Debug, thiserror::Error)]
pub(super) enum CloseError {
    #[error("{0}")]
    Client(#[from] KafkaError),
    #[error("its thread is gone")]
    Gone,
    #[error("the brokers do not answer")]
    Timeout,
}

struct Member {
    consumer: BaseConsumer<Ear>,
    batches: mpsc::Sender<Vec<OwnedMessage>>,
    done: Receiver<()>,
    /// What came although it was paused: first in the next batch.
    early: Vec<OwnedMessage>,
    /// Where to go on, by topic and partition, as far as the brokers do not know it yet.
    uncommitted: HashMap<(String, i32), i64>,
}

impl Member {
    fn run(mut self) -> KafkaResult<()> {
        while !self.batches.is_closed() {
            let batch = self.gather()?;
            if !batch.is_empty() {
                let next: Vec<_> =
                    batch.iter().map(|message| ((message.topic().to_string(), message.partition()), message.offset() + 1)).collect();
                if self.batches.blocking_send(batch).is_err() || !self.wait()? {
                    break;
                }
                self.uncommitted.extend(next);
            }
            self.commit();
        }
        Ok(())
    }

    fn gather(&mut self) -> KafkaResult<Vec<OwnedMessage>> {
        let mut batch = std::mem::take(&mut self.early);
        let mut wait = if batch.is_empty() { WAIT } else { Duration::ZERO };
        while batch.len() < BATCH
            && let Some(message) = self.poll(wait)?
        {
            batch.push(message);
            wait = Duration::ZERO;
        }
        Ok(batch)
    }

    fn poll(&self, wait: Duration) -> KafkaResult<Option<OwnedMessage>> {
        match self.consumer.poll(wait) {
            None => Ok(None),
            Some(Ok(message)) => Ok(Some(message.detach())),
            Some(Err(cause @ KafkaError::MessageConsumptionFatal(_))) => Err(cause),
            Some(Err(cause)) => {
                // the client goes on by itself: brokers that are away, a partition that moves
                tracing::info!(%cause, "kafka: nothing read right now");
                Ok(None)
            }
        }
    }

    /// Until the batch is applied; false where it never will be.
    fn wait(&mut self) -> KafkaResult<bool> {
        let mut paused = false;
        let applied = loop {
            match self.done.recv_timeout(WAIT) {
                Ok(()) => break true,
                Err(RecvTimeoutError::Disconnected) => break false,
                Err(RecvTimeoutError::Timeout) => {
                    self.consumer.pause(&self.consumer.assignment()?)?;
                    paused = true;
                    self.early.extend(self.poll(Duration::ZERO)?);
                }
            }
        };
        if paused {
            self.consumer.resume(&self.consumer.assignment()?)?;
        }
        Ok(applied)
    }

    /// Tried again after the next batch or moment where it fails.
    fn commit(&mut self) {
        let Ok(assigned) = self.consumer.assignment() else { return };
        // the positions of partitions that another member has now are that one's to move
        self.uncommitted.retain(|(topic, partition), _| assigned.find_partition(topic, *partition).is_some());
        if self.uncommitted.is_empty() {
            return;
        }
        let mut positions = TopicPartitionList::new();
        for ((topic, partition), offset) in &self.uncommitted {
            if let Err(cause) = positions.add_partition_offset(topic, *partition, Offset::Offset(*offset)) {
                tracing::warn!(%cause, topic, partition, offset, "kafka: a position that cannot be committed");
            }
        }
        match self.consumer.commit(&positions, CommitMode::Sync) {
            Ok(()) => self.uncommitted.clear(),
            Err(cause) => tracing::warn!(%cause, "kafka: positions not committed; will try again"),
        }
    }
}
