//! Dead letters: records of one compacted topic for all groups. It has one partition; a dead letter's id is its offset.
//!
//! The key is the event's origin, and the last record of a key counts: an event dead-lettered twice is one dead letter,
//! and a tombstone deletes it. A replay sends it to its group's retry topic, from which the consumer reads it like any
//! other event, in whichever process it runs.

use super::record::{self, Record, header, with_header};
use crate::events::bus::dead_letter::{DeadLetter, raw_json_or_string};
use crate::kernel::clock;
use crate::kernel::error::StoreError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders, OwnedMessage};
use std::collections::BTreeMap;

const GROUP: &str = "dead-letter-group";
const ERROR: &str = "dead-letter-error";
const TOPIC: &str = "dead-letter-topic";
const PARTITION: &str = "dead-letter-partition";
const OFFSET: &str = "dead-letter-offset";

/// The key of the dead letter that a record of a retry topic replays.
fn replayed_key(message: &OwnedMessage) -> Option<String> {
    let part = |name| header(message, name);
    Some(format!("{}/{}/{}/{}", part(GROUP)?, part(TOPIC)?, part(PARTITION)?, part(OFFSET)?))
}

/// The record to write after a delivery: a dead letter if it failed, a tombstone if it was a successful replay.
pub(super) fn after_delivery(dead_letter_topic: &str, group: &str, message: &OwnedMessage, failed: Option<&str>) -> Option<Record> {
    let topic = dead_letter_topic.to_string();
    let Some(error) = failed else {
        return replayed_key(message).map(|key| Record { topic, key, value: None, headers: OwnedHeaders::new() });
    };
    tracing::error!(group, error, topic = message.topic(), offset = message.offset(), "event became a dead letter");
    let mut headers = copy_headers(message, |name| name != ERROR);
    let key = replayed_key(message).unwrap_or_else(|| {
        let (partition, offset) = (message.partition().to_string(), message.offset().to_string());
        for (name, value) in [(GROUP, group), (TOPIC, message.topic()), (PARTITION, &partition), (OFFSET, &offset)] {
            headers = with_header(std::mem::take(&mut headers), name, value);
        }
        // the dead letter's own key and timestamp replace the record's
        if let Some(subject) = record::key(message).filter(|_| header(message, "ce_subject").is_none()) {
            headers = with_header(std::mem::take(&mut headers), "ce_subject", &subject);
        }
        if header(message, "ce_time").is_none() {
            headers = with_header(std::mem::take(&mut headers), "ce_time", &clock::rfc3339(record::timestamp_ms(message)));
        }
        format!("{group}/{}/{partition}/{offset}", message.topic())
    });
    let headers = with_header(headers, ERROR, error);
    // a record without a value would be a tombstone
    Some(Record { topic, key, value: Some(message.payload().unwrap_or_default().to_vec()), headers })
}

/// Removes the data from a dead letter that is too large. Its headers name the event's origin, where it remains for the
/// retention time of that topic.
pub(super) fn shorten(dead_letter: &mut Record) {
    let bytes = dead_letter.value.replace(Vec::new()).map_or(0, |value| value.len());
    dead_letter.headers = with_header(
        std::mem::take(&mut dead_letter.headers),
        ERROR,
        &format!("an event of {bytes} bytes, too large for this topic: {}", dead_letter.key),
    );
}

fn copy_headers(message: &OwnedMessage, keep: impl Fn(&str) -> bool) -> OwnedHeaders {
    let old = message.headers().into_iter().flat_map(|headers| headers.iter()).filter(|header| keep(header.key));
    old.fold(OwnedHeaders::new(), |all, Header { key, value }| all.insert(Header { key, value }))
}

/// The current dead letters by id, from all records of the topic.
pub(super) fn current(records: Vec<OwnedMessage>) -> BTreeMap<i64, OwnedMessage> {
    let mut last: BTreeMap<Vec<u8>, OwnedMessage> = BTreeMap::new();
    for record in records {
        last.insert(record.key().unwrap_or_default().to_vec(), record);
    }
    last.into_values().filter(|record| record.payload().is_some()).map(|record| (record.offset(), record)).collect()
}

pub(super) fn group(dead_letter: &OwnedMessage) -> &str {
    header(dead_letter, GROUP).unwrap_or_default()
}

/// The form that the actuator shows.
pub(super) fn describe(dead_letter: &OwnedMessage) -> Result<DeadLetter, StoreError> {
    let event = match record::decode(dead_letter) {
        Ok(event) => serde_json::value::to_raw_value(&event).map_err(|cause| StoreError::Internal(cause.to_string()))?,
        Err(_) => raw_json_or_string(String::from_utf8_lossy(dead_letter.payload().unwrap_or_default()).into_owned())?,
    };
    Ok(DeadLetter {
        id: dead_letter.offset(),
        group: group(dead_letter).into(),
        error: header(dead_letter, ERROR).unwrap_or_default().into(),
        at: clock::rfc3339(record::timestamp_ms(dead_letter)),
        event,
    })
}

/// The record that replays the event on its group's retry topic.
pub(super) fn retry_record(topic: String, dead_letter: &OwnedMessage) -> Record {
    let key = replayed_key(dead_letter).unwrap_or_default();
    Record { topic, key, value: dead_letter.payload().map(<[u8]>::to_vec), headers: copy_headers(dead_letter, |_| true) }
}
