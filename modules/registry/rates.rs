//! How often an instance has renewed its lease lately.

use std::collections::VecDeque;

/// The window, as Eureka's: the last minute.
const WINDOW_MS: i64 = 60_000;
/// More in a minute than any client sends; a mad one costs no memory.
const MOST: usize = 120;

/// Renewals of the last minute.
#[derive(Debug, Clone)]
pub(super) struct Renewals {
    since: i64,
    at: VecDeque<i64>,
}

impl Renewals {
    /// None yet.
    pub(super) fn new(now: i64) -> Self {
        Self { since: now, at: VecDeque::new() }
    }

    /// Counts one.
    pub(super) fn count(&mut self, now: i64) {
        while self.at.len() >= MOST || self.at.front().is_some_and(|at| now - at >= WINDOW_MS) {
            self.at.pop_front();
        }
        self.at.push_back(now);
    }

    /// How many the last minute brought.
    pub(super) fn lately(&self, now: i64) -> i64 {
        self.at.iter().filter(|at| now - **at < WINDOW_MS).count() as i64
    }

    /// How many it should have, for one every so many seconds; less for who came in the meantime.
    pub(super) fn expected(&self, every_seconds: i64, now: i64) -> i64 {
        (now - self.since).clamp(0, WINDOW_MS) / every_seconds.max(1).saturating_mul(1000)
    }
}
