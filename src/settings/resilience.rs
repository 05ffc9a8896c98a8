//! `resilience.*`: timeouts, retries, circuit breaker and bulkhead of calls to remote peers.

use crate::kernel::error::ComponentError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Settings for all peers, and overrides per peer.
///
/// The circuit breaker has the defaults of the Spring system: window 5, failure rate 50 %, open 50 s (30 s for
/// inventory), 3 calls in half-open.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Resilience {
    /// Number of most recent calls that the failure rate is computed from.
    pub window: u64,
    /// Minimum number of calls before the failure rate is computed.
    pub min_calls: u64,
    /// Failure rate that opens the circuit breaker, in percent.
    pub failure_percent: u64,
    /// Time in the open state, in seconds.
    pub open_seconds: u64,
    /// Permitted calls in half-open.
    pub half_open_calls: u64,
    /// Timeout of a call with all its retries, in milliseconds.
    pub call_ms: u64,
    /// Maximum number of retries, if the contract allows retries of the call.
    pub retries: u64,
    /// Maximum backoff before the first retry, in milliseconds; doubled for each further one.
    pub backoff_ms: u64,
    /// Maximum number of concurrent calls to a peer.
    pub bulkhead: u64,
    /// Overrides per peer: `resilience.peers.inventory.open_seconds`.
    pub peers: BTreeMap<String, PeerOverrides>,
}

impl Default for Resilience {
    fn default() -> Self {
        let inventory = PeerOverrides { open_seconds: Some(30), ..PeerOverrides::default() };
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

/// Overrides for one peer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PeerOverrides {
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

/// Validated circuit breaker settings of one peer; see [`Resilience`] for the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    pub window: usize,
    pub min_calls: usize,
    pub failure_percent: usize,
    pub open: Duration,
    pub half_open_calls: usize,
}

/// Validated settings of one peer; see [`Resilience`] for the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerLimits {
    pub breaker: BreakerSettings,
    pub call: Duration,
    pub retries: u32,
    pub backoff: Duration,
    pub bulkhead: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("resilience.{key}: {value} is not between {} and {}", .range.start(), .range.end())]
pub struct LimitError {
    key: String,
    value: u64,
    range: RangeInclusive<u64>,
}

impl ComponentError for LimitError {}

impl Resilience {
    /// The settings of one peer, checked for their range.
    pub fn limits(&self, peer: &str) -> Result<PeerLimits, LimitError> {
        let overrides = self.peers.get(peer).cloned().unwrap_or_default();
        let checked = |name: &str, override_value: Option<u64>, default: u64, range: RangeInclusive<u64>| {
            let value = override_value.unwrap_or(default);
            if range.contains(&value) {
                return Ok(value);
            }
            let key = if override_value.is_some() { format!("peers.{peer}.{name}") } else { name.to_string() };
            Err(LimitError { key, value, range })
        };
        let breaker = BreakerSettings {
            window: checked("window", overrides.window, self.window, 1..=10_000)? as usize,
            min_calls: checked("min_calls", overrides.min_calls, self.min_calls, 1..=10_000)? as usize,
            failure_percent: checked("failure_percent", overrides.failure_percent, self.failure_percent, 1..=100)? as usize,
            open: Duration::from_secs(checked("open_seconds", overrides.open_seconds, self.open_seconds, 1..=86_400)?),
            half_open_calls: checked("half_open_calls", overrides.half_open_calls, self.half_open_calls, 1..=10_000)? as usize,
        };
        Ok(PeerLimits {
            breaker,
            call: Duration::from_millis(checked("call_ms", overrides.call_ms, self.call_ms, 1..=600_000)?),
            retries: checked("retries", overrides.retries, self.retries, 0..=10)? as u32,
            backoff: Duration::from_millis(checked("backoff_ms", overrides.backoff_ms, self.backoff_ms, 0..=60_000)?),
            bulkhead: checked("bulkhead", overrides.bulkhead, self.bulkhead, 1..=100_000)? as usize,
        })
    }
}
