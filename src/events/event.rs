//! Events that a module publishes for other modules, in a CloudEvents 1.0 envelope.

#[cfg(any(feature = "sqlite", feature = "mysql"))]
use crate::data::Snapshot;
use crate::kernel::clock;
use crate::kernel::error::StoreError;
use crate::observe::trace::Trace;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// An event whose data does not match its type.
#[derive(Debug, thiserror::Error)]
#[error("{kind} does not fit: {cause}")]
pub struct InvalidEventData {
    pub kind: String,
    #[source]
    pub cause: serde_json::Error,
}

/// A CloudEvents 1.0 envelope (JSON format, structured mode).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    /// Always `1.0`.
    pub specversion: String,
    /// Unique; consumers apply each id once.
    pub id: Uuid,
    /// The publishing module: `/tradepost/order`.
    pub source: String,
    /// For instance `order.placed`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The aggregate's id. Events of one subject are delivered in order.
    pub subject: String,
    /// RFC 3339.
    pub time: String,
    /// Always `application/json`.
    pub datacontenttype: String,
    /// CloudEvents' distributed tracing extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The event's data, byte for byte as published: amounts keep their scale.
    pub data: Box<RawValue>,
}

impl Event {
    /// `subject`: the id of the aggregate that the event is about.
    pub fn new<T: Serialize>(module: &str, kind: &str, subject: impl Into<String>, trace: Trace, data: &T) -> Result<Self, StoreError> {
        Ok(Self {
            specversion: "1.0".into(),
            id: Uuid::now_v7(),
            source: format!("/tradepost/{module}"),
            kind: kind.into(),
            subject: subject.into(),
            time: clock::rfc3339(clock::now_ms()),
            datacontenttype: "application/json".into(),
            traceparent: Some(trace.header()),
            data: serde_json::value::to_raw_value(data).map_err(|e| StoreError::Internal(e.to_string()))?,
        })
    }

    /// Replaces the id by one derived from source, type and subject: for events that occur once per subject. A shop that is
    /// restored from an older backup repeats the step and publishes its event again; with the same id, consumers drop it.
    pub fn with_deterministic_id(mut self) -> Self {
        let digest = Sha256::digest(format!("{} {} {}", self.source, self.kind, self.subject));
        let mut id = [0; 16];
        id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        self.id = uuid::Builder::from_custom_bytes(id).into_uuid();
        self
    }

    /// The part of the type before the first dot.
    pub fn topic(&self) -> &str {
        self.kind.split('.').next().unwrap_or_default()
    }

    /// Deserializes the data; ignores unknown members.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, InvalidEventData> {
        serde_json::from_str(self.data.get()).map_err(|cause| InvalidEventData { kind: self.kind.clone(), cause })
    }
}

#[cfg(any(feature = "sqlite", feature = "mysql"))]
#[derive(diesel::QueryableByName)]
struct Body {
    #[diesel(sql_type = diesel::sql_types::Text)]
    body: String,
}

/// Calls `each` with every event in the column `body` of this query, for the audit. Skips invalid events: the audit
/// detects the missing order event.
#[cfg(any(feature = "sqlite", feature = "mysql"))]
pub fn for_each(snapshot: &mut Snapshot, query: &str, mut each: impl FnMut(Event)) -> Result<(), StoreError> {
    for row in snapshot.stream::<Body>(query)? {
        if let Ok(event) = serde_json::from_str(&row?.body) {
            each(event);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_deterministic_id_gives_the_same_step_the_same_id_and_other_steps_others() {
        let event = |kind: &str, subject: &str| Event::new("order", kind, subject, Trace::start(), &()).unwrap();
        let id = |kind: &str, subject: &str| event(kind, subject).with_deterministic_id().id;
        assert_eq!(id("order.placed", "1"), id("order.placed", "1"));
        assert_ne!(id("order.placed", "1"), id("order.cancelled", "1"));
        assert_ne!(id("order.placed", "1"), id("order.placed", "2"));
        assert_ne!(
            event("stock.changed", "1").id,
            event("stock.changed", "1").id,
            "without `with_deterministic_id` each event has its own id"
        );
    }
}
