//! Circuit breakers of routes, with Resilience4j's count-based window.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How a breaker decides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Window {
    /// Calls looked at; the breaker decides only once it has so many.
    pub(super) size: usize,
    /// Failures among them, in percent, from which it opens.
    pub(super) percent: f32,
    /// How long it stays open.
    pub(super) open: Duration,
    /// Calls let through to see whether it may close.
    pub(super) half_open: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self { size: 5, percent: 50.0, open: Duration::from_secs(30), half_open: 3 }
    }
}

enum State {
    Closed(VecDeque<bool>),
    Open(Instant),
    HalfOpen { let_in: usize, since: Instant, results: Vec<bool> },
}

/// One breaker; calls of all routes that name it count.
pub(super) struct Breaker {
    window: Window,
    state: Mutex<State>,
}

impl Breaker {
    /// A closed one.
    pub(super) fn new(window: Window) -> Self {
        Self { window, state: Mutex::new(State::Closed(VecDeque::new())) }
    }

    /// Whether a call may be made now; if not, when it makes sense to ask again. A call that was let in
    /// must be reported by [`Breaker::report`].
    pub(super) fn admit(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *state {
            State::Closed(_) => Ok(()),
            State::Open(until) if now < *until => Err(*until - now),
            State::Open(_) => {
                *state = State::HalfOpen { let_in: 1, since: now, results: Vec::new() };
                Ok(())
            }
            State::HalfOpen { let_in, since, .. } => {
                // calls whose caller went away never report: after a while others may try in their place
                if *let_in >= self.window.half_open && now.duration_since(*since) > self.window.open {
                    (*let_in, *since) = (0, now);
                }
                if *let_in >= self.window.half_open.max(1) {
                    return Err(Duration::from_secs(1));
                }
                *let_in += 1;
                Ok(())
            }
        }
    }

    /// How a call went.
    pub(super) fn report(&self, failed: bool, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let too_many = |failures: usize, of: usize| failures as f32 * 100.0 >= self.window.percent * of as f32;
        let next = match &mut *state {
            State::Open(_) => None,
            State::Closed(results) => {
                results.push_back(failed);
                if results.len() > self.window.size {
                    results.pop_front();
                }
                let failures = results.iter().filter(|f| **f).count();
                let opens = results.len() >= self.window.size && too_many(failures, results.len());
                opens.then(|| State::Open(now + self.window.open))
            }
            State::HalfOpen { results, .. } => {
                results.push(failed);
                let failures = results.iter().filter(|f| **f).count();
                (results.len() >= self.window.half_open).then(|| {
                    if too_many(failures, results.len()) { State::Open(now + self.window.open) } else { State::Closed(VecDeque::new()) }
                })
            }
        };
        if let Some(next) = next {
            *state = next;
        }
    }
}

/// All breakers by name; they outlive a reload of the routes.
#[derive(Default)]
pub(super) struct Breakers(Mutex<HashMap<String, Arc<Breaker>>>);

impl Breakers {
    /// The breaker of this name; made anew where its settings have changed.
    pub(super) fn get(&self, name: &str, windows: &BTreeMap<String, Window>) -> Arc<Breaker> {
        let window = windows.get(name).or_else(|| windows.get("default")).copied().unwrap_or_default();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let breaker = all.entry(name.to_string()).or_insert_with(|| Arc::new(Breaker::new(window)));
        if breaker.window != window {
            *breaker = Arc::new(Breaker::new(window));
        }
        breaker.clone()
    }
}
