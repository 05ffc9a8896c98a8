//! Rate limiter: one token bucket per key.

use actix_web::http::header::{HeaderName, HeaderValue};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::Instant;

/// Evict full buckets above this count.
const EVICTION_THRESHOLD: usize = 10_000;

/// Parameters of Spring's `RequestRateLimiter`, in tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rate {
    /// Tokens added per second.
    pub(super) replenish: u32,
    /// Capacity of the bucket.
    pub(super) burst: u32,
    /// Tokens per request.
    pub(super) requested: u32,
}

struct Bucket {
    tokens: f64,
    refilled_at: Instant,
    rate: Rate,
}

impl Bucket {
    fn refill(&mut self, now: Instant) {
        let refilled = now.duration_since(self.refilled_at).as_secs_f64() * f64::from(self.rate.replenish);
        self.tokens = (self.tokens + refilled).min(f64::from(self.rate.burst));
        self.refilled_at = now;
    }
}

/// The `x-ratelimit-*` headers of a response.
pub(super) type RateHeaders = Vec<(HeaderName, HeaderValue)>;

pub(super) struct LimitDecision {
    pub(super) allowed: bool,
    pub(super) headers: RateHeaders,
}

/// Buckets by key; per process.
#[derive(Default)]
pub(super) struct RateLimiter(Mutex<HashMap<String, Bucket>>);

impl RateLimiter {
    /// Takes one request's tokens from the key's bucket, if it has enough.
    pub(super) fn take(&self, key: &str, rate: Rate, now: Instant) -> LimitDecision {
        let mut buckets = self.0.lock();
        if buckets.len() >= EVICTION_THRESHOLD && !buckets.contains_key(key) {
            buckets.retain(|_, bucket| {
                bucket.refill(now);
                bucket.tokens < f64::from(bucket.rate.burst)
            });
        }
        let bucket = buckets.entry(key.to_string()).or_insert(Bucket { tokens: f64::from(rate.burst), refilled_at: now, rate });
        bucket.rate = rate;
        bucket.refill(now);
        let allowed = bucket.tokens >= f64::from(rate.requested);
        if allowed {
            bucket.tokens -= f64::from(rate.requested);
        }
        let header = |name, value: u32| (HeaderName::from_static(name), HeaderValue::from(value));
        let headers = vec![
            header("x-ratelimit-remaining", bucket.tokens as u32),
            header("x-ratelimit-replenish-rate", rate.replenish),
            header("x-ratelimit-burst-capacity", rate.burst),
            header("x-ratelimit-requested-tokens", rate.requested),
        ];
        LimitDecision { allowed, headers }
    }
}
