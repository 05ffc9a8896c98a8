//! Looking at topics without being a member of a group: from given positions to the end of now. Blocks.

use super::client::Ear;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::OwnedMessage;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How long the brokers may take to answer a question.
const ANSWER: Duration = Duration::from_secs(5);
/// How long reading to the end may take.
const READ: Duration = Duration::from_secs(20);

/// Asks on behalf of a group that it does not join.
pub(super) struct Reader(BaseConsumer<Ear>, Ear);

impl Reader {
    pub(super) fn new(config: &ClientConfig, group: &str) -> KafkaResult<Self> {
        let (mut config, ear) = (config.clone(), Ear::default());
        config.set("group.id", group).set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        Ok(Self(config.create_with_context(ear.clone())?, ear))
    }

    /// What to do where nobody answers, as far as is known.
    pub(super) fn advice(&self) -> Option<&'static str> {
        // what it has said is heard when it is asked for more
        while self.0.poll(Duration::from_millis(20)).is_some() {}
        self.1.advice()
    }

    /// Where this group goes on in every partition of these topics; at the beginning where it never was.
    /// A topic that does not exist yet has no partitions.
    pub(super) fn positions(&self, topics: &[String]) -> KafkaResult<TopicPartitionList> {
        let mut all = TopicPartitionList::new();
        // of all topics: to ask for one by name can create it, with the brokers' defaults in place of ours
        let metadata = self.0.fetch_metadata(None, ANSWER)?;
        for topic in metadata.topics().iter().filter(|found| topics.iter().any(|topic| topic == found.name())) {
            for partition in topic.partitions() {
                all.add_partition(topic.name(), partition.id());
            }
        }
        let committed = self.0.committed_offsets(all, ANSWER)?;
        let mut positions = TopicPartitionList::new();
        for one in committed.elements() {
            let offset = if matches!(one.offset(), Offset::Offset(_)) { one.offset() } else { Offset::Beginning };
            positions.add_partition_offset(one.topic(), one.partition(), offset)?;
        }
        Ok(positions)
    }

    /// Records between these positions and the end.
    pub(super) fn behind(&self, positions: &TopicPartitionList) -> KafkaResult<i64> {
        let mut behind = 0;
        for one in positions.elements() {
            let (low, high) = self.0.fetch_watermarks(one.topic(), one.partition(), ANSWER)?;
            let at = if let Offset::Offset(offset) = one.offset() { offset.max(low) } else { low };
            behind += (high - at).max(0);
        }
        Ok(behind)
    }

    /// Every record from these positions to the end.
    pub(super) fn to_end(&self, positions: &TopicPartitionList) -> KafkaResult<Vec<OwnedMessage>> {
        let mut unread: BTreeSet<i32> = BTreeSet::new();
        let mut found = Vec::new();
        // one topic after the other: an end is told by its partition alone
        for topic in positions.to_topic_map().into_keys().map(|(topic, _)| topic).collect::<BTreeSet<_>>() {
            let mut part = TopicPartitionList::new();
            for one in positions.elements_for_topic(&topic) {
                part.add_partition_offset(&topic, one.partition(), one.offset())?;
                unread.insert(one.partition());
            }
            self.0.assign(&part)?;
            let deadline = Instant::now() + READ;
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

    /// Whether a broker answers.
    pub(super) fn answers(&self, wait: Duration) -> bool {
        self.0.client().fetch_cluster_id(wait).is_some()
    }
}
