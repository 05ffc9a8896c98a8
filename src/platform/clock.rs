//! Time as the wire and the stores want it.

use time::{OffsetDateTime, macros::format_description};

/// Milliseconds since 1970-01-01 UTC: how every store keeps an instant.
pub fn now_ms() -> i64 {
    let now = OffsetDateTime::now_utc();
    now.unix_timestamp() * 1000 + i64::from(now.millisecond())
}

/// `2026-11-22T20:18:54.933+00:00`: how the Spring system writes an error's time.
pub fn spring_timestamp() -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]+00:00");
    OffsetDateTime::now_utc().format(&format).unwrap_or_default()
}

/// RFC 3339 in UTC with milliseconds, of what a store kept: `2026-11-22T20:18:54.933Z`.
pub fn rfc3339(ms: i64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok().and_then(|t| t.format(&format).ok()).unwrap_or_default()
}
