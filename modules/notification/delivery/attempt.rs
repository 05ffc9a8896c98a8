//! Outcome of one delivery attempt.

use std::time::Duration;

/// Deliveries in flight at once to one receiver: a slow one must not hold up the others.
pub(super) const MAX_IN_FLIGHT_PER_RECEIVER: usize = 3;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Delivered,
    /// Temporary failure. `retry_after`: requested by the receiver.
    Failed {
        error: String,
        retry_after: Option<Duration>,
    },
    /// Permanent failure: not retried.
    Rejected {
        error: String,
    },
}

impl Outcome {
    pub(super) fn failed(error: impl std::fmt::Display) -> Self {
        Outcome::Failed { error: error.to_string(), retry_after: None }
    }

    pub(super) fn rejected(error: impl std::fmt::Display) -> Self {
        Outcome::Rejected { error: error.to_string() }
    }
}
