//! Retry budget: limits retries to a share of the calls, so that a failing peer does not receive a multiple of
//! its normal load.
//!
//! The rule of tower's and linkerd's retry budgets: over the last 10 seconds at most 20 % of the calls, plus
//! 10 retries per second for callers with little traffic.

use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::time::Instant;

const WINDOW_SECONDS: u64 = 10;
const RETRY_PERCENT: u64 = 20;
const MIN_RETRIES_PER_SECOND: u64 = 10;

/// The counts of one second.
#[derive(Debug, Default)]
struct Slot {
    second: u64,
    calls: u64,
    retries: u64,
}

/// The retry budget of one peer, shared by all threads.
#[derive(Debug)]
pub struct RetryBudget {
    started: Instant,
    slots: Mutex<VecDeque<Slot>>,
}

impl RetryBudget {
    pub fn new(now: Instant) -> Self {
        Self { started: now, slots: Mutex::default() }
    }

    pub fn record_call(&self, now: Instant) {
        if let Some(slot) = self.slots(now).back_mut() {
            slot.calls += 1;
        }
    }

    /// Takes one retry from the budget; false if the budget is exhausted.
    pub fn try_acquire(&self, now: Instant) -> bool {
        let mut slots = self.slots(now);
        let (calls, retries) = slots.iter().fold((0, 0), |(calls, retries), slot| (calls + slot.calls, retries + slot.retries));
        let granted = (retries + 1) * 100 <= calls * RETRY_PERCENT + MIN_RETRIES_PER_SECOND * WINDOW_SECONDS * 100;
        if let Some(slot) = slots.back_mut().filter(|_| granted) {
            slot.retries += 1;
        }
        granted
    }

    /// The slots of the window; the last one is the current second's.
    fn slots(&self, now: Instant) -> MutexGuard<'_, VecDeque<Slot>> {
        let second = now.saturating_duration_since(self.started).as_secs();
        let mut slots = self.slots.lock();
        while slots.front().is_some_and(|slot| slot.second + WINDOW_SECONDS <= second) {
            slots.pop_front();
        }
        // Threads may acquire the lock in another order than they read the clock.
        if slots.back().is_none_or(|slot| slot.second < second) {
            slots.push_back(Slot { second, ..Slot::default() });
        }
        slots
    }
}
