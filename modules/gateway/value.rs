//! Access to the values of a routes document.

use super::error::ValueError;
use serde_json::Value;
use std::time::Duration;

/// A value as it would be written without quotes.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The value at a dotted key.
pub(super) fn find<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(value, |value, name| value.get(name))
}

/// Spring's relaxed binding: `key-resolver`, `keyResolver` and `key_resolver` are one name.
pub(super) fn relaxed_name(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_')).collect::<String>().to_ascii_lowercase()
}

/// Parses `10ms`, `5s`, `2m`, `PT5S`, or a bare number of milliseconds.
pub(super) fn duration(text: &str) -> Result<Duration, ValueError> {
    let malformed = || ValueError::malformed(text, "duration; expected such as 500ms, 5s, 2m");
    let bare = text.trim().to_ascii_lowercase();
    let bare = bare.strip_prefix("pt").unwrap_or(&bare);
    let digits = bare.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match bare.get(digits.len()..).unwrap_or_default() {
        "" | "ms" => 1.0,
        "s" => 1000.0,
        "m" => 60_000.0,
        "h" => 3_600_000.0,
        _ => return Err(malformed()),
    };
    let number: f64 = digits.parse().map_err(|_| malformed())?;
    Duration::try_from_secs_f64(number * unit / 1000.0).map_err(|_| malformed())
}
