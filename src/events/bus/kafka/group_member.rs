//! A member of a consumer group, on its own thread: delivers batches one at a time, and commits their positions after they
//! are applied.
//!
//! While a batch is being applied, however long its store is unavailable, the member stays in its group: it pauses its
//! partitions and keeps polling. If the group reassigns a partition meanwhile, the new member starts at the last committed
//! position. At worst events are delivered twice, and the inbox drops the second delivery.

use super::client::ConnectionObserver;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Maximum number of records in a batch.
const MAX_BATCH: usize = 200;
/// How long to wait for the first record of a batch; also the longest delay of a stop.
const POLL_TIMEOUT: Duration = Duration::from_millis(200);
/// How long leaving the group may take at a stop.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(4);

/// Handle on a member's thread.
pub(super) struct GroupMember {
    batches: mpsc::Receiver<Vec<OwnedMessage>>,
    applied: Sender<()>,
    ended: oneshot::Receiver<KafkaResult<()>>,
}

impl GroupMember {
    /// Joins the group of this configuration.
    pub(super) fn start(config: &ClientConfig, topics: &[String]) -> KafkaResult<Self> {
        let consumer: BaseConsumer<ConnectionObserver> = config.create_with_context(ConnectionObserver::default())?;
        consumer.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>())?;
        let (sender, batches) = mpsc::channel(1);
        let (applied, done) = channel();
        let (end, ended) = oneshot::channel();
        std::thread::spawn(move || {
            let outcome =
                MemberThread { consumer, batches: sender, done, early: Vec::new(), uncommitted: HashMap::new(), paused: HashSet::new() }
                    .run();
            let _ = end.send(outcome);
        });
        Ok(Self { batches, applied, ended })
    }

    /// The next batch; to be called after the previous one is [applied](Self::applied). `None`: the client has failed.
    pub(super) async fn next(&mut self) -> Option<Vec<OwnedMessage>> {
        self.batches.recv().await
    }

    /// To be called after the batch's transaction is committed.
    pub(super) fn applied(&self) {
        let _ = self.applied.send(());
    }

    /// Commits the positions of applied batches and leaves the group. Gives up after a timeout if the brokers do not answer.
    pub(super) async fn close(self) -> Result<(), CloseError> {
        drop((self.batches, self.applied));
        match tokio::time::timeout(LEAVE_TIMEOUT, self.ended).await {
            Ok(Ok(outcome)) => Ok(outcome?),
            Ok(Err(_)) => Err(CloseError::Panicked),
            Err(_) => Err(CloseError::Timeout),
        }
    }
}

/// Why a member did not leave its group cleanly.
#[derive(Debug, thiserror::Error)]
pub(super) enum CloseError {
    #[error("{0}")]
    Client(#[from] KafkaError),
    #[error("its thread panicked")]
    Panicked,
    #[error("the brokers do not answer")]
    Timeout,
}

struct MemberThread {
    consumer: BaseConsumer<ConnectionObserver>,
    batches: mpsc::Sender<Vec<OwnedMessage>>,
    done: Receiver<()>,
    /// Records received in spite of the pause: they begin the next batch.
    early: Vec<OwnedMessage>,
    /// Next positions by topic and partition, not committed yet.
    uncommitted: HashMap<(String, i32), i64>,
    /// Partitions that are paused, also those that another member has now: the client keeps the pause until it has them
    /// again.
    paused: HashSet<(String, i32)>,
}

impl MemberThread {
    fn run(mut self) -> KafkaResult<()> {
        while !self.batches.is_closed() {
            self.resume()?;
            let batch = self.collect_batch()?;
            if !batch.is_empty() {
                let next: Vec<_> =
                    batch.iter().map(|message| ((message.topic().to_string(), message.partition()), message.offset() + 1)).collect();
                if self.batches.blocking_send(batch).is_err() || !self.wait_until_applied()? {
                    break;
                }
                self.uncommitted.extend(next);
            }
            self.commit();
        }
        Ok(())
    }

    fn collect_batch(&mut self) -> KafkaResult<Vec<OwnedMessage>> {
        let mut batch = std::mem::take(&mut self.early);
        let mut wait = if batch.is_empty() { POLL_TIMEOUT } else { Duration::ZERO };
        while batch.len() < MAX_BATCH
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
                // the client recovers by itself: brokers unavailable, a partition moved
                tracing::info!(%cause, "kafka: poll failed; the client retries");
                Ok(None)
            }
        }
    }

    /// Blocks until the batch is applied; false if the handle was dropped instead.
    fn wait_until_applied(&mut self) -> KafkaResult<bool> {
        loop {
            match self.done.recv_timeout(POLL_TIMEOUT) {
                Ok(()) => return Ok(true),
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
                Err(RecvTimeoutError::Timeout) => {
                    self.pause()?;
                    self.early.extend(self.poll(Duration::ZERO)?);
                }
            }
        }
    }

    fn pause(&mut self) -> KafkaResult<()> {
        let assigned = self.consumer.assignment()?;
        self.consumer.pause(&assigned)?;
        self.paused.extend(assigned.elements().iter().map(|element| (element.topic().to_string(), element.partition())));
        Ok(())
    }

    /// Resumes each paused partition that this member has. A partition that was reassigned meanwhile is resumed when it
    /// returns.
    fn resume(&mut self) -> KafkaResult<()> {
        if self.paused.is_empty() {
            return Ok(());
        }
        let mut assigned = TopicPartitionList::new();
        for element in self.consumer.assignment()?.elements() {
            if self.paused.remove(&(element.topic().to_string(), element.partition())) {
                assigned.add_partition(element.topic(), element.partition());
            }
        }
        self.consumer.resume(&assigned)
    }

    /// On failure the positions stay in `uncommitted` for the next commit.
    fn commit(&mut self) {
        let assigned = match self.consumer.assignment() {
            Ok(assigned) => assigned,
            Err(cause) => return tracing::warn!(%cause, "kafka: positions not committed; will retry"),
        };
        // positions of partitions that were reassigned belong to their new member
        self.uncommitted.retain(|(topic, partition), _| assigned.find_partition(topic, *partition).is_some());
        if self.uncommitted.is_empty() {
            return;
        }
        let mut positions = TopicPartitionList::new();
        for ((topic, partition), offset) in &self.uncommitted {
            if let Err(cause) = positions.add_partition_offset(topic, *partition, Offset::Offset(*offset)) {
                tracing::warn!(%cause, topic, partition, offset, "kafka: invalid position not committed");
            }
        }
        match self.consumer.commit(&positions, CommitMode::Sync) {
            Ok(()) => self.uncommitted.clear(),
            Err(cause) => tracing::warn!(%cause, "kafka: positions not committed; will retry"),
        }
    }
}
