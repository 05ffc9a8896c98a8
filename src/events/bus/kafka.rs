//! The bus on Kafka: topics by the first part of an event's type, keyed by subject, so that the events of one aggregate
//! stay in order; consumer groups with cooperative rebalancing, which commit positions after the transaction that applied
//! the events; dead letters in a topic of their own.
//!
//! Unavailable brokers block no request: events stay in their outboxes, and consumers retry.

mod client;
mod dead_letters;
mod error;
mod group_member;
mod producer;
mod reader;
mod record;

use super::consumer::Consumer;
use super::dead_letter::DeadLetter;
use super::dispatch::dispatch;
use super::transport::{Bus, BusDown};
use crate::events::event::Event;
use crate::kernel::error::StoreError;
use crate::settings;
use async_trait::async_trait;
use error::unavailable;
use group_member::GroupMember;
use parking_lot::Mutex;
use producer::Producer;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::OwnedMessage;
use rdkafka::types::RDKafkaErrorCode;
use reader::Reader;
use record::{MAX_EVENT_BYTES, MAX_RECORD_BYTES};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long the brokers may take to create topics.
const CREATE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause before a retry.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How long the health check waits for a broker.
const HEALTH_TIMEOUT: Duration = Duration::from_millis(1500);

pub struct KafkaBus {
    config: ClientConfig,
    settings: settings::Bus,
    producer: Producer,
    /// Topics known to exist.
    existing_topics: Mutex<BTreeSet<String>>,
    /// The topics of each group with a consumer in this process.
    groups: Mutex<HashMap<String, Vec<String>>>,
    /// The last count of dead letters.
    last_count: Arc<Mutex<DeadLetterCount>>,
}

/// Number of dead letters by group, and of all records of their topic at that time.
#[derive(Clone, Default)]
struct DeadLetterCount {
    records: i64,
    by_group: BTreeMap<String, i64>,
}

/// Runs blocking work on the blocking pool.
async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|cause| StoreError::Internal(cause.to_string()))?
}

impl KafkaBus {
    /// Fails only on invalid settings: unavailable brokers are no error yet.
    pub fn open(settings: &settings::Bus, tls: &settings::Tls) -> Result<Self, StoreError> {
        let config = client::config(settings, tls)?;
        let producer = Producer::new(config.clone())?;
        Ok(Self {
            config,
            settings: settings.clone(),
            producer,
            existing_topics: Mutex::default(),
            groups: Mutex::default(),
            last_count: Arc::default(),
        })
    }

    fn topic_name(&self, name: &str) -> String {
        format!("{}{name}", self.settings.prefix)
    }

    fn dead_letter_topic(&self) -> String {
        self.topic_name("dead-letters")
    }

    fn retry_topic(&self, group: &str) -> String {
        self.topic_name(&format!("retry.{group}"))
    }

    /// Creates the topics that do not exist yet, with this number of partitions, maximum record size and properties.
    async fn ensure_topics(
        &self,
        topics: &[String],
        partitions: u16,
        max_bytes: usize,
        properties: &[(&str, &str)],
    ) -> Result<(), StoreError> {
        let missing: Vec<String> = topics.iter().filter(|topic| !self.existing_topics.lock().contains(*topic)).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let replication = if self.settings.replication == 0 { -1 } else { i32::from(self.settings.replication) };
        let max_bytes = max_bytes.to_string();
        let topics = missing.iter().map(|topic| {
            let topic = NewTopic::new(topic, partitions.into(), TopicReplication::Fixed(replication)).set("max.message.bytes", &max_bytes);
            properties.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
        });
        let admin: AdminClient<DefaultClientContext> = self.config.create().map_err(unavailable)?;
        let options = AdminOptions::new().request_timeout(Some(CREATE_TIMEOUT)).operation_timeout(Some(CREATE_TIMEOUT));
        for outcome in admin.create_topics(&topics.collect::<Vec<_>>(), &options).await.map_err(|cause| self.producer.explain(cause))? {
            match outcome {
                Ok(topic) => tracing::info!(topic, "kafka: topic created"),
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, cause)) => return Err(unavailable(format!("topic {topic}: {cause}"))),
            }
        }
        self.existing_topics.lock().extend(missing);
        Ok(())
    }

    async fn ensure_dead_letter_topic(&self) -> Result<(), StoreError> {
        self.ensure_topics(&[self.dead_letter_topic()], 1, MAX_RECORD_BYTES, &[("cleanup.policy", "compact")]).await
    }

    /// Runs a group member until `stop` is cancelled or the client fails permanently.
    async fn run_member(&self, consumer: &dyn Consumer, stop: &CancellationToken) -> Result<(), StoreError> {
        let group = consumer.group();
        let mut topics: Vec<String> = consumer.topics().iter().map(|topic| self.topic_name(topic)).collect();
        self.ensure_topics(&topics, self.settings.partitions, MAX_EVENT_BYTES, &[]).await?;
        topics.push(self.retry_topic(group));
        self.ensure_topics(&topics, 1, MAX_RECORD_BYTES, &[]).await?;
        self.ensure_dead_letter_topic().await?;
        self.groups.lock().insert(group.into(), topics.clone());
        let mut member = GroupMember::start(&self.member_config(group), &topics).map_err(unavailable)?;
        while let Some(Some(batch)) = stop.run_until_cancelled(member.next()).await {
            while let Err(cause) = self.apply(consumer, &batch).await {
                tracing::warn!(%cause, group, "events not applied; will retry");
                if stop.run_until_cancelled(tokio::time::sleep(RETRY_INTERVAL)).await.is_none() {
                    return member.close().await.map_err(unavailable);
                }
            }
            member.applied();
        }
        member.close().await.map_err(unavailable)
    }

    fn member_config(&self, group: &str) -> ClientConfig {
        let mut config = self.config.clone();
        let fixed = [
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "earliest"),
            ("partition.assignment.strategy", "cooperative-sticky"),
            // the brokers' default minimum: a dead member is replaced after this time
            ("session.timeout.ms", "6000"),
            ("heartbeat.interval.ms", "2000"),
        ];
        for (key, value) in fixed {
            config.set(key, value);
        }
        if let Some(instance) = &self.settings.instance {
            config.set("group.instance.id", format!("{instance}.{group}"));
        }
        config.set("group.id", self.topic_name(group));
        config
    }

    /// Applies a batch, and dead-letters rejected events. After an error nothing is decided.
    async fn apply(&self, consumer: &dyn Consumer, batch: &[OwnedMessage]) -> Result<(), StoreError> {
        let failed: HashMap<usize, String> =
            dispatch(consumer, "kafka", batch.iter().map(record::decode).collect()).await?.into_iter().collect();
        let topic = self.dead_letter_topic();
        let after =
            |(index, message)| dead_letters::after_delivery(&topic, consumer.group(), message, failed.get(&index).map(String::as_str));
        let mut records: Vec<_> = batch.iter().enumerate().filter_map(after).collect();
        let refused = self.producer.send(&records).await?;
        if refused.is_empty() {
            return Ok(());
        }
        // an existing dead-letter topic may have a smaller limit: keep only the event's origin
        for index in refused {
            records.get_mut(index).map(dead_letters::shorten);
        }
        match self.producer.send(&records).await?.is_empty() {
            true => Ok(()),
            false => Err(unavailable(format!("max.message.bytes of topic {topic} is too small for a dead letter"))),
        }
    }

    async fn current_dead_letters(&self) -> Result<BTreeMap<i64, OwnedMessage>, StoreError> {
        self.ensure_dead_letter_topic().await?;
        let (config, group, topic) = (self.config.clone(), self.topic_name("dead-letters-reader"), self.dead_letter_topic());
        run_blocking(move || read_dead_letters(&config, &group, topic).map_err(unavailable)).await
    }
}

fn read_dead_letters(config: &ClientConfig, group: &str, topic: String) -> rdkafka::error::KafkaResult<BTreeMap<i64, OwnedMessage>> {
    let reader = Reader::new(config, group)?;
    Ok(dead_letters::current(reader.to_end(&reader.positions(&[topic])?)?))
}

/// Reads the topic only if its number of records has changed since the last count.
fn count_by_group(
    config: &ClientConfig,
    group: &str,
    topic: String,
    last: &Mutex<DeadLetterCount>,
) -> rdkafka::error::KafkaResult<DeadLetterCount> {
    let reader = Reader::new(config, group)?;
    let positions = reader.positions(&[topic])?;
    let mut counted = DeadLetterCount { records: reader.lag(&positions)?, ..DeadLetterCount::default() };
    if last.lock().records == counted.records {
        return Ok(last.lock().clone());
    }
    for dead_letter in dead_letters::current(reader.to_end(&positions)?).values() {
        *counted.by_group.entry(dead_letters::group(dead_letter).to_string()).or_default() += 1;
    }
    last.lock().clone_from(&counted);
    Ok(counted)
}

#[async_trait(?Send)]
impl Bus for KafkaBus {
    async fn publish(&self, events: Vec<Event>) -> Result<Vec<(usize, String)>, StoreError> {
        let topics: BTreeSet<String> = events.iter().map(|event| self.topic_name(event.topic())).collect();
        self.ensure_topics(&topics.into_iter().collect::<Vec<_>>(), self.settings.partitions, MAX_EVENT_BYTES, &[]).await?;
        let records: Vec<_> = events.iter().map(|event| record::encode(self.topic_name(event.topic()), event)).collect();
        let refused = self.producer.send(&records).await?;
        let reason = |index: usize| {
            let record = records.get(index)?;
            let bytes = record.value.as_ref().map_or(0, Vec::len);
            Some((index, format!("its {bytes} bytes exceed max.message.bytes of topic {}, or {MAX_RECORD_BYTES}", record.topic)))
        };
        Ok(refused.into_iter().filter_map(reason).collect())
    }

    async fn consume(&self, consumer: Arc<dyn Consumer>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if let Err(cause) = self.run_member(consumer.as_ref(), &stop).await {
                tracing::warn!(%cause, group = consumer.group(), "kafka: the consumer is not in its group; will retry");
                stop.run_until_cancelled(tokio::time::sleep(RETRY_INTERVAL)).await;
            }
        }
    }

    async fn dead_letters(&self, limit: i64) -> Result<Vec<DeadLetter>, StoreError> {
        let limit = usize::try_from(limit).unwrap_or_default();
        self.current_dead_letters().await?.values().take(limit).map(dead_letters::describe).collect()
    }

    async fn count_dead_letters(&self, group: &str) -> Result<i64, StoreError> {
        let (config, reader, topic, last) =
            (self.config.clone(), self.topic_name("dead-letters-reader"), self.dead_letter_topic(), self.last_count.clone());
        let counted = run_blocking(move || count_by_group(&config, &reader, topic, &last).map_err(unavailable)).await?;
        Ok(counted.by_group.get(group).copied().unwrap_or_default())
    }

    async fn replay(&self, id: i64) -> Result<bool, StoreError> {
        let Some(dead_letter) = self.current_dead_letters().await?.remove(&id) else { return Ok(false) };
        let retry = self.retry_topic(dead_letters::group(&dead_letter));
        self.ensure_topics(std::slice::from_ref(&retry), 1, MAX_RECORD_BYTES, &[]).await?;
        match self.producer.send(&[dead_letters::retry_record(retry.clone(), &dead_letter)]).await?.is_empty() {
            true => Ok(true),
            false => Err(unavailable(format!("dead letter {id} is larger than max.message.bytes of topic {retry}"))),
        }
    }

    /// Only for a group with a consumer in this process.
    async fn lag(&self, group: &str) -> Result<i64, StoreError> {
        let Some(topics) = self.groups.lock().get(group).cloned() else {
            return Err(unavailable(format!("group {group} has no consumer in this process yet")));
        };
        let (config, group) = (self.config.clone(), self.topic_name(group));
        let count = move || Reader::new(&config, &group).and_then(|reader| reader.lag(&reader.positions(&topics)?));
        run_blocking(move || count().map_err(unavailable)).await
    }

    fn messaging_system(&self) -> &'static str {
        "kafka"
    }

    async fn check_health(&self) -> Result<(), BusDown> {
        let config = self.config.clone();
        let state = run_blocking(move || {
            let reader = Reader::new(&config, "health").map_err(unavailable)?;
            if reader.answers(HEALTH_TIMEOUT) { Ok(Ok(())) } else { Ok(Err(reader.advice())) }
        });
        match state.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(advice)) => Err(BusDown::Unreachable { advice }),
            Err(_) => Err(BusDown::Unreachable { advice: None }),
        }
    }
}

/// Type and subject of every event of a topic that this group has not processed yet, or that is its dead letter, for the
/// audit. Blocks.
pub fn undelivered_events(
    settings: &settings::Bus,
    tls: &settings::Tls,
    group: &str,
    topic: &str,
) -> Result<Vec<(String, String)>, StoreError> {
    let config = client::config(settings, tls)?;
    let topic_name = |name: &str| format!("{}{name}", settings.prefix);
    let read = || {
        let reader = Reader::new(&config, &topic_name(group))?;
        let mut found = reader.to_end(&reader.positions(&[topic_name(topic), topic_name(&format!("retry.{group}"))])?)?;
        found.extend(read_dead_letters(&config, &topic_name("dead-letters-reader"), topic_name("dead-letters"))?.into_values());
        Ok(found)
    };
    let found = read().map_err(|cause: rdkafka::error::KafkaError| unavailable(cause))?;
    // skip invalid events; the audit detects the missing order event
    Ok(found.iter().filter_map(|message| record::decode(message).ok()).map(|event| (event.kind, event.subject)).collect())
}
