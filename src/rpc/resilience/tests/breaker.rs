//! The breaker with simulated time: every transition, and random sequences against a simple model of the rules.

use crate::rpc::resilience::breaker::{Breaker, Permit, State, StateChange};
use crate::settings::BreakerSettings;
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

const OPEN: Duration = Duration::from_secs(30);
const RULES: BreakerSettings = BreakerSettings { window: 5, min_calls: 5, failure_percent: 50, open: OPEN, half_open_calls: 3 };
/// failsafe becomes half-open after the open time, not exactly at its end.
const AFTER_OPEN: Duration = Duration::from_millis(30_001);

fn call(breaker: &Arc<Breaker>, success: bool) {
    breaker.acquire().unwrap().record(success);
}

fn open_breaker() -> Arc<Breaker> {
    let breaker = Breaker::new("peer", RULES);
    (0..5).for_each(|_| call(&breaker, false));
    assert_eq!(breaker.snapshot().state, State::Open);
    breaker
}

#[test]
fn closed_breaker_at_the_threshold_opens_even_after_a_success() {
    let breaker = Breaker::new("peer", RULES);
    for success in [false, false, false, true] {
        call(&breaker, success);
        assert_eq!((breaker.snapshot().state, breaker.snapshot().failure_rate), (State::Closed, None));
    }
    call(&breaker, true);
    let now = breaker.snapshot();
    assert_eq!((now.state, now.failure_rate, now.buffered, now.failed), (State::Open, Some(60.0), 5, 3));
    assert!(breaker.acquire().is_err());
    assert_eq!(breaker.snapshot().not_permitted, 1);
}

#[test]
fn outcome_older_than_the_window_is_not_counted() {
    let breaker = Breaker::new("peer", RULES);
    for success in [false, false, true, true, true, true, false, false] {
        call(&breaker, success);
    }
    assert_eq!(breaker.snapshot().state, State::Closed);
    call(&breaker, false);
    assert_eq!((breaker.snapshot().state, breaker.snapshot().failed), (State::Open, 3));
}

#[test]
fn open_breaker_after_the_open_time_becomes_half_open() {
    failsafe::clock::freeze(|clock| {
        let breaker = open_breaker();
        clock.advance(Duration::from_secs(10));
        assert_eq!(breaker.acquire().unwrap_err().wait, Duration::from_secs(20));
        clock.advance(AFTER_OPEN - Duration::from_secs(10));
        let now = breaker.snapshot();
        assert_eq!((now.state, now.failure_rate, now.buffered, now.not_permitted), (State::HalfOpen, None, 0, 0));
    });
}

#[test]
fn half_open_breaker_below_the_threshold_closes_after_three_trials() {
    failsafe::clock::freeze(|clock| {
        let breaker = open_breaker();
        clock.advance(AFTER_OPEN);
        let trials: Vec<Permit> = (0..3).map(|_| breaker.acquire().unwrap()).collect();
        assert_eq!(breaker.acquire().unwrap_err().wait, Duration::ZERO);
        for (trial, success) in trials.into_iter().zip([false, true, true]) {
            assert_eq!(breaker.snapshot().state, State::HalfOpen);
            trial.record(success);
        }
        let now = breaker.snapshot();
        assert_eq!((now.state, now.buffered), (State::Closed, 0));
    });
}

#[test]
fn half_open_breaker_with_failed_trials_opens_again() {
    failsafe::clock::freeze(|clock| {
        let breaker = open_breaker();
        clock.advance(AFTER_OPEN);
        for success in [true, false, false] {
            call(&breaker, success);
        }
        assert_eq!(breaker.snapshot().state, State::Open);
        assert_eq!(breaker.acquire().unwrap_err().wait, OPEN);
        clock.advance(AFTER_OPEN);
        assert_eq!(breaker.snapshot().state, State::HalfOpen);
    });
}

#[test]
fn cancelled_trial_releases_its_permit() {
    failsafe::clock::freeze(|clock| {
        let breaker = open_breaker();
        clock.advance(AFTER_OPEN);
        for _ in 0..10 {
            drop(breaker.acquire().unwrap());
        }
        let _trials: Vec<Permit> = (0..3).map(|_| breaker.acquire().unwrap()).collect();
        assert!(breaker.acquire().is_err());
    });
}

#[test]
fn outcome_of_an_older_phase_is_not_counted() {
    failsafe::clock::freeze(|clock| {
        let breaker = Breaker::new("peer", RULES);
        let (late, later, dropped) = (breaker.acquire().unwrap(), breaker.acquire().unwrap(), breaker.acquire().unwrap());
        assert!(late.is_current());
        (0..5).for_each(|_| call(&breaker, false));
        assert!(!late.is_current());
        late.record(true);
        assert_eq!((breaker.snapshot().state, breaker.snapshot().buffered), (State::Open, 5));
        clock.advance(AFTER_OPEN);
        let _trials: Vec<Permit> = (0..3).map(|_| breaker.acquire().unwrap()).collect();
        later.record(false);
        drop(dropped);
        assert_eq!((breaker.snapshot().state, breaker.snapshot().buffered), (State::HalfOpen, 0));
        assert!(breaker.acquire().is_err(), "a permit of an older phase released a trial permit");
    });
}

#[test]
fn state_set_by_an_administrator_overrides_the_rules() {
    failsafe::clock::freeze(|clock| {
        let breaker = open_breaker();
        breaker.change_state(StateChange::Close);
        assert_eq!((breaker.snapshot().state, breaker.snapshot().buffered), (State::Closed, 0));
        breaker.change_state(StateChange::ForceOpen);
        clock.advance(AFTER_OPEN);
        assert_eq!(breaker.snapshot().state, State::ForcedOpen);
        assert_eq!(breaker.acquire().unwrap_err().wait, OPEN);
        breaker.change_state(StateChange::Disable);
        (0..20).for_each(|_| call(&breaker, false));
        assert_eq!((breaker.snapshot().state, breaker.snapshot().buffered), (State::Disabled, 0));
        breaker.change_state(StateChange::Close);
        (0..5).for_each(|_| call(&breaker, false));
        assert_eq!(breaker.snapshot().state, State::Open);
    });
}

/// A simple model of the rules.
struct Model {
    rules: BreakerSettings,
    state: State,
    phase: usize,
    outcomes: Vec<bool>,
    trials: usize,
    open_for: Duration,
}

impl Model {
    fn enter(&mut self, state: State) {
        self.state = state;
        self.phase += 1;
        self.trials = 0;
        self.open_for = Duration::ZERO;
        if state != State::Open {
            self.outcomes.clear();
        }
    }

    fn advance(&mut self, time: Duration) {
        self.open_for += time;
        if self.state == State::Open && self.open_for > self.rules.open {
            self.enter(State::HalfOpen);
        }
    }

    fn acquire(&mut self) -> Option<usize> {
        match self.state {
            State::Closed => Some(self.phase),
            State::HalfOpen if self.trials < self.rules.half_open_calls => {
                self.trials += 1;
                Some(self.phase)
            }
            _ => None,
        }
    }

    fn done(&mut self, phase: usize, outcome: Option<bool>) {
        if phase != self.phase {
            return;
        }
        let Some(success) = outcome else {
            self.trials = self.trials.saturating_sub(1);
            return;
        };
        self.outcomes.push(success);
        let size = if self.state == State::HalfOpen { self.rules.half_open_calls } else { self.rules.window };
        let last = &self.outcomes[self.outcomes.len().saturating_sub(size)..];
        if last.len() < self.rules.min_calls.min(size) {
            return;
        }
        let failed = last.iter().filter(|success| !**success).count();
        if failed as f64 / last.len() as f64 * 100.0 >= self.rules.failure_percent as f64 {
            self.enter(State::Open);
        } else if self.state == State::HalfOpen {
            self.enter(State::Closed);
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Begin,
    End(usize, bool),
    Cancel(usize),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => Just(Step::Begin),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(which, success)| Step::End(which, success)),
        1 => any::<usize>().prop_map(Step::Cancel),
        1 => (1_u64..20).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..200)
}

fn rules() -> impl Strategy<Value = BreakerSettings> {
    // Only percentages for which the model's floating-point arithmetic is exact.
    (1_usize..9, 1_usize..9, prop::sample::select(vec![1_usize, 10, 25, 50, 75, 100]), 1_usize..5).prop_map(
        |(window, min_calls, failure_percent, half_open_calls)| BreakerSettings {
            window,
            min_calls,
            failure_percent,
            open: OPEN,
            half_open_calls,
        },
    )
}

proptest! {
    /// Calls overlap, end in any order, or are cancelled; breaker and model always agree.
    #[test]
    fn breaker_with_random_calls_agrees_with_the_model(rules in rules(), steps in steps()) {
        failsafe::clock::freeze(|clock| {
            let breaker = Breaker::new("peer", rules);
            let mut model = Model { rules, state: State::Closed, phase: 0, outcomes: Vec::new(), trials: 0, open_for: Duration::ZERO };
            let mut in_progress: Vec<(Permit, usize)> = Vec::new();
            for step in steps {
                match step {
                    Step::Begin => match (breaker.acquire(), model.acquire()) {
                        (Ok(permit), Some(phase)) => in_progress.push((permit, phase)),
                        (Err(_), None) => {}
                        (real, expected) => prop_assert!(false, "permit {real:?}, expected {expected:?}"),
                    },
                    Step::Wait(seconds) => {
                        // Never exactly the open time: see AFTER_OPEN.
                        let time = Duration::from_millis(seconds * 1000 + 1);
                        clock.advance(time);
                        model.advance(time);
                    }
                    Step::End(..) | Step::Cancel(_) if in_progress.is_empty() => {}
                    Step::End(which, success) => {
                        let (permit, phase) = in_progress.swap_remove(which % in_progress.len());
                        permit.record(success);
                        model.done(phase, Some(success));
                    }
                    Step::Cancel(which) => {
                        let (permit, phase) = in_progress.swap_remove(which % in_progress.len());
                        drop(permit);
                        model.done(phase, None);
                    }
                }
                prop_assert_eq!(breaker.snapshot().state, model.state);
            }
            Ok(())
        })?;
    }
}
