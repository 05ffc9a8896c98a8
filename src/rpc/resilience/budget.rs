//! How many retries there may be: a share of the calls, so that a peer in trouble is not sent a multiple
//! of its load.
//!
//! The rule is that of tower's and linkerd's retry budget: over the last 10 seconds at most 20 % of the
//! calls, plus 10 a second for those who call seldom.

use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::time::Instant;

const SECONDS: u64 = 10;
const PERCENT: u64 = 20;
const ALWAYS_A_SECOND: u64 = 10;

#[derive(Debug, Default)]
struct Slot {
    second: u64,
    calls: u64,
    retries: u64,
}

/// The account of one peer; shared by all threads.
#[derive(Debug)]
pub struct Budget {
    started: Instant,
    slots: Mutex<VecDeque<Slot>>,
}

impl Budget {
    /// An account that begins now.
    pub fn new(now: Instant) -> Self {
        Self { started: now, slots: Mutex::default() }
    }

    /// A call was made.
    pub fn call(&self, now: Instant) {
        if let Some(slot) = self.slots(now).back_mut() {
            slot.calls += 1;
        }
    }

    /// True where one more retry is within the budget; it is then taken.
    pub fn retry(&self, now: Instant) -> bool {
        let mut slots = self.slots(now);
        let (calls, retries) = slots.iter().fold((0, 0), |(calls, retries), slot| (calls + slot.calls, retries + slot.retries));
        let granted = (retries + 1) * 100 <= calls * PERCENT + ALWAYS_A_SECOND * SECONDS * 100;
        if let Some(slot) = slots.back_mut().filter(|_| granted) {
            slot.retries += 1;
        }
        granted
    }

    /// The slots that still count; the last one is this second's.
    fn slots(&self, now: Instant) -> MutexGuard<'_, VecDeque<Slot>> {
        let second = now.saturating_duration_since(self.started).as_secs();
        let mut slots = self.slots.lock();
        while slots.front().is_some_and(|slot| slot.second + SECONDS <= second) {
            slots.pop_front();
        }
        // two threads may come in the other order than they took the time
        if slots.back().is_none_or(|slot| slot.second < second) {
            slots.push_back(Slot { second, ..Slot::default() });
        }
        slots
    }
}
