//! Events: what a module tells the others after the fact, in a CloudEvents 1.0 envelope.

use crate::platform::clock;
use crate::platform::store::StoreError;
use crate::platform::trace::Trace;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use uuid::Uuid;

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

    /// The topic it travels on: the part of its type before the first dot.
    pub fn topic(&self) -> &str {
        self.kind.split('.').next().unwrap_or_default()
    }

    /// Its content as what the publisher wrote; unknown members are ignored.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_str(self.data.get()).map_err(|e| format!("{} does not fit: {e}", self.kind))
    }
}
