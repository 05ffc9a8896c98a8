//! One peer as this process sees it: its limits, breaker and retry budget, and the call that applies them.

use super::budget::RetryBudget;
use super::counters::PeerCounters;
use super::registry::NamedBreaker;
use crate::kernel::problem::Problem;
use crate::rpc::contract::Operation;
use crate::settings::PeerLimits;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Filled by wiring, read by the metrics.
pub(super) type PeersByName = Arc<Mutex<BTreeMap<&'static str, Arc<Peer>>>>;

pub struct Peer {
    pub(super) module: &'static str,
    limits: PeerLimits,
    pub(super) circuit: Arc<NamedBreaker>,
    retry_budget: RetryBudget,
    concurrency_limit: Semaphore,
    counters: PeerCounters,
}

/// One attempt at a call.
pub struct Attempt<'a> {
    pub deadline: Instant,
    /// Base URL of the instance that failed in the previous attempt.
    pub avoid: Option<&'a str>,
    /// False if the caller's deadline is too short to blame the peer for a timeout.
    pub counts_toward_breaker: bool,
}

/// Why an attempt failed.
#[derive(Debug)]
pub enum Failure {
    /// The peer works and rejected the request: 4xx.
    Refused(Problem),
    /// The peer or the network failed: unreachable, timeout, connection lost, unreadable response, 5xx.
    Peer {
        /// For the caller.
        problem: Problem,
        /// Base URL of the failed instance.
        instance: Option<String>,
        /// Whether another attempt may succeed.
        retryable: bool,
        /// Whether nothing was sent. Then a retry is safe even for operations that are not repeatable.
        unsent: bool,
    },
    /// An error of this process; it allows no conclusion about the peer.
    Local(Problem),
}

impl Peer {
    pub(super) fn new(module: &'static str, limits: PeerLimits, circuit: Arc<NamedBreaker>, counters: PeerCounters) -> Self {
        let concurrency_limit = Semaphore::new(limits.bulkhead);
        Self { module, limits, circuit, retry_budget: RetryBudget::new(Instant::now()), concurrency_limit, counters }
    }

    /// Calls that the bulkhead would accept now.
    pub(super) fn available_calls(&self) -> usize {
        self.concurrency_limit.available_permits()
    }

    /// Counts an attempt by the response's status; `None` if there was no complete response.
    pub fn record_attempt(&self, operation: &Operation, status: Option<u16>, elapsed: Duration) {
        self.counters.record_attempt(operation, status, elapsed);
    }

    /// 503 with `Retry-After`.
    fn unavailable(&self, wait: Duration) -> Problem {
        let mut problem = Problem::unavailable(format!("{} is not available", self.module));
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        problem.retry_after = Some(u32::try_from(seconds).unwrap_or(u32::MAX));
        problem
    }

    /// Makes a call: one attempt, and retries as far as limits, budget and deadline permit.
    pub async fn call<T>(
        &self,
        deadline: Instant,
        repeatable: bool,
        mut attempt: impl AsyncFnMut(Attempt<'_>) -> Result<T, Failure>,
    ) -> Result<T, Problem> {
        let Ok(_slot) = self.concurrency_limit.try_acquire() else {
            self.counters.bulkhead_full.inc();
            return Err(Problem::unavailable(format!("too many calls to {} are under way", self.module)));
        };
        let started = Instant::now();
        let left = deadline.saturating_duration_since(started);
        if left.is_zero() {
            return Err(Problem::unavailable(format!("no time left to call {}", self.module)));
        }
        let permit = self.circuit.acquire().map_err(|refused| self.unavailable(refused.wait).with_cause("its circuit breaker is open"))?;
        self.retry_budget.record_call(started);
        let until = deadline.min(started + self.limits.call);
        // A caller with a short deadline must not open the breaker for all other callers. Half the limit,
        // because a nested call always has slightly less than the full limit left.
        let counts_toward_breaker = left >= self.limits.call / 2;
        let mut avoid: Option<String> = None;
        let mut retries = 0;
        loop {
            let outcome = attempt(Attempt { deadline: until, avoid: avoid.as_deref(), counts_toward_breaker }).await;
            let (problem, instance, retryable, unsent) = match outcome {
                Ok(reply) => {
                    self.circuit.record(permit, true);
                    self.counters.record_call(true, retries > 0);
                    return Ok(reply);
                }
                Err(Failure::Refused(problem)) => {
                    self.circuit.record(permit, true);
                    self.counters.record_call(true, retries > 0);
                    return Err(problem);
                }
                Err(Failure::Local(problem)) => return Err(problem),
                Err(Failure::Peer { problem, instance, retryable, unsent }) => (problem, instance, retryable, unsent),
            };
            let backoff = self.backoff(retries);
            let permitted = retryable
                && (repeatable || unsent)
                && retries < self.limits.retries
                && Instant::now() + backoff < until
                && permit.is_current();
            if !permitted || !self.acquire_retry() {
                if counts_toward_breaker {
                    self.circuit.record(permit, false);
                    self.counters.record_call(false, retries > 0);
                }
                return Err(problem);
            }
            tokio::time::sleep(backoff).await;
            avoid = instance;
            retries += 1;
        }
    }

    /// Acquires a retry from the budget and counts the result.
    fn acquire_retry(&self) -> bool {
        let granted = self.retry_budget.try_acquire(Instant::now());
        if granted {
            self.counters.retried.inc()
        } else {
            self.counters.over_budget.inc()
        }
        granted
    }

    /// Full jitter: a random time between zero and the exponential backoff, so that callers that failed
    /// together do not retry together (Brooker, "Exponential Backoff and Jitter").
    fn backoff(&self, retries: u32) -> Duration {
        let longest = self.limits.backoff.saturating_mul(2_u32.saturating_pow(retries));
        longest.mul_f64(rand::random_range(0.0..=1.0))
    }
}
