//! Dead letters: records of one compacted topic for all groups, whose only partition gives each its number,
//! the offset.
//!
//! The key is where the event came from, so that the last record of a key counts: an event buried twice is
//! one letter, and a tombstone takes it away. To replay one is to send it to its group's own retry topic,
//! from which the consumer takes it like any other, wherever it runs.

use super::record::{self, Record, header, with};
use crate::events::bus::{DeadLetter, raw};
use crate::kernel::clock;
use crate::kernel::error::StoreError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders, OwnedMessage};
use std::collections::BTreeMap;

const GROUP: &str = "dead-letter-group";
const ERROR: &str = "dead-letter-error";
const TOPIC: &str = "dead-letter-topic";
const PARTITION: &str = "dead-letter-partition";
const OFFSET: &str = "dead-letter-offset";

/// The letter that a record of a retry topic was.
fn was(message: &OwnedMessage) -> Option<String> {
    let part = |name| header(message, name);
    Some(format!("{}/{}/{}/{}", part(GROUP)?, part(TOPIC)?, part(PARTITION)?, part(OFFSET)?))
}

/// What becomes of a record that was given to its group: a letter where it failed, and a letter no more
/// where it was one.
pub(super) fn after(letters: &str, group: &str, message: &OwnedMessage, failed: Option<&str>) -> Option<Record> {
    let topic = letters.to_string();
    let Some(error) = failed else {
        return was(message).map(|key| Record { topic, key, value: None, headers: OwnedHeaders::new() });
    };
    tracing::error!(group, error, topic = message.topic(), offset = message.offset(), "event became a dead letter");
    let mut headers = kept(message, |name| name != ERROR);
    let key = was(message).unwrap_or_else(|| {
        let (partition, offset) = (message.partition().to_string(), message.offset().to_string());
        for (name, value) in [(GROUP, group), (TOPIC, message.topic()), (PARTITION, &partition), (OFFSET, &offset)] {
            headers = with(std::mem::take(&mut headers), name, value);
        }
        // what the record itself stood for is no more to be seen in the letter
        if let Some(subject) = record::key(message).filter(|_| header(message, "ce_subject").is_none()) {
            headers = with(std::mem::take(&mut headers), "ce_subject", &subject);
        }
        if header(message, "ce_time").is_none() {
            headers = with(std::mem::take(&mut headers), "ce_time", &clock::rfc3339(record::written(message)));
        }
        format!("{group}/{}/{partition}/{offset}", message.topic())
    });
    let headers = with(headers, ERROR, error);
    // a letter without a value would be a tombstone
    Some(Record { topic, key, value: Some(message.payload().unwrap_or_default().to_vec()), headers })
}

/// Leaves out the event, which lies where the letter says for as long as its topic keeps it.
pub(super) fn shorten(letter: &mut Record) {
    let bytes = letter.value.replace(Vec::new()).map_or(0, |value| value.len());
    letter.headers =
        with(std::mem::take(&mut letter.headers), ERROR, &format!("an event of {bytes} bytes, too large for this topic: {}", letter.key));
}

fn kept(message: &OwnedMessage, keep: impl Fn(&str) -> bool) -> OwnedHeaders {
    let old = message.headers().into_iter().flat_map(|headers| headers.iter()).filter(|header| keep(header.key));
    old.fold(OwnedHeaders::new(), |all, Header { key, value }| all.insert(Header { key, value }))
}

/// Those that stand, oldest first, out of all records of the topic.
pub(super) fn standing(records: Vec<OwnedMessage>) -> BTreeMap<i64, OwnedMessage> {
    let mut last: BTreeMap<Vec<u8>, OwnedMessage> = BTreeMap::new();
    for record in records {
        last.insert(record.key().unwrap_or_default().to_vec(), record);
    }
    last.into_values().filter(|record| record.payload().is_some()).map(|record| (record.offset(), record)).collect()
}

/// Whose letter it is.
pub(super) fn group(letter: &OwnedMessage) -> &str {
    header(letter, GROUP).unwrap_or_default()
}

/// As it is shown.
pub(super) fn shown(letter: &OwnedMessage) -> Result<DeadLetter, StoreError> {
    let event = match record::event(letter) {
        Ok(event) => serde_json::value::to_raw_value(&event).map_err(|cause| StoreError::Broken(cause.to_string()))?,
        Err(_) => raw(String::from_utf8_lossy(letter.payload().unwrap_or_default()).into_owned())?,
    };
    Ok(DeadLetter {
        id: letter.offset(),
        group: group(letter).into(),
        error: header(letter, ERROR).unwrap_or_default().into(),
        at: clock::rfc3339(record::written(letter)),
        event,
    })
}

/// The same event for its group's retry topic.
pub(super) fn again(retry: String, letter: &OwnedMessage) -> Record {
    let key = was(letter).unwrap_or_default();
    Record { topic: retry, key, value: letter.payload().map(<[u8]>::to_vec), headers: kept(letter, |_| true) }
}
