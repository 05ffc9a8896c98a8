//! `resilience.*`: how calls to peers in other processes are made to bear trouble.

use crate::kernel::error::PartError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Settings for all peers, and what differs for some.
///
/// The breaker's defaults are those of the Spring system: window 5, failure rate 50 %, open 50 s (30 s
/// for inventory), 3 calls in half-open.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Resilience {
    /// Calls that the failure rate is taken of.
    pub window: u64,
    /// Calls before there is a failure rate.
    pub min_calls: u64,
    /// Failure rate in percent that opens the breaker.
    pub failure_percent: u64,
    /// How long it stays open, in seconds.
    pub open_seconds: u64,
    /// Calls let through on trial when that is over.
    pub half_open_calls: u64,
    /// Longest time for a call with all its retries, in milliseconds.
    pub call_ms: u64,
    /// Retries of a call at most, where the contract marks it repeatable.
    pub retries: u64,
    /// Longest pause before the first retry, in milliseconds; it doubles with each further one.
    pub backoff_ms: u64,
    /// Calls in flight to a peer at most.
    pub bulkhead: u64,
    /// What differs for a peer: `resilience.peers.inventory.open_seconds`.
    pub peers: BTreeMap<String, Overrides>,
}

impl Default for Resilience {
    fn default() -> Self {
        let inventory = Overrides { open_seconds: Some(30), ..Overrides::default() };
        Self {
            window: 5,
            min_calls: 5,
            failure_percent: 50,
            open_seconds: 50,
            half_open_calls: 3,
            call_ms: 800,
            retries: 2,
            backoff_ms: 50,
            bulkhead: 256,
            peers: BTreeMap::from([("inventory".to_string(), inventory)]),
        }
    }
}

/// What differs for one peer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Overrides {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_calls: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_percent: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_open_calls: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bulkhead: Option<u64>,
}

/// When a circuit breaker opens, for how long, and what closes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerRules {
    /// Calls that the failure rate is taken of.
    pub window: usize,
    /// Calls before there is a failure rate.
    pub min_calls: usize,
    /// Failure rate that opens it, in percent.
    pub failure_percent: usize,
    /// How long it stays open.
    pub open: Duration,
    /// Calls let through in half-open.
    pub half_open_calls: usize,
}

/// What holds for one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The breaker's rules.
    pub breaker: BreakerRules,
    /// Longest time for a call with all its retries.
    pub call: Duration,
    /// Retries of a call at most.
    pub retries: u32,
    /// Longest pause before the first retry.
    pub backoff: Duration,
    /// Calls in flight at most.
    pub bulkhead: usize,
}

/// A limit that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("resilience.{key}: {value} is not between {} and {}", .range.start(), .range.end())]
pub struct LimitError {
    key: String,
    value: u64,
    range: RangeInclusive<u64>,
}

impl PartError for LimitError {}

impl Resilience {
    /// What holds for a peer; a value that makes no sense is named with its key.
    pub fn limits(&self, peer: &str) -> Result<Limits, LimitError> {
        let own = self.peers.get(peer).cloned().unwrap_or_default();
        let take = |name: &str, own: Option<u64>, all: u64, sense: RangeInclusive<u64>| {
            let value = own.unwrap_or(all);
            if sense.contains(&value) {
                return Ok(value);
            }
            let key = if own.is_some() { format!("peers.{peer}.{name}") } else { name.to_string() };
            Err(LimitError { key, value, range: sense })
        };
        let breaker = BreakerRules {
            window: take("window", own.window, self.window, 1..=10_000)? as usize,
            min_calls: take("min_calls", own.min_calls, self.min_calls, 1..=10_000)? as usize,
            failure_percent: take("failure_percent", own.failure_percent, self.failure_percent, 1..=100)? as usize,
            open: Duration::from_secs(take("open_seconds", own.open_seconds, self.open_seconds, 1..=86_400)?),
            half_open_calls: take("half_open_calls", own.half_open_calls, self.half_open_calls, 1..=10_000)? as usize,
        };
        Ok(Limits {
            breaker,
            call: Duration::from_millis(take("call_ms", own.call_ms, self.call_ms, 1..=600_000)?),
            retries: take("retries", own.retries, self.retries, 0..=10)? as u32,
            backoff: Duration::from_millis(take("backoff_ms", own.backoff_ms, self.backoff_ms, 0..=60_000)?),
            bulkhead: take("bulkhead", own.bulkhead, self.bulkhead, 1..=100_000)? as usize,
        })
    }
}
