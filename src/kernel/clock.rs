//! Current time, and its formats on the wire and in stores.

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, macros::format_description};

/// Milliseconds since 1970-01-01 UTC, the format of every store.
pub fn now_ms() -> i64 {
    let now = OffsetDateTime::now_utc();
    now.unix_timestamp() * 1000 + i64::from(now.millisecond())
}

/// Difference between the clocks of two machines that share a store, in milliseconds.
const MAX_SKEW_MS: i64 = 10_000;

/// The latest credible end, at `now`, of a stored term of this length. A later end was stored before the wall clock was
/// set back, or on a machine with a wrong clock: it counts as past, or work would wait for the length of the step.
pub fn latest_end(now: i64, term_ms: i64) -> i64 {
    now.saturating_add(term_ms).saturating_add(MAX_SKEW_MS)
}

/// Spring Boot's format of an error's timestamp: `2026-11-22T20:18:54.933+00:00`.
pub fn spring_timestamp() -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]+00:00");
    OffsetDateTime::now_utc().format(&format).unwrap_or_default()
}

/// RFC 3339 in UTC with milliseconds: `2026-11-22T20:18:54.933Z`.
pub fn rfc3339(ms: i64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok().and_then(|t| t.format(&format).ok()).unwrap_or_default()
}

/// Parses RFC 3339 with any offset into milliseconds since 1970-01-01 UTC.
pub fn parse_rfc3339(rfc3339: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(rfc3339, &Rfc3339).ok()?;
    Some(time.unix_timestamp() * 1000 + i64::from(time.millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formatted_instant_parses_to_same_value() {
        let now = now_ms();
        assert_eq!(parse_rfc3339(&rfc3339(now)), Some(now));
        assert_eq!(parse_rfc3339("1970-01-01T01:00:01.5+01:00"), Some(1500));
        assert_eq!(parse_rfc3339("yesterday"), None);
    }
}
