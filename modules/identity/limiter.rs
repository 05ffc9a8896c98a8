//! Holds up who guesses passwords: after some failures a name is closed for the rest of a minute.
//!
//! Names fall into a fixed number of slots by a keyed hash. So the memory is bounded, nobody can push
//! another name's count out by trying many, and a name that exists behaves as one that does not.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

const SLOTS: usize = 4096;
const MOST: u32 = 10;
const WINDOW: i64 = 60;

#[derive(Clone, Copy, Default)]
struct Slot {
    since: i64,
    failures: u32,
}

/// Counts failed logins by name.
pub(super) struct Limiter {
    hasher: RandomState,
    slots: Mutex<Vec<Slot>>,
}

/// A name that is closed, and for how many seconds yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Closed(pub(super) i64);

impl Limiter {
    /// With nothing counted yet.
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), slots: Mutex::new(vec![Slot::default(); SLOTS]) }
    }

    /// Runs one check of a password, unless the name is closed. Check and count are one step: many
    /// guesses at the same moment get no more tries than one after the other.
    pub(super) fn guard<T>(&self, name: &str, now: i64, check: impl FnOnce() -> Option<T>) -> Result<Option<T>, Closed> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let index = usize::try_from(self.hasher.hash_one(name) % SLOTS as u64).unwrap_or_default();
        let Some(slot) = slots.get_mut(index) else { return Ok(check()) };
        if now - slot.since >= WINDOW {
            *slot = Slot { since: now, failures: 0 };
        }
        if slot.failures >= MOST {
            // even the right password: else the answer would tell it from the wrong ones
            return Err(Closed(slot.since + WINDOW - now));
        }
        let found = check();
        match found {
            Some(_) => slot.failures = 0,
            None => slot.failures += 1,
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_failures_close_a_name_for_the_rest_of_the_minute() {
        let limiter = Limiter::new();
        for _ in 0..9 {
            assert_eq!(limiter.guard("alice", 100, || None::<()>), Ok(None));
        }
        assert_eq!(limiter.guard("alice", 100, || Some(())), Ok(Some(())), "a success forgives");
        for _ in 0..10 {
            assert_eq!(limiter.guard("alice", 110, || None::<()>), Ok(None));
        }
        assert_eq!(limiter.guard("alice", 120, || Some(())), Err(Closed(40)));
        assert_eq!(limiter.guard("alice", 160, || Some(())), Ok(Some(())));
    }
}
