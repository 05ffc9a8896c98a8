//! Outcome of one delivery attempt.

use std::time::Duration;

/// Deliveries in flight at once to one receiver: a slow one must not hold up the others.
pub(super) const MAX_IN_FLIGHT_PER_RECEIVER: usize = 3;

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The receiver has accepted it.
    Delivered,
    /// It may be accepted later; the receiver may have said when.
    Failed { error: String, wait: Option<Duration> },
    /// It will not be accepted later either.
    Refused { error: String },
}

impl Outcome {
    pub(super) fn failed(error: impl std::fmt::Display) -> Self {
        Outcome::Failed { error: error.to_string(), wait: None }
    }

    pub(super) fn refused(error: impl std::fmt::Display) -> Self {
        Outcome::Refused { error: error.to_string() }
    }
}
