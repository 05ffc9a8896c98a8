//! Token buckets: so many requests a second for each key, with bursts.

use actix_web::http::header::{HeaderName, HeaderValue};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::Instant;

/// Above so many, buckets that are full again are forgotten: they say nothing.
const MANY: usize = 10_000;

/// `RequestRateLimiter`'s three numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rate {
    /// Tokens that come back each second.
    pub(super) replenish: u32,
    /// Tokens there are at most.
    pub(super) burst: u32,
    /// Tokens that one request takes.
    pub(super) requested: u32,
}

struct Bucket {
    tokens: f64,
    at: Instant,
    rate: Rate,
}

impl Bucket {
    fn fill(&mut self, now: Instant) {
        let come_back = now.duration_since(self.at).as_secs_f64() * f64::from(self.rate.replenish);
        self.tokens = (self.tokens + come_back).min(f64::from(self.rate.burst));
        self.at = now;
    }
}

/// Whether a request passes, and what its sender is told.
pub(super) struct Verdict {
    pub(super) allowed: bool,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

/// The buckets of this process.
#[derive(Default)]
pub(super) struct Limiter(Mutex<HashMap<String, Bucket>>);

impl Limiter {
    /// Takes a request's tokens out of this key's bucket, where it has so many.
    pub(super) fn take(&self, key: &str, rate: Rate, now: Instant) -> Verdict {
        let mut buckets = self.0.lock();
        if buckets.len() >= MANY && !buckets.contains_key(key) {
            buckets.retain(|_, bucket| {
                bucket.fill(now);
                bucket.tokens < f64::from(bucket.rate.burst)
            });
        }
        let bucket = buckets.entry(key.to_string()).or_insert(Bucket { tokens: f64::from(rate.burst), at: now, rate });
        bucket.rate = rate;
        bucket.fill(now);
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
        Verdict { allowed, headers }
    }
}
