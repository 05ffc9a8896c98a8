//! An event as a Kafka record and back: the Kafka protocol binding of CloudEvents 1.0, written in its binary
//! mode (attributes as `ce_` headers, data as the value), read in both.

use crate::events::event::Event;
use crate::kernel::clock;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders, OwnedMessage};
use serde_json::value::RawValue;

/// What is sent.
pub(super) struct Record {
    pub(super) topic: String,
    /// Records of one key stay in order.
    pub(super) key: String,
    /// None for a tombstone.
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: OwnedHeaders,
}

/// An event for this topic.
pub(super) fn of(topic: String, event: &Event) -> Record {
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
        headers = with(headers, key, value);
    }
    Record { topic, key: event.subject.clone(), value: Some(event.data.get().as_bytes().to_vec()), headers }
}

/// One header more.
pub(super) fn with(headers: OwnedHeaders, key: &str, value: &str) -> OwnedHeaders {
    headers.insert(Header { key, value: Some(value) })
}

/// The last header of this name, as text.
pub(super) fn header<'a>(message: &'a OwnedMessage, name: &str) -> Option<&'a str> {
    let named = message.headers()?.iter().filter(|header| header.key.eq_ignore_ascii_case(name)).last()?;
    std::str::from_utf8(named.value?).ok()
}

/// Why a record is no event.
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

/// The event of a record, or why it is none. Headers and members that we do not know are left alone.
pub(super) fn event(message: &OwnedMessage) -> Result<Event, RecordError> {
    let value = std::str::from_utf8(message.payload().unwrap_or_default()).map_err(|_| RecordError::NotUtf8)?;
    let content = header(message, "content-type").unwrap_or("application/json");
    if content.starts_with("application/cloudevents") {
        return Ok(serde_json::from_str(value)?);
    }
    let asked = |name| header(message, name).map(String::from).ok_or(RecordError::NoHeader { name });
    let specversion = asked("ce_specversion")?;
    if specversion != "1.0" {
        return Err(RecordError::Version { found: specversion });
    }
    Ok(Event {
        specversion,
        id: asked("ce_id")?.parse().map_err(|_| RecordError::Id)?,
        source: asked("ce_source")?,
        kind: asked("ce_type")?,
        subject: asked("ce_subject").or_else(|error| key(message).ok_or(error))?,
        time: asked("ce_time").unwrap_or_else(|_| clock::rfc3339(written(message))),
        datacontenttype: content.into(),
        traceparent: ["traceparent", "ce_traceparent"].into_iter().find_map(|name| header(message, name)).map(String::from),
        data: RawValue::from_string(value.into()).map_err(RecordError::Value)?,
    })
}

/// When it was sent, in milliseconds since 1970.
pub(super) fn written(message: &OwnedMessage) -> i64 {
    message.timestamp().to_millis().unwrap_or_default()
}

/// Its key, as text.
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
        let record = of("order".into(), &event);
        (event, record)
    }

    #[test]
    fn an_event_comes_back_as_it_was_sent_whatever_else_is_in_its_headers() {
        let (event, mut record) = sent();
        assert_eq!((record.key.as_str(), record.value.as_deref()), ("o-1", Some(&br#"{"total":1}"#[..])));
        let headers = with(std::mem::take(&mut record.headers), "ce_somethingnew", "1");
        let back = super::event(&received(record, headers)).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), serde_json::to_string(&event).unwrap());
    }

    #[test]
    fn structured_mode_is_read_too() {
        let (event, mut record) = sent();
        record.value = Some(serde_json::to_vec(&event).unwrap());
        let headers = with(OwnedHeaders::new(), "content-type", "application/cloudevents+json; charset=UTF-8");
        assert_eq!(super::event(&received(record, headers)).unwrap().id, event.id);
    }

    #[test]
    fn what_is_no_event_is_told_why() {
        let (_, record) = sent();
        assert_eq!(super::event(&received(record, OwnedHeaders::new())).unwrap_err().to_string(), "it has no header ce_specversion");
        let (_, mut record) = sent();
        record.value = Some(b"{".to_vec());
        let headers = std::mem::take(&mut record.headers);
        assert!(super::event(&received(record, headers)).unwrap_err().to_string().starts_with("its value is no JSON"));
    }
}
