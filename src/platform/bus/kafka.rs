//! The bus on Kafka: topics by the first part of an event's type, keyed by subject, so that the events of one
//! aggregate stay in order; consumer groups with cooperative rebalancing, whose positions are committed after
//! the transaction that applied the events; dead letters in a topic of their own.
//!
//! Brokers that are away hold up nobody's request: events wait in their outboxes, consumers wait.

mod feed;
mod letters;
mod producer;
mod read;
mod record;

use super::give::give;
use super::{Bus, Consumer, DeadLetter};
use crate::config;
use crate::platform::event::Event;
use crate::platform::store::StoreError;
use async_trait::async_trait;
use feed::Feed;
use futures_util::FutureExt;
use producer::Producer;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::OwnedMessage;
use rdkafka::types::RDKafkaErrorCode;
use read::Reader;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long the brokers may take to create topics.
const CREATE: Duration = Duration::from_secs(10);
/// Pause before what failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long health waits for a broker.
const ALIVE: Duration = Duration::from_millis(1500);

/// See the module.
pub struct KafkaBus {
    config: ClientConfig,
    settings: config::Bus,
    producer: Producer,
    /// Topics that are known to exist.
    there: Mutex<BTreeSet<String>>,
    /// What each group reads that has a consumer here.
    groups: Mutex<HashMap<String, Vec<String>>>,
}

fn unavailable(cause: impl ToString) -> StoreError {
    StoreError::Unavailable { store: "kafka".into(), cause: cause.to_string() }
}

/// What a client needs to reach the brokers of `bus.url`.
fn client(settings: &config::Bus) -> Result<ClientConfig, StoreError> {
    let brokers = settings.url.strip_prefix("kafka://").unwrap_or_default().trim_end_matches('/');
    let named = |broker: &str| {
        broker.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
    };
    if !brokers.split(',').all(named) {
        return Err(StoreError::Broken(format!("bus.url: `{}`; expected kafka://host:port[,host:port]", settings.url)));
    }
    if settings.partitions == 0 {
        return Err(StoreError::Broken("bus.partitions is 0; expected 1 or more".into()));
    }
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("client.id", "tradepost").set("socket.timeout.ms", "10000");
    config.set("reconnect.backoff.max.ms", "2000");
    Ok(config)
}

/// Runs what blocks beside the requests.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|cause| StoreError::Broken(cause.to_string()))?
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl KafkaBus {
    /// By these settings; connects when there is something to do, so brokers may be away.
    pub fn open(settings: &config::Bus) -> Result<Self, StoreError> {
        let config = client(settings)?;
        let producer = Producer::new(config.clone());
        Ok(Self { config, settings: settings.clone(), producer, there: Mutex::default(), groups: Mutex::default() })
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

    /// Creates those of these topics that do not exist, with this number of partitions and these properties.
    async fn ensure(&self, topics: &[String], partitions: u16, properties: &[(&str, &str)]) -> Result<(), StoreError> {
        let missing: Vec<String> = topics.iter().filter(|topic| !held(&self.there).contains(*topic)).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let replication = if self.settings.replication == 0 { -1 } else { i32::from(self.settings.replication) };
        let new = missing.iter().map(|topic| {
            let new = NewTopic::new(topic, partitions.into(), TopicReplication::Fixed(replication));
            properties.iter().fold(new, |new, (key, value)| new.set(key, value))
        });
        let admin: AdminClient<DefaultClientContext> = self.config.create().map_err(unavailable)?;
        let options = AdminOptions::new().request_timeout(Some(CREATE)).operation_timeout(Some(CREATE));
        for outcome in admin.create_topics(&new.collect::<Vec<_>>(), &options).await.map_err(unavailable)? {
            match outcome {
                Ok(topic) => tracing::info!(topic, "kafka: topic created"),
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, cause)) => return Err(unavailable(format!("topic {topic}: {cause}"))),
            }
        }
        held(&self.there).extend(missing);
        Ok(())
    }

    async fn ensure_letters(&self) -> Result<(), StoreError> {
        self.ensure(&[self.letters()], 1, &[("cleanup.policy", "compact")]).await
    }

    /// A member's life, until told to stop or until the client has failed for good.
    async fn feed(&self, consumer: &dyn Consumer, stop: &CancellationToken) -> Result<(), StoreError> {
        let group = consumer.group();
        let mut topics: Vec<String> = consumer.topics().iter().map(|topic| self.named(topic)).collect();
        self.ensure(&topics, self.settings.partitions, &[]).await?;
        topics.push(self.retry(group));
        self.ensure(&topics, 1, &[]).await?;
        self.ensure_letters().await?;
        held(&self.groups).insert(group.into(), topics.clone());
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
        let failed: HashMap<usize, String> = give(consumer, batch.iter().map(record::event).collect()).await?.into_iter().collect();
        let letters = self.letters();
        let after = |(place, message)| letters::after(&letters, consumer.group(), message, failed.get(&place).map(String::as_str));
        self.producer.send(batch.iter().enumerate().filter_map(after).collect()).await
    }

    /// All dead letters that stand.
    async fn standing(&self) -> Result<std::collections::BTreeMap<i64, OwnedMessage>, StoreError> {
        self.ensure_letters().await?;
        let (config, group, topic) = (self.config.clone(), self.named("dead-letters-reader"), self.letters());
        aside(move || read_letters(&config, &group, topic).map_err(unavailable)).await
    }
}

fn read_letters(
    config: &ClientConfig,
    group: &str,
    topic: String,
) -> rdkafka::error::KafkaResult<std::collections::BTreeMap<i64, OwnedMessage>> {
    let reader = Reader::new(config, group)?;
    Ok(letters::standing(reader.to_end(&reader.positions(&[topic])?)?))
}

#[async_trait(?Send)]
impl Bus for KafkaBus {
    async fn publish(&self, events: Vec<Event>) -> Result<(), StoreError> {
        let topics: BTreeSet<String> = events.iter().map(|event| self.named(event.topic())).collect();
        self.ensure(&topics.into_iter().collect::<Vec<_>>(), self.settings.partitions, &[]).await?;
        self.producer.send(events.iter().map(|event| record::of(self.named(event.topic()), event)).collect()).await
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

    async fn replay(&self, id: i64) -> Result<bool, StoreError> {
        let Some(letter) = self.standing().await?.remove(&id) else { return Ok(false) };
        let retry = self.retry(letters::group(&letter));
        self.ensure(std::slice::from_ref(&retry), 1, &[]).await?;
        self.producer.send(vec![letters::again(retry, &letter)]).await.map(|()| true)
    }

    /// Of a group that has a consumer in this process.
    async fn lag(&self, group: &str) -> Result<i64, StoreError> {
        let Some(topics) = held(&self.groups).get(group).cloned() else {
            return Err(unavailable(format!("group {group} does not read here, or not yet")));
        };
        let (config, group) = (self.config.clone(), self.named(group));
        let count = move || Reader::new(&config, &group).and_then(|reader| reader.behind(&reader.positions(&topics)?));
        aside(move || count().map_err(unavailable)).await
    }

    async fn state(&self) -> &'static str {
        let config = self.config.clone();
        let asked = aside(move || Ok(Reader::new(&config, "health").is_ok_and(|reader| reader.answers(ALIVE))));
        if asked.map(|answer| answer.unwrap_or_default()).await { "up" } else { "away; events wait in their outboxes" }
    }
}

/// Type and subject of every event of a topic that this group has not taken yet, or that is its dead letter,
/// for the audit. Blocks.
pub fn under_way(settings: &config::Bus, group: &str, topic: &str) -> Result<Vec<(String, String)>, StoreError> {
    let config = client(settings)?;
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
