//! A circuit breaker with the rules of Resilience4j, on the state machine of failsafe.
//!
//! failsafe keeps the states and the time of opening. It has no count-based window, and in half-open
//! it lets everybody through; so here are the window, which decides when the machine trips, and the
//! trials of half-open, which decide whether it closes.
//!
//! The rules are those of Resilience4j's `CircuitBreakerStateMachine`:
//! - closed: with `min_calls` (or a full window, if that is smaller) the failure rate is looked at after
//!   every call, successful or not; at the threshold it opens;
//! - open: nobody is let through for `open`, then it is half-open by itself
//!   (`automaticTransitionFromOpenToHalfOpenEnabled`);
//! - half-open: `half_open_calls` are let through, with a window of that size; its rate opens or closes.
//!   A trial that is given up makes room for another.
//!
//! Stricter than Resilience4j in one thing: an answer counts only in the phase in which its call was let
//! through. One that comes late says how the peer was, not how it is.

use crate::settings::BreakerRules;
use failsafe::{FailurePolicy, Instrument, StateMachine};
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// Where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Calls go through.
    Closed,
    /// None does.
    Open,
    /// A few do, on trial.
    HalfOpen,
    /// None does, until an administrator says otherwise.
    ForcedOpen,
    /// All do, and nothing is counted, until an administrator says otherwise.
    Disabled,
}

impl State {
    /// Every state there is.
    pub const ALL: [State; 5] = [State::Closed, State::Open, State::HalfOpen, State::ForcedOpen, State::Disabled];

    /// Resilience4j's name of it.
    pub fn name(self) -> &'static str {
        match self {
            State::Closed => "CLOSED",
            State::Open => "OPEN",
            State::HalfOpen => "HALF_OPEN",
            State::ForcedOpen => "FORCED_OPEN",
            State::Disabled => "DISABLED",
        }
    }
}

/// What an administrator may order (Resilience4j's `updateState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Close it and forget what was counted; it works by its rules again.
    Close,
    /// Open it until told otherwise.
    ForceOpen,
    /// Let everything through until told otherwise.
    Disable,
}

/// A call was not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotPermitted {
    /// Until the next trial may be possible; zero where that depends on trials under way.
    pub wait: Duration,
}

/// What it shows of itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Snapshot {
    /// Where it stands.
    pub state: State,
    /// In percent; none with too few calls.
    pub failure_rate: Option<f32>,
    /// Calls in the window.
    pub buffered: usize,
    /// Failed calls in the window.
    pub failed: usize,
    /// Calls not let through in this window's time.
    pub not_permitted: u64,
}

/// The last outcomes, oldest first.
#[derive(Debug)]
struct Window {
    size: usize,
    needed: usize,
    outcomes: VecDeque<bool>,
    failed: usize,
}

impl Window {
    fn new(size: usize, min_calls: usize) -> Self {
        Self { size, needed: min_calls.min(size), outcomes: VecDeque::with_capacity(size), failed: 0 }
    }

    fn record(&mut self, success: bool) {
        if self.outcomes.len() == self.size && self.outcomes.pop_front() == Some(false) {
            self.failed -= 1;
        }
        self.outcomes.push_back(success);
        self.failed += usize::from(!success);
    }

    fn is_telling(&self) -> bool {
        self.outcomes.len() >= self.needed
    }

    /// Whether the failure rate is at the threshold; unknown with too few calls.
    fn is_bad(&self, percent: usize) -> Option<bool> {
        self.is_telling().then(|| self.failed * 100 >= percent * self.outcomes.len())
    }

    fn rate(&self) -> Option<f32> {
        self.is_telling().then(|| self.failed as f32 * 100.0 / self.outcomes.len() as f32)
    }
}

/// Every failure that failsafe is told of is the window's verdict already.
#[derive(Debug)]
struct Verdict {
    open: Duration,
}

impl FailurePolicy for Verdict {
    fn record_success(&mut self) {}
    fn mark_dead_on_failure(&mut self) -> Option<Duration> {
        Some(self.open)
    }
    fn revived(&mut self) {}
}

/// The machine's state, which failsafe tells only as it changes.
#[derive(Debug, Clone, Default)]
struct Told(Arc<AtomicU8>);

const CLOSED: u8 = 0;
const OPEN: u8 = 1;
const HALF_OPEN: u8 = 2;

impl Instrument for Told {
    fn on_call_rejected(&self) {}
    fn on_open(&self) {
        self.0.store(OPEN, Ordering::Relaxed);
    }
    fn on_half_open(&self) {
        self.0.store(HALF_OPEN, Ordering::Relaxed);
    }
    fn on_closed(&self) {
        self.0.store(CLOSED, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Inner {
    window: Window,
    /// What an administrator ordered, if that is in force.
    ordered: Option<State>,
    /// Grows with every change of state; a permit is of one phase.
    phase: u64,
    /// Permits of half-open that were not given back.
    trials: usize,
    opened: Instant,
    not_permitted: u64,
}

/// A circuit breaker; shared by all threads.
#[derive(Debug)]
pub struct Breaker {
    name: String,
    rules: BreakerRules,
    machine: StateMachine<Verdict, Told>,
    told: Told,
    // the machine is driven only while this is held: both always tell the same
    inner: Mutex<Inner>,
}

/// Leave for one call. Dropped without an outcome, the call counts as never made.
#[derive(Debug)]
pub struct Permit {
    breaker: Arc<Breaker>,
    phase: u64,
    told: bool,
}

impl Permit {
    /// How the call went.
    pub fn done(mut self, success: bool) {
        self.told = true;
        self.breaker.record(self.phase, success);
    }

    /// False once the breaker has changed its state since: nothing more should be sent on this permit.
    pub fn is_current(&self) -> bool {
        self.breaker.lock().phase == self.phase
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.told {
            self.breaker.give_back(self.phase);
        }
    }
}

impl Breaker {
    /// A closed one; its name is for the log.
    pub fn new(name: impl Into<String>, rules: BreakerRules) -> Arc<Self> {
        let told = Told::default();
        let inner = Inner {
            window: Window::new(rules.window, rules.min_calls),
            ordered: None,
            phase: 0,
            trials: 0,
            opened: failsafe::clock::now(),
            not_permitted: 0,
        };
        let machine = StateMachine::new(Verdict { open: rules.open }, told.clone());
        Arc::new(Self { name: name.into(), rules, machine, told, inner: Mutex::new(inner) })
    }

    /// Its rules.
    pub fn rules(&self) -> &BreakerRules {
        &self.rules
    }

    /// Leave for one call.
    pub fn acquire(self: &Arc<Self>) -> Result<Permit, NotPermitted> {
        let mut inner = self.lock();
        let refused = match self.state(&mut inner) {
            State::Closed | State::Disabled => None,
            State::HalfOpen if inner.trials < self.rules.half_open_calls => {
                inner.trials += 1;
                None
            }
            State::HalfOpen => Some(Duration::ZERO),
            State::Open => Some(self.rules.open.saturating_sub(failsafe::clock::now().duration_since(inner.opened))),
            State::ForcedOpen => Some(self.rules.open),
        };
        match refused {
            None => Ok(Permit { breaker: self.clone(), phase: inner.phase, told: false }),
            Some(wait) => {
                inner.not_permitted += 1;
                Err(NotPermitted { wait })
            }
        }
    }

    /// What an administrator wants.
    pub fn order(&self, order: Order) {
        let mut inner = self.lock();
        self.machine.reset();
        inner.ordered = match order {
            Order::Close => None,
            Order::ForceOpen => Some(State::ForcedOpen),
            Order::Disable => Some(State::Disabled),
        };
        let window = Window::new(self.rules.window, self.rules.min_calls);
        self.enter(&mut inner, window);
        tracing::warn!(breaker = self.name, ?order, "circuit breaker set by an administrator");
    }

    /// What it shows of itself.
    pub fn snapshot(&self) -> Snapshot {
        let mut inner = self.lock();
        let state = self.state(&mut inner);
        let Inner { window, not_permitted, .. } = &*inner;
        Snapshot {
            state,
            failure_rate: window.rate(),
            buffered: window.outcomes.len(),
            failed: window.failed,
            not_permitted: *not_permitted,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// The state now. Whoever looks after the time of opening is over finds it half-open, as if a timer
    /// had done it.
    fn state(&self, inner: &mut Inner) -> State {
        if let Some(ordered) = inner.ordered {
            return ordered;
        }
        if self.told.0.load(Ordering::Relaxed) == OPEN && self.machine.is_call_permitted() {
            self.enter(inner, Window::new(self.rules.half_open_calls, self.rules.min_calls));
            tracing::info!(breaker = self.name, "circuit breaker half-open: a few calls are tried");
        }
        match self.told.0.load(Ordering::Relaxed) {
            OPEN => State::Open,
            HALF_OPEN => State::HalfOpen,
            _ => State::Closed,
        }
    }

    /// A new phase, with its own window.
    fn enter(&self, inner: &mut Inner, window: Window) {
        inner.window = window;
        inner.phase += 1;
        inner.trials = 0;
        inner.not_permitted = 0;
    }

    fn record(&self, phase: u64, success: bool) {
        let mut inner = self.lock();
        if inner.phase != phase || inner.ordered.is_some() {
            return;
        }
        inner.window.record(success);
        let on_trial = self.told.0.load(Ordering::Relaxed) == HALF_OPEN;
        match inner.window.is_bad(self.rules.failure_percent) {
            Some(true) => {
                // the window stays: it shows why
                self.machine.on_error();
                inner.phase += 1;
                inner.opened = failsafe::clock::now();
                let (failed, calls) = (inner.window.failed, inner.window.outcomes.len());
                tracing::warn!(breaker = self.name, failed, calls, "circuit breaker opened");
            }
            Some(false) if on_trial => {
                self.machine.on_success();
                self.enter(&mut inner, Window::new(self.rules.window, self.rules.min_calls));
                tracing::info!(breaker = self.name, "circuit breaker closed");
            }
            _ => {}
        }
    }

    fn give_back(&self, phase: u64) {
        let mut inner = self.lock();
        if inner.phase == phase {
            // in closed nobody counts them
            inner.trials = inner.trials.saturating_sub(1);
        }
    }
}
