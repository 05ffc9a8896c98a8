//! Reads topics from given positions to their current end, without joining a consumer group. Blocks.

use super::client::ConnectionObserver;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::OwnedMessage;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How long the brokers may take to answer one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long reading one topic to its end may take.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// Reads the positions of a group without joining it.
pub(super) struct Reader(BaseConsumer<ConnectionObserver>, ConnectionObserver);

impl Reader {
    pub(super) fn new(config: &ClientConfig, group: &str) -> KafkaResult<Self> {
        let (mut config, observer) = (config.clone(), ConnectionObserver::default());
        config.set("group.id", group).set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        Ok(Self(config.create_with_context(observer.clone())?, observer))
    }

    /// Advice for the operator if the brokers do not answer, if known.
    pub(super) fn advice(&self) -> Option<&'static str> {
        // a poll hands the client's messages to the observer
        while self.0.poll(Duration::from_millis(20)).is_some() {}
        self.1.advice()
    }

    /// The group's committed position in every partition of these topics; the beginning if it has none. A topic that does
    /// not exist yet has no partitions.
    pub(super) fn positions(&self, topics: &[String]) -> KafkaResult<TopicPartitionList> {
        let mut all = TopicPartitionList::new();
        // metadata of all topics: a request by name can create a topic, with the brokers' defaults instead of ours
        let metadata = self.0.fetch_metadata(None, REQUEST_TIMEOUT)?;
        for topic in metadata.topics().iter().filter(|found| topics.iter().any(|topic| topic == found.name())) {
            for partition in topic.partitions() {
                all.add_partition(topic.name(), partition.id());
            }
        }
        let committed = self.0.committed_offsets(all, REQUEST_TIMEOUT)?;
        let mut positions = TopicPartitionList::new();
        for one in committed.elements() {
            let offset = if matches!(one.offset(), Offset::Offset(_)) { one.offset() } else { Offset::Beginning };
            positions.add_partition_offset(one.topic(), one.partition(), offset)?;
        }
        Ok(positions)
    }

    /// Number of records between these positions and the end.
    pub(super) fn lag(&self, positions: &TopicPartitionList) -> KafkaResult<i64> {
        let mut lag = 0;
        for one in positions.elements() {
            let (low, high) = self.0.fetch_watermarks(one.topic(), one.partition(), REQUEST_TIMEOUT)?;
            let at = if let Offset::Offset(offset) = one.offset() { offset.max(low) } else { low };
            lag += (high - at).max(0);
        }
        Ok(lag)
    }

    /// Every record from these positions to the end.
    pub(super) fn to_end(&self, positions: &TopicPartitionList) -> KafkaResult<Vec<OwnedMessage>> {
        let mut unread: BTreeSet<i32> = BTreeSet::new();
        let mut found = Vec::new();
        // one topic after the other: librdkafka reports the end of a partition without its topic
        for topic in positions.to_topic_map().into_keys().map(|(topic, _)| topic).collect::<BTreeSet<_>>() {
            let mut part = TopicPartitionList::new();
            for one in positions.elements_for_topic(&topic) {
                part.add_partition_offset(&topic, one.partition(), one.offset())?;
                unread.insert(one.partition());
            }
            self.0.assign(&part)?;
            let deadline = Instant::now() + READ_TIMEOUT;
            while !unread.is_empty() {
                match self.0.poll(Duration::from_millis(100)) {
                    Some(Ok(message)) => found.push(message.detach()),
                    Some(Err(KafkaError::PartitionEOF(partition))) => {
                        unread.remove(&partition);
                    }
                    _ if Instant::now() > deadline => {
                        return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut));
                    }
                    Some(Err(_)) | None => {}
                }
            }
            self.0.unassign()?;
        }
        Ok(found)
    }

    pub(super) fn answers(&self, wait: Duration) -> bool {
        self.0.client().fetch_cluster_id(wait).is_some()
    }
}
