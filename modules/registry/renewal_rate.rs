//! Renewals of one lease within a time window.

use std::collections::VecDeque;

/// Same as in Eureka.
const WINDOW_MS: i64 = 60_000;
/// More per minute than any correct client sends; bounds the memory.
const MAX_RECORDED: usize = 120;

#[derive(Debug, Clone)]
pub(super) struct RenewalRate {
    registered_at: i64,
    renewed_at: VecDeque<i64>,
}

impl RenewalRate {
    pub(super) fn new(now: i64) -> Self {
        Self { registered_at: now, renewed_at: VecDeque::new() }
    }

    pub(super) fn record(&mut self, now: i64) {
        while self.renewed_at.len() >= MAX_RECORDED || self.renewed_at.front().is_some_and(|at| now - at >= WINDOW_MS) {
            self.renewed_at.pop_front();
        }
        self.renewed_at.push_back(now);
    }

    /// Number of renewals in the last minute.
    pub(super) fn in_window(&self, now: i64) -> i64 {
        self.renewed_at.iter().filter(|at| now - **at < WINDOW_MS).count() as i64
    }

    /// Expected number of renewals in the last minute; less if the instance registered within it.
    pub(super) fn expected(&self, interval_seconds: i64, now: i64) -> i64 {
        (now - self.registered_at).clamp(0, WINDOW_MS) / interval_seconds.max(1).saturating_mul(1000)
    }
}
