//! Events: what a module tells the others after the fact, in a CloudEvents 1.0 envelope.

#[cfg(any(feature = "sqlite", feature = "mysql"))]
use crate::data::Snapshot;
use crate::kernel::clock;
use crate::kernel::error::StoreError;
use crate::observe::trace::Trace;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// An event whose content is not what its type says.
#[derive(Debug, thiserror::Error)]
#[error("{kind} does not fit: {cause}")]
pub struct UnfitEvent {
    /// The event's type.
    pub kind: String,
    /// What does not fit.
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
    /// Who says it: `/tradepost/order`.
    pub source: String,
    /// What happened: `order.placed`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The aggregate's id. Events of one subject are delivered in order.
    pub subject: String,
    /// When, RFC 3339.
    pub time: String,
    /// Always `application/json`.
    pub datacontenttype: String,
    /// CloudEvents' distributed tracing extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The event's own content, as it was written: amounts keep their scale.
    pub data: Box<RawValue>,
}

impl Event {
    /// A new event of a module about one of its aggregates.
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
            data: serde_json::value::to_raw_value(data).map_err(|e| StoreError::Broken(e.to_string()))?,
        })
    }

    /// The same with an id that follows from what it reports: for a step that its subject takes once. A shop that was
    /// restored to before that step takes it again and says so again, on a bus that has heard it: with the same id.
    pub fn once(mut self) -> Self {
        let digest = Sha256::digest(format!("{} {} {}", self.source, self.kind, self.subject));
        let mut id = [0; 16];
        id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        self.id = uuid::Builder::from_custom_bytes(id).into_uuid();
        self
    }

    /// The topic it travels on: the part of its type before the first dot.
    pub fn topic(&self) -> &str {
        self.kind.split('.').next().unwrap_or_default()
    }

    /// Its content as what the publisher wrote; unknown members are ignored.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, UnfitEvent> {
        serde_json::from_str(self.data.get()).map_err(|cause| UnfitEvent { kind: self.kind.clone(), cause })
    }
}

#[cfg(any(feature = "sqlite", feature = "mysql"))]
#[derive(diesel::QueryableByName)]
struct Body {
    #[diesel(sql_type = diesel::sql_types::Text)]
    body: String,
}

/// Type and subject of the events in the column `body` of this query, for the audit. Skips invalid events: the audit
/// detects the missing order event.
#[cfg(any(feature = "sqlite", feature = "mysql"))]
pub fn reported(snapshot: &mut Snapshot, query: &str) -> Result<Vec<(String, String)>, StoreError> {
    let rows: Vec<Body> = snapshot.rows(query)?;
    Ok(rows.iter().filter_map(|row| serde_json::from_str::<Event>(&row.body).ok()).map(|event| (event.kind, event.subject)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_is_told_again_has_the_same_id_and_another_step_another() {
        let told = |kind: &str, subject: &str| Event::new("order", kind, subject, Trace::start(), &()).unwrap();
        let id = |kind: &str, subject: &str| told(kind, subject).once().id;
        assert_eq!(id("order.placed", "1"), id("order.placed", "1"));
        assert_ne!(id("order.placed", "1"), id("order.cancelled", "1"));
        assert_ne!(id("order.placed", "1"), id("order.placed", "2"));
        assert_ne!(told("stock.changed", "1").id, told("stock.changed", "1").id, "what may happen again is another event");
    }
}
