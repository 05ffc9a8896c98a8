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
    /// The event; a string if it is not JSON, or nested too deeply for its readers.
    pub event: Box<RawValue>,
}

/// Levels of arrays and objects. Parsers limit them, serde_json to 128; one event must not make the list unreadable.
#[cfg(any(feature = "store", feature = "kafka", feature = "mongodb"))]
const MAX_NESTING: usize = 100;

/// The stored body of a dead letter, which may be no event, and not even JSON.
#[cfg(any(feature = "store", feature = "kafka", feature = "mongodb"))]
pub fn raw_json_or_string(body: String) -> Result<Box<RawValue>, StoreError> {
    if nesting(&body) <= MAX_NESTING
        && let Ok(json) = RawValue::from_string(body.clone())
    {
        return Ok(json);
    }
    serde_json::value::to_raw_value(&body).map_err(|e| StoreError::Internal(e.to_string()))
}

/// Levels of arrays and objects in a JSON text.
#[cfg(any(feature = "store", feature = "kafka", feature = "mongodb"))]
fn nesting(json: &str) -> usize {
    let (mut level, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                level += 1;
                deepest = deepest.max(level);
            }
            b']' | b'}' => level = level.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(all(test, feature = "store"))]
mod tests {
    use super::*;

    #[test]
    fn body_that_a_reader_of_the_list_could_not_parse_is_a_string() {
        let nested = |levels: usize| format!(r#"{{"data":"[\"[","x":{}{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1));
        for (body, is_string) in [(nested(100), false), (nested(101), true), (nested(127), true), ("no JSON".into(), true)] {
            let listed = serde_json::to_string(&[raw_json_or_string(body.clone()).unwrap()]).unwrap();
            let parsed: Vec<serde_json::Value> = serde_json::from_str(&listed).unwrap();
            assert_eq!(parsed[0].is_string(), is_string, "{body}");
        }
    }
}
