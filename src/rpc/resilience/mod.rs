//! What stands around every call of a generated client, so that trouble of a peer stays the peer's.
//!
//! From outside to inside:
//! 1. **bulkhead**: so many calls in flight to a peer, and no more; the rest is refused at once;
//! 2. **circuit breaker** ([`breaker`]): a peer that fails is left alone for a while. It judges calls, not
//!    attempts: with two instances of which one is dead, calls succeed at the second attempt, and the peer
//!    is well. Single instances are the business of [`super::discovery`];
//! 3. **retry** within its [`budget`], with full jitter, for what the contract marks repeatable or what was
//!    never sent, and nothing else, at another instance where there is one, and only while the breaker stays as it was;
//! 4. **time-out**: the peer's own limit or the caller's deadline, whichever is earlier, over all attempts.
//!
//! There is one [`Peer`] a peer module and process; all threads share it.

pub mod breaker;
pub mod budget;
mod meters;
pub mod registry;
#[cfg(test)]
mod tests;

use crate::kernel::error::StartError;
use crate::kernel::problem::Problem;
use crate::rpc::contract::Operation;
use crate::settings::{Limits, Resilience};
use budget::Budget;
use meters::{Counters, Meters};
use parking_lot::Mutex;
use registry::{Breakers, Guard};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// The peers of this process that are called over HTTP.
pub struct Peers {
    settings: Resilience,
    meters: Meters,
    /// The circuit breakers of this process: a peer's, and whoever else needs one.
    pub breakers: Breakers,
    all: Shared,
}

/// As wiring fills it and the operator's endpoints read it.
type Shared = Arc<Mutex<BTreeMap<&'static str, Arc<Peer>>>>;

/// The peers so far, by name.
fn listed(all: &Shared) -> Vec<Arc<Peer>> {
    all.lock().values().cloned().collect()
}

impl Peers {
    /// None yet; settings that make no sense are refused here, used or not.
    pub fn new(settings: Resilience, registry: &prometheus::Registry) -> Result<Self, StartError> {
        settings.limits("")?;
        for peer in settings.peers.keys() {
            settings.limits(peer)?;
        }
        let all = Shared::default();
        let breakers = Breakers::new(registry)?;
        let meters = Meters::register(registry, all.clone(), breakers.clone())?;
        Ok(Self { settings, meters, breakers, all })
    }

    /// The one state of this peer.
    pub fn of(&self, module: &'static str) -> Result<Arc<Peer>, StartError> {
        let limits = self.settings.limits(module)?;
        let mut all = self.all.lock();
        let make = || Arc::new(Peer::new(module, limits, self.breakers.fixed(module, limits.breaker), self.meters.of(module)));
        Ok(all.entry(module).or_insert_with(make).clone())
    }
}

/// One peer, as this process finds it.
pub struct Peer {
    module: &'static str,
    limits: Limits,
    guard: Arc<Guard>,
    budget: Budget,
    seats: Semaphore,
    counters: Counters,
}

/// One attempt at a call.
pub struct Attempt<'a> {
    /// When its answer is of no use any more.
    pub until: Instant,
    /// The instance that has just failed.
    pub avoid: Option<&'a str>,
    /// Whether the peer is given time enough to be blamed for using it up.
    pub fair: bool,
}

/// Why an attempt brought no usable answer.
#[derive(Debug)]
pub enum Failure {
    /// The peer works and refused: 4xx.
    Refused(Problem),
    /// The peer, or the way to it, is at fault: unreachable, too late, broken off, unreadable, 5xx.
    Peer {
        /// For the caller.
        problem: Problem,
        /// Which instance it was.
        instance: Option<String>,
        /// Whether another attempt may do better.
        again: bool,
        /// Whether nothing was sent: then another attempt is the first, whatever the call is.
        unsent: bool,
    },
    /// Our own fault; nothing is known of the peer.
    Ours(Problem),
}

impl Peer {
    fn new(module: &'static str, limits: Limits, guard: Arc<Guard>, counters: Counters) -> Self {
        let seats = Semaphore::new(limits.bulkhead);
        Self { module, limits, guard, budget: Budget::new(Instant::now()), seats, counters }
    }

    /// Counts an attempt at a call of this operation by the answer's status, or by none.
    pub fn attempted(&self, operation: &Operation, status: Option<u16>, elapsed: Duration) {
        self.counters.attempted(operation, status, elapsed);
    }

    /// 503, to come again after so long.
    fn away(&self, wait: Duration) -> Problem {
        let mut problem = Problem::unavailable(format!("{} is not available", self.module));
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        problem.retry_after = Some(u32::try_from(seconds).unwrap_or(u32::MAX));
        problem
    }

    /// Makes a call of as many attempts as it takes and may take.
    pub async fn call<T>(
        &self,
        deadline: Instant,
        repeatable: bool,
        mut attempt: impl AsyncFnMut(Attempt<'_>) -> Result<T, Failure>,
    ) -> Result<T, Problem> {
        let Ok(_seat) = self.seats.try_acquire() else {
            self.counters.bulkhead_full.inc();
            return Err(Problem::unavailable(format!("too many calls to {} are under way", self.module)));
        };
        let started = Instant::now();
        let left = deadline.saturating_duration_since(started);
        if left.is_zero() {
            return Err(Problem::unavailable(format!("no time left to call {}", self.module)));
        }
        let permit = self.guard.acquire().map_err(|refused| self.away(refused.wait).with_cause("its circuit breaker is open"))?;
        self.budget.call(started);
        let until = deadline.min(started + self.limits.call);
        // a caller in a hurry must not be able to open the breaker for everybody else; a caller of a
        // caller has always a little less time than the limit, and that is not meant
        let fair = left >= self.limits.call / 2;
        let mut avoid: Option<String> = None;
        let mut retries = 0;
        loop {
            let outcome = attempt(Attempt { until, avoid: avoid.as_deref(), fair }).await;
            let (problem, instance, again, unsent) = match outcome {
                Ok(answer) => {
                    self.guard.settle(permit, true);
                    self.counters.answered(true, retries > 0);
                    return Ok(answer);
                }
                Err(Failure::Refused(problem)) => {
                    self.guard.settle(permit, true);
                    self.counters.answered(true, retries > 0);
                    return Err(problem);
                }
                Err(Failure::Ours(problem)) => return Err(problem),
                Err(Failure::Peer { problem, instance, again, unsent }) => (problem, instance, again, unsent),
            };
            let pause = self.pause(retries);
            let may =
                again && (repeatable || unsent) && retries < self.limits.retries && Instant::now() + pause < until && permit.is_current();
            if !may || !self.grant() {
                if fair {
                    self.guard.settle(permit, false);
                    self.counters.answered(false, retries > 0);
                }
                return Err(problem);
            }
            tokio::time::sleep(pause).await;
            avoid = instance;
            retries += 1;
        }
    }

    /// Takes a retry from the budget.
    fn grant(&self) -> bool {
        let granted = self.budget.retry(Instant::now());
        if granted {
            self.counters.retried.inc()
        } else {
            self.counters.over_budget.inc()
        }
        granted
    }

    /// Full jitter: anything from nothing to the back-off, which doubles. Callers that failed together
    /// do not come back together (Brooker, "Exponential Backoff and Jitter").
    fn pause(&self, retries: u32) -> Duration {
        let longest = self.limits.backoff.saturating_mul(2_u32.saturating_pow(retries));
        longest.mul_f64(rand::random_range(0.0..=1.0))
    }
}
