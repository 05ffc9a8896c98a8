//! Dead letters as the actuator shows them.

#[cfg(any(feature = "store", feature = "kafka", feature = "mongodb"))]
use crate::kernel::error::StoreError;
use serde::Serialize;
use serde_json::value::RawValue;

/// An event that its consumer could not process.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    pub id: i64,
    /// The consumer group, or for a refused event the publishing module.
    pub group: String,
    pub error: String,
    /// RFC 3339.
    pub at: String,
    /// The event; a string if it is not JSON.
    pub event: Box<RawValue>,
}

/// The stored body of a dead letter, which may be no event, and not even JSON.
#[cfg(any(feature = "store", feature = "kafka", feature = "mongodb"))]
pub fn raw_json_or_string(body: String) -> Result<Box<RawValue>, StoreError> {
    RawValue::from_string(body.clone()).or_else(|_| serde_json::value::to_raw_value(&body)).map_err(|e| StoreError::Internal(e.to_string()))
}
