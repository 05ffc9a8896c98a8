//! The retry budget with simulated time.

use crate::rpc::resilience::budget::RetryBudget;
use std::time::{Duration, Instant};

fn granted(budget: &RetryBudget, now: Instant) -> usize {
    (0..10_000).take_while(|_| budget.try_acquire(now)).count()
}

#[test]
fn caller_with_few_calls_has_ten_retries_per_second() {
    let start = Instant::now();
    let budget = RetryBudget::new(start);
    assert_eq!(granted(&budget, start), 100);
    assert_eq!(granted(&budget, start + Duration::from_secs(9)), 0);
    assert_eq!(granted(&budget, start + Duration::from_secs(10)), 100);
}

#[test]
fn caller_with_many_calls_may_retry_a_fifth_of_them_in_addition() {
    let start = Instant::now();
    let budget = RetryBudget::new(start);
    for ms in 0..5000 {
        budget.record_call(start + Duration::from_millis(ms));
    }
    let now = start + Duration::from_secs(5);
    assert_eq!(granted(&budget, now), 100 + 1000);
    // The calls of the first two seconds have left the window; the retries have not.
    assert!(!budget.try_acquire(start + Duration::from_secs(12)));
    assert_eq!(granted(&budget, start + Duration::from_secs(16)), 100);
}

#[test]
fn call_recorded_with_an_earlier_time_is_counted() {
    let start = Instant::now();
    let budget = RetryBudget::new(start);
    budget.record_call(start + Duration::from_secs(3));
    budget.record_call(start + Duration::from_secs(2));
    assert_eq!(granted(&budget, start + Duration::from_secs(3)), 100);
}
