//! A circuit breaker with the rules of Resilience4j, on the state machine of failsafe.
//!
//! failsafe implements the states and the open time. It has no count-based window, and permits all calls in
//! half-open. This file adds the window, which decides when the breaker opens, and limits the trial calls of
//! half-open, which decide whether it closes.
//!
//! The rules are those of Resilience4j's `CircuitBreakerStateMachine`:
//! - closed: with at least `min_calls` (or a full window, if that is smaller) the failure rate is checked
//!   after every call, successful or not; at the threshold it opens;
//! - open: permits no calls for the duration `open`, then becomes half-open without a call
//!   (`automaticTransitionFromOpenToHalfOpenEnabled`);
//! - half-open: permits `half_open_calls` trial calls, with a window of that size; its failure rate opens or
//!   closes the breaker. A cancelled trial call releases its permit.
//!
//! One difference from Resilience4j: an outcome counts only in the phase in which its call was permitted. A late
//! outcome describes the peer's past state.

use crate::settings::BreakerSettings;
use failsafe::{FailurePolicy, Instrument, StateMachine};
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Permits all calls.
    Closed,
    /// Permits no calls.
    Open,
    /// Permits a few trial calls.
    HalfOpen,
    /// Permits no calls until an administrator changes the state.
    ForcedOpen,
    /// Permits all calls and counts nothing until an administrator changes the state.
    Disabled,
}

impl State {
    pub const ALL: [State; 5] = [State::Closed, State::Open, State::HalfOpen, State::ForcedOpen, State::Disabled];

    /// Resilience4j's name.
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

/// A state change by an administrator (Resilience4j's `updateState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateChange {
    /// Closes the breaker, clears the window, and applies the rules again.
    Close,
    /// Permits no calls until the next change.
    ForceOpen,
    /// Permits all calls until the next change.
    Disable,
}

/// The breaker rejected a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotPermitted {
    /// Time until the next trial call may be permitted; zero if that depends on trial calls in progress.
    pub wait: Duration,
}

/// State and counts for metrics and the actuator.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Snapshot {
    pub state: State,
    /// In percent; `None` with fewer calls than `min_calls`.
    pub failure_rate: Option<f32>,
    /// Calls in the window.
    pub buffered: usize,
    /// Failed calls in the window.
    pub failed: usize,
    /// Calls rejected in the current phase.
    pub not_permitted: u64,
}

/// The latest outcomes, oldest first.
#[derive(Debug)]
struct Window {
    size: usize,
    min_calls: usize,
    outcomes: VecDeque<bool>,
    failed: usize,
}

impl Window {
    fn new(size: usize, min_calls: usize) -> Self {
        Self { size, min_calls: min_calls.min(size), outcomes: VecDeque::with_capacity(size), failed: 0 }
    }

    fn record(&mut self, success: bool) {
        if self.outcomes.len() == self.size && self.outcomes.pop_front() == Some(false) {
            self.failed -= 1;
        }
        self.outcomes.push_back(success);
        self.failed += usize::from(!success);
    }

    fn has_enough_calls(&self) -> bool {
        self.outcomes.len() >= self.min_calls
    }

    /// Whether the failure rate has reached the threshold; `None` with too few calls.
    fn reached_threshold(&self, percent: usize) -> Option<bool> {
        self.has_enough_calls().then(|| self.failed * 100 >= percent * self.outcomes.len())
    }

    fn failure_rate(&self) -> Option<f32> {
        self.has_enough_calls().then(|| self.failed as f32 * 100.0 / self.outcomes.len() as f32)
    }
}

/// Opens on every failure reported to failsafe: the window has already decided.
#[derive(Debug)]
struct OpenOnFailure {
    open: Duration,
}

impl FailurePolicy for OpenOnFailure {
    fn record_success(&mut self) {}
    fn mark_dead_on_failure(&mut self) -> Option<Duration> {
        Some(self.open)
    }
    fn revived(&mut self) {}
}

/// Mirror of failsafe's state; failsafe only reports transitions.
#[derive(Debug, Clone, Default)]
struct StateMirror(Arc<AtomicU8>);

const CLOSED: u8 = 0;
const OPEN: u8 = 1;
const HALF_OPEN: u8 = 2;

impl Instrument for StateMirror {
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
struct BreakerState {
    window: Window,
    /// State set by an administrator; overrides the state machine.
    forced: Option<State>,
    /// Incremented at every state change; a permit belongs to one phase.
    phase: u64,
    /// Trial permits of half-open that were not released.
    trials: usize,
    opened_at: Instant,
    not_permitted: u64,
}

/// Shared by all threads.
#[derive(Debug)]
pub struct Breaker {
    name: String,
    rules: BreakerSettings,
    machine: StateMachine<OpenOnFailure, StateMirror>,
    mirror: StateMirror,
    // The machine changes only while this lock is held, so both are consistent.
    inner: Mutex<BreakerState>,
}

/// Permit for one call. Dropped without an outcome, it does not count the call.
#[derive(Debug)]
pub struct Permit {
    breaker: Arc<Breaker>,
    phase: u64,
    recorded: bool,
}

impl Permit {
    /// Records the call's outcome.
    pub fn record(mut self, success: bool) {
        self.recorded = true;
        self.breaker.record(self.phase, success);
    }

    /// False if the breaker has changed its state since: the call must not be retried with this permit.
    pub fn is_current(&self) -> bool {
        self.breaker.lock().phase == self.phase
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.recorded {
            self.breaker.release(self.phase);
        }
    }
}

impl Breaker {
    /// A closed breaker; the name is for the log.
    pub fn new(name: impl Into<String>, rules: BreakerSettings) -> Arc<Self> {
        let mirror = StateMirror::default();
        let inner = BreakerState {
            window: Window::new(rules.window, rules.min_calls),
            forced: None,
            phase: 0,
            trials: 0,
            opened_at: failsafe::clock::now(),
            not_permitted: 0,
        };
        let machine = StateMachine::new(OpenOnFailure { open: rules.open }, mirror.clone());
        Arc::new(Self { name: name.into(), rules, machine, mirror, inner: Mutex::new(inner) })
    }

    pub fn rules(&self) -> &BreakerSettings {
        &self.rules
    }

    /// Permit for one call.
    pub fn acquire(self: &Arc<Self>) -> Result<Permit, NotPermitted> {
        let mut inner = self.lock();
        let refused = match self.state(&mut inner) {
            State::Closed | State::Disabled => None,
            State::HalfOpen if inner.trials < self.rules.half_open_calls => {
                inner.trials += 1;
                None
            }
            State::HalfOpen => Some(Duration::ZERO),
            State::Open => Some(self.rules.open.saturating_sub(failsafe::clock::now().duration_since(inner.opened_at))),
            State::ForcedOpen => Some(self.rules.open),
        };
        match refused {
            None => Ok(Permit { breaker: self.clone(), phase: inner.phase, recorded: false }),
            Some(wait) => {
                inner.not_permitted += 1;
                Err(NotPermitted { wait })
            }
        }
    }

    /// Applies an administrator's state change.
    pub fn change_state(&self, order: StateChange) {
        let mut inner = self.lock();
        self.machine.reset();
        inner.forced = match order {
            StateChange::Close => None,
            StateChange::ForceOpen => Some(State::ForcedOpen),
            StateChange::Disable => Some(State::Disabled),
        };
        let window = Window::new(self.rules.window, self.rules.min_calls);
        self.start_phase(&mut inner, window);
        tracing::warn!(breaker = self.name, ?order, "circuit breaker set by an administrator");
    }

    pub fn snapshot(&self) -> Snapshot {
        let mut inner = self.lock();
        let state = self.state(&mut inner);
        let BreakerState { window, not_permitted, .. } = &*inner;
        Snapshot {
            state,
            failure_rate: window.failure_rate(),
            buffered: window.outcomes.len(),
            failed: window.failed,
            not_permitted: *not_permitted,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BreakerState> {
        self.inner.lock()
    }

    /// The current state. Changes open to half-open if the open time is over, so that no timer is necessary.
    fn state(&self, inner: &mut BreakerState) -> State {
        if let Some(forced) = inner.forced {
            return forced;
        }
        if self.mirror.0.load(Ordering::Relaxed) == OPEN && self.machine.is_call_permitted() {
            self.start_phase(inner, Window::new(self.rules.half_open_calls, self.rules.min_calls));
            tracing::info!(breaker = self.name, "circuit breaker half-open: permitting trial calls");
        }
        match self.mirror.0.load(Ordering::Relaxed) {
            OPEN => State::Open,
            HALF_OPEN => State::HalfOpen,
            _ => State::Closed,
        }
    }

    fn start_phase(&self, inner: &mut BreakerState, window: Window) {
        inner.window = window;
        inner.phase += 1;
        inner.trials = 0;
        inner.not_permitted = 0;
    }

    fn record(&self, phase: u64, success: bool) {
        let mut inner = self.lock();
        if inner.phase != phase || inner.forced.is_some() {
            return;
        }
        inner.window.record(success);
        let half_open = self.mirror.0.load(Ordering::Relaxed) == HALF_OPEN;
        match inner.window.reached_threshold(self.rules.failure_percent) {
            Some(true) => {
                // Keep the window: it shows why the breaker is open.
                self.machine.on_error();
                inner.phase += 1;
                inner.opened_at = failsafe::clock::now();
                let (failed, calls) = (inner.window.failed, inner.window.outcomes.len());
                tracing::warn!(breaker = self.name, failed, calls, "circuit breaker opened");
            }
            Some(false) if half_open => {
                self.machine.on_success();
                self.start_phase(&mut inner, Window::new(self.rules.window, self.rules.min_calls));
                tracing::info!(breaker = self.name, "circuit breaker closed");
            }
            _ => {}
        }
    }

    fn release(&self, phase: u64) {
        let mut inner = self.lock();
        if inner.phase == phase {
            // Zero in closed, which does not count trials.
            inner.trials = inner.trials.saturating_sub(1);
        }
    }
}
