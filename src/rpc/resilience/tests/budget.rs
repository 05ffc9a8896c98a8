//! The retry budget on a clock of its own.

use crate::rpc::resilience::budget::Budget;
use std::time::{Duration, Instant};

fn granted(budget: &Budget, now: Instant) -> usize {
    (0..10_000).take_while(|_| budget.retry(now)).count()
}

#[test]
fn a_seldom_caller_has_ten_a_second() {
    let start = Instant::now();
    let budget = Budget::new(start);
    assert_eq!(granted(&budget, start), 100);
    assert_eq!(granted(&budget, start + Duration::from_secs(9)), 0);
    assert_eq!(granted(&budget, start + Duration::from_secs(10)), 100);
}

#[test]
fn a_busy_caller_has_a_fifth_of_its_calls_besides() {
    let start = Instant::now();
    let budget = Budget::new(start);
    for ms in 0..5000 {
        budget.call(start + Duration::from_millis(ms));
    }
    let now = start + Duration::from_secs(5);
    assert_eq!(granted(&budget, now), 100 + 1000);
    // calls of the first two seconds are forgotten; the retries are not
    assert!(!budget.retry(start + Duration::from_secs(12)));
    assert_eq!(granted(&budget, start + Duration::from_secs(16)), 100);
}

#[test]
fn threads_that_come_in_the_wrong_order_are_counted() {
    let start = Instant::now();
    let budget = Budget::new(start);
    budget.call(start + Duration::from_secs(3));
    budget.call(start + Duration::from_secs(2));
    assert_eq!(granted(&budget, start + Duration::from_secs(3)), 100);
}
