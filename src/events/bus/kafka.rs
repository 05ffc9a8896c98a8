//! The bus on Kafka: topics by the first part of an event's type, keyed by subject, so that the events of one
//! aggregate stay in order; consumer groups with cooperative rebalancing, whose positions are committed after
//! the transaction that applied the events; dead letters in a topic of their own.
//!
//! Brokers that are away hold up nobody's request: events wait in their outboxes, consumers wait.

mod client;
mod feed;
mod letters;
mod producer;
mod read;
mod record;

use super::give::give;
use super::{Bus, BusDown, Consumer, DeadLetter};
use crate::events::event::Event;
use crate::kernel::error::StoreError;
use crate::settings;
use async_trait::async_trait;
use feed::Feed;
use parking_lot::Mutex;
use producer::Producer;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::OwnedMessage;
use rdkafka::types::RDKafkaErrorCode;
use read::Reader;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long the brokers may take to create topics.
const CREATE: Duration = Duration::from_secs(10);
/// Pause before what failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long health waits for a broker.
const ALIVE: Duration = Duration::from_millis(1500);

/// Largest record in bytes, headers included: the producer's limit, and that of the topics we create, since the
/// brokers' own is 1 MiB. More is not to be had from most of those who run Kafka for others.
const LARGEST: usize = 8 << 20;
/// Largest event in bytes: a dead letter of it says where it came from, and why.
const LARGEST_EVENT: usize = LARGEST - (64 << 10);

/// See the module.
pub struct KafkaBus {
    config: ClientConfig,
    settings: settings::Bus,
    producer: Producer,
    /// Topics that are known to exist.
    there: Mutex<BTreeSet<String>>,
    /// What each group reads that has a consumer here.
    groups: Mutex<HashMap<String, Vec<String>>>,
    /// As the dead letters were when they were counted last.
    counted: Arc<Mutex<Counted>>,
}

/// How many dead letters each group had when their topic had so many records.
#[derive(Clone, Default)]
struct Counted {
    records: i64,
    letters: BTreeMap<String, i64>,
}

fn unavailable(cause: impl ToString) -> StoreError {
    StoreError::Unavailable { store: "kafka".into(), cause: cause.to_string() }
}

/// Runs what blocks beside the requests.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|cause| StoreError::Broken(cause.to_string()))?
}

impl KafkaBus {
    /// By these settings. Brokers may be away.
    pub fn open(settings: &settings::Bus, tls: &settings::Tls) -> Result<Self, StoreError> {
        let config = client::config(settings, tls)?;
        let producer = Producer::new(config.clone())?;
        Ok(Self {
            config,
            settings: settings.clone(),
            producer,
            there: Mutex::default(),
            groups: Mutex::default(),
            counted: Arc::default(),
        })
    }

    fn named(&self, name: &str) -> String {
        format!("{}{name}", self.settings.prefix)
    }

    fn letters(&self) -> String {
        self.named("dead-letters")
    }

    fn retry(&self, group: &str) -> String {
        self.named(&format!("retry.{group}"))
    }

    /// Creates those of these topics that do not exist, with this number of partitions, for records of this size
    /// at most, and with these properties.
    async fn ensure(&self, topics: &[String], partitions: u16, largest: usize, properties: &[(&str, &str)]) -> Result<(), StoreError> {
        let missing: Vec<String> = topics.iter().filter(|topic| !self.there.lock().contains(*topic)).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let replication = if self.settings.replication == 0 { -1 } else { i32::from(self.settings.replication) };
        let largest = largest.to_string();
        let new = missing.iter().map(|topic| {
            let new = NewTopic::new(topic, partitions.into(), TopicReplication::Fixed(replication)).set("max.message.bytes", &largest);
            properties.iter().fold(new, |new, (key, value)| new.set(key, value))
        });
        let admin: AdminClient<DefaultClientContext> = self.config.create().map_err(unavailable)?;
        let options = AdminOptions::new().request_timeout(Some(CREATE)).operation_timeout(Some(CREATE));
        for outcome in admin.create_topics(&new.collect::<Vec<_>>(), &options).await.map_err(|cause| self.producer.explain(cause))? {
            match outcome {
                Ok(topic) => tracing::info!(topic, "kafka: topic created"),
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, cause)) => return Err(unavailable(format!("topic {topic}: {cause}"))),
            }
        }
        self.there.lock().extend(missing);
        Ok(())
    }

    async fn ensure_letters(&self) -> Result<(), StoreError> {
        self.ensure(&[self.letters()], 1, LARGEST, &[("cleanup.policy", "compact")]).await
    }

    /// A member's life, until told to stop or until the client has failed for good.
    async fn feed(&self, consumer: &dyn Consumer, stop: &CancellationToken) -> Result<(), StoreError> {
        let group = consumer.group();
        let mut topics: Vec<String> = consumer.topics().iter().map(|topic| self.named(topic)).collect();
        self.ensure(&topics, self.settings.partitions, LARGEST_EVENT, &[]).await?;
        topics.push(self.retry(group));
        self.ensure(&topics, 1, LARGEST, &[]).await?;
        self.ensure_letters().await?;
        self.groups.lock().insert(group.into(), topics.clone());
        let mut feed = Feed::start(&self.member(group), &topics).map_err(unavailable)?;
        while let Some(Some(batch)) = stop.run_until_cancelled(feed.next()).await {
            while let Err(cause) = self.take(consumer, &batch).await {
                tracing::warn!(%cause, group, "events not applied; will try again");
                if stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await.is_none() {
                    return feed.close().await.map_err(unavailable);
                }
            }
            feed.applied();
        }
        feed.close().await.map_err(unavailable)
    }

    fn member(&self, group: &str) -> ClientConfig {
        let mut config = self.config.clone();
        let fixed = [
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "earliest"),
            ("partition.assignment.strategy", "cooperative-sticky"),
            // the least that brokers allow by default: who dies is replaced after this
            ("session.timeout.ms", "6000"),
            ("heartbeat.interval.ms", "2000"),
        ];
        for (key, value) in fixed {
            config.set(key, value);
        }
        if let Some(instance) = &self.settings.instance {
            config.set("group.instance.id", format!("{instance}.{group}"));
        }
        config.set("group.id", self.named(group));
        config
    }

    /// Applies a batch, and buries what does not fit; nothing is decided where it fails.
    async fn take(&self, consumer: &dyn Consumer, batch: &[OwnedMessage]) -> Result<(), StoreError> {
        let failed: HashMap<usize, String> =
            give(consumer, "kafka", batch.iter().map(record::event).collect()).await?.into_iter().collect();
        let letters = self.letters();
        let after = |(place, message)| letters::after(&letters, consumer.group(), message, failed.get(&place).map(String::as_str));
        let mut records: Vec<_> = batch.iter().enumerate().filter_map(after).collect();
        let refused = self.producer.send(&records).await?;
        if refused.is_empty() {
            return Ok(());
        }
        // whoever made the topic of dead letters made it too small: the letter says where the event lies
        for place in refused {
            records.get_mut(place).map(letters::shorten);
        }
        match self.producer.send(&records).await?.is_empty() {
            true => Ok(()),
            false => Err(unavailable(format!("max.message.bytes of topic {letters} is too small for any letter"))),
        }
    }

    /// All dead letters that stand.
    async fn standing(&self) -> Result<BTreeMap<i64, OwnedMessage>, StoreError> {
        self.ensure_letters().await?;
        let (config, group, topic) = (self.config.clone(), self.named("dead-letters-reader"), self.letters());
        aside(move || read_letters(&config, &group, topic).map_err(unavailable)).await
    }
}

fn read_letters(config: &ClientConfig, group: &str, topic: String) -> rdkafka::error::KafkaResult<BTreeMap<i64, OwnedMessage>> {
    let reader = Reader::new(config, group)?;
    Ok(letters::standing(reader.to_end(&reader.positions(&[topic])?)?))
}

/// The topic is read only where it has other records than last time.
fn count_letters(config: &ClientConfig, group: &str, topic: String, last: &Mutex<Counted>) -> rdkafka::error::KafkaResult<Counted> {
    let reader = Reader::new(config, group)?;
    let positions = reader.positions(&[topic])?;
    let mut counted = Counted { records: reader.behind(&positions)?, ..Counted::default() };
    if last.lock().records == counted.records {
        return Ok(last.lock().clone());
    }
    for letter in letters::standing(reader.to_end(&positions)?).values() {
        *counted.letters.entry(letters::group(letter).to_string()).or_default() += 1;
    }
    last.lock().clone_from(&counted);
    Ok(counted)
}

#[async_trait(?Send)]
impl Bus for KafkaBus {
    async fn publish(&self, events: Vec<Event>) -> Result<Vec<(usize, String)>, StoreError> {
        let topics: BTreeSet<String> = events.iter().map(|event| self.named(event.topic())).collect();
        self.ensure(&topics.into_iter().collect::<Vec<_>>(), self.settings.partitions, LARGEST_EVENT, &[]).await?;
        let records: Vec<_> = events.iter().map(|event| record::of(self.named(event.topic()), event)).collect();
        let refused = self.producer.send(&records).await?;
        let told = |place: usize| {
            let record = records.get(place)?;
            let bytes = record.value.as_ref().map_or(0, Vec::len);
            Some((place, format!("its {bytes} bytes are more than max.message.bytes of topic {}, or than {LARGEST}", record.topic)))
        };
        Ok(refused.into_iter().filter_map(told).collect())
    }

    async fn consume(&self, consumer: Arc<dyn Consumer>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if let Err(cause) = self.feed(consumer.as_ref(), &stop).await {
                tracing::warn!(%cause, group = consumer.group(), "kafka: the consumer is out of its group; will try again");
                stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await;
            }
        }
    }

    async fn dead_letters(&self, limit: i64) -> Result<Vec<DeadLetter>, StoreError> {
        let limit = usize::try_from(limit).unwrap_or_default();
        self.standing().await?.values().take(limit).map(letters::shown).collect()
    }

    async fn dead_letters_of(&self, group: &str) -> Result<i64, StoreError> {
        let (config, reader, topic, last) = (self.config.clone(), self.named("dead-letters-reader"), self.letters(), self.counted.clone());
        let counted = aside(move || count_letters(&config, &reader, topic, &last).map_err(unavailable)).await?;
        Ok(counted.letters.get(group).copied().unwrap_or_default())
    }

    async fn replay(&self, id: i64) -> Result<bool, StoreError> {
        let Some(letter) = self.standing().await?.remove(&id) else { return Ok(false) };
        let retry = self.retry(letters::group(&letter));
        self.ensure(std::slice::from_ref(&retry), 1, LARGEST, &[]).await?;
        match self.producer.send(&[letters::again(retry.clone(), &letter)]).await?.is_empty() {
            true => Ok(true),
            false => Err(unavailable(format!("letter {id} is larger than max.message.bytes of topic {retry}"))),
        }
    }

    /// Of a group that has a consumer in this process.
    async fn lag(&self, group: &str) -> Result<i64, StoreError> {
        let Some(topics) = self.groups.lock().get(group).cloned() else {
            return Err(unavailable(format!("group {group} does not read here, or not yet")));
        };
        let (config, group) = (self.config.clone(), self.named(group));
        let count = move || Reader::new(&config, &group).and_then(|reader| reader.behind(&reader.positions(&topics)?));
        aside(move || count().map_err(unavailable)).await
    }

    fn system(&self) -> &'static str {
        "kafka"
    }

    async fn state(&self) -> Result<(), BusDown> {
        let config = self.config.clone();
        let asked = aside(move || {
            let reader = Reader::new(&config, "health").map_err(unavailable)?;
            if reader.answers(ALIVE) { Ok(Ok(())) } else { Ok(Err(reader.advice())) }
        });
        match asked.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(advice)) => Err(BusDown { advice }),
            Err(_) => Err(BusDown { advice: None }),
        }
    }
}

/// Type and subject of every event of a topic that this group has not taken yet, or that is its dead letter,
/// for the audit. Blocks.
pub fn under_way(settings: &settings::Bus, tls: &settings::Tls, group: &str, topic: &str) -> Result<Vec<(String, String)>, StoreError> {
    let config = client::config(settings, tls)?;
    let named = |name: &str| format!("{}{name}", settings.prefix);
    let look = || {
        let reader = Reader::new(&config, &named(group))?;
        let mut found = reader.to_end(&reader.positions(&[named(topic), named(&format!("retry.{group}"))])?)?;
        found.extend(read_letters(&config, &named("dead-letters-reader"), named("dead-letters"))?.into_values());
        Ok(found)
    };
    let found = look().map_err(|cause: rdkafka::error::KafkaError| unavailable(cause))?;
    // what is no event reports no order's step: one that is missed is found by that
    Ok(found.iter().filter_map(|message| record::event(message).ok()).map(|event| (event.kind, event.subject)).collect())
}
