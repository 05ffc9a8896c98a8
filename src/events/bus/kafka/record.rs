//! An event as a Kafka record and back: the Kafka protocol binding of CloudEvents 1.0, written in its binary
//! mode (attributes as `ce_` headers, data as the value), read in both.

use crate::events::event::Event;
use crate::kernel::clock;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders, OwnedMessage};
use serde_json::value::RawValue;

/// Largest record in bytes, headers included: the producer's limit, and that of the topics we create, since the brokers'
/// default is 1 MiB. Most Kafka hosting services do not allow more.
pub(super) const MAX_RECORD_BYTES: usize = 8 << 20;
/// Largest event in bytes: its dead letter has more headers (origin and error).
pub(super) const MAX_EVENT_BYTES: usize = MAX_RECORD_BYTES - (64 << 10);

pub(super) struct Record {
    pub(super) topic: String,
    /// Kafka keeps the order of records with the same key.
    pub(super) key: String,
    /// None for a tombstone.
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: OwnedHeaders,
}

/// Encodes an event for this topic.
pub(super) fn encode(topic: String, event: &Event) -> Record {
    let mut headers = OwnedHeaders::new();
    let attributes = [
        ("ce_specversion", event.specversion.as_str()),
        ("ce_id", &event.id.to_string()),
        ("ce_source", &event.source),
        ("ce_type", &event.kind),
        ("ce_subject", &event.subject),
        ("ce_time", &event.time),
        ("content-type", &event.datacontenttype),
    ];
    for (key, value) in attributes.into_iter().chain(event.traceparent.as_deref().map(|trace| ("traceparent", trace))) {
        headers = with_header(headers, key, value);
    }
    Record { topic, key: event.subject.clone(), value: Some(event.data.get().as_bytes().to_vec()), headers }
}

pub(super) fn with_header(headers: OwnedHeaders, key: &str, value: &str) -> OwnedHeaders {
    headers.insert(Header { key, value: Some(value) })
}

/// The last header of this name, as text.
pub(super) fn header<'a>(message: &'a OwnedMessage, name: &str) -> Option<&'a str> {
    let named = message.headers()?.iter().filter(|header| header.key.eq_ignore_ascii_case(name)).last()?;
    std::str::from_utf8(named.value?).ok()
}

/// Why a record cannot be decoded as an event.
#[derive(Debug, thiserror::Error)]
pub(in crate::events::bus) enum RecordError {
    #[error("its value is no UTF-8")]
    NotUtf8,
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("it has no header {name}")]
    NoHeader { name: &'static str },
    #[error("its ce_specversion is {found}; expected 1.0")]
    Version { found: String },
    #[error("its ce_id is no UUID")]
    Id,
    #[error("its value is no JSON: {0}")]
    Value(#[source] serde_json::Error),
}

/// Decodes an event. Ignores unknown headers and members.
pub(super) fn decode(message: &OwnedMessage) -> Result<Event, RecordError> {
    let value = std::str::from_utf8(message.payload().unwrap_or_default()).map_err(|_| RecordError::NotUtf8)?;
    let content = header(message, "content-type").unwrap_or("application/json");
    if content.starts_with("application/cloudevents") {
        return Ok(serde_json::from_str(value)?);
    }
    let required = |name| header(message, name).map(String::from).ok_or(RecordError::NoHeader { name });
    let specversion = required("ce_specversion")?;
    if specversion != "1.0" {
        return Err(RecordError::Version { found: specversion });
    }
    Ok(Event {
        specversion,
        id: required("ce_id")?.parse().map_err(|_| RecordError::Id)?,
        source: required("ce_source")?,
        kind: required("ce_type")?,
        subject: required("ce_subject").or_else(|error| key(message).ok_or(error))?,
        time: required("ce_time").unwrap_or_else(|_| clock::rfc3339(timestamp_ms(message))),
        datacontenttype: content.into(),
        traceparent: ["traceparent", "ce_traceparent"].into_iter().find_map(|name| header(message, name)).map(String::from),
        data: RawValue::from_string(value.into()).map_err(RecordError::Value)?,
    })
}

/// The record's timestamp, in milliseconds since 1970.
pub(super) fn timestamp_ms(message: &OwnedMessage) -> i64 {
    message.timestamp().to_millis().unwrap_or_default()
}

pub(super) fn key(message: &OwnedMessage) -> Option<String> {
    message.key().and_then(|key| std::str::from_utf8(key).ok()).map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::trace::Trace;
    use rdkafka::Timestamp;

    fn received(record: Record, headers: OwnedHeaders) -> OwnedMessage {
        OwnedMessage::new(record.value, Some(record.key.into()), record.topic, Timestamp::CreateTime(0), 0, 0, Some(headers))
    }

    fn sent() -> (Event, Record) {
        let event = Event::new("order", "order.placed", "o-1", Trace::start(), &serde_json::json!({ "total": 1 })).unwrap();
        let record = encode("order".into(), &event);
        (event, record)
    }

    #[test]
    fn event_with_unknown_headers_is_decoded_unchanged() {
        let (event, mut record) = sent();
        assert_eq!((record.key.as_str(), record.value.as_deref()), ("o-1", Some(&br#"{"total":1}"#[..])));
        let headers = with_header(std::mem::take(&mut record.headers), "ce_somethingnew", "1");
        let back = super::decode(&received(record, headers)).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), serde_json::to_string(&event).unwrap());
    }

    #[test]
    fn event_in_structured_mode_is_decoded() {
        let (event, mut record) = sent();
        record.value = Some(serde_json::to_vec(&event).unwrap());
        let headers = with_header(OwnedHeaders::new(), "content-type", "application/cloudevents+json; charset=UTF-8");
        assert_eq!(super::decode(&received(record, headers)).unwrap().id, event.id);
    }

    #[test]
    fn invalid_record_is_rejected_with_a_reason() {
        let (_, record) = sent();
        assert_eq!(super::decode(&received(record, OwnedHeaders::new())).unwrap_err().to_string(), "it has no header ce_specversion");
        let (_, mut record) = sent();
        record.value = Some(b"{".to_vec());
        let headers = std::mem::take(&mut record.headers);
        assert!(super::decode(&received(record, headers)).unwrap_err().to_string().starts_with("its value is no JSON"));
    }
}
