//! The result of an audit.

use crate::kernel::error::StoreError;
use crate::modules::invariants::Violation;
use crate::settings::StoreUrlError;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Violations of one invariant that are listed, so that memory does not grow with the damage.
const MAX_LISTED: usize = 10_000;

#[derive(Debug, Default)]
pub struct Report {
    pub violations: Vec<Violation>,
    /// Counts of the audited data, one line per store.
    pub summary: Vec<String>,
}

/// Why an audit could not read the data: this says nothing about the data.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error(transparent)]
    Settings(#[from] StoreUrlError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{} is no data folder of a shop: it has none of its databases ({})", .folder.display(), .expected.join(", "))]
    NoDatabase { folder: PathBuf, expected: Vec<String> },
    #[cfg(not(feature = "kafka"))]
    #[error("bus.url: this build cannot read `{url}` (--features kafka)")]
    UnknownBus { url: String },
    #[error("the audit panicked")]
    Panicked,
}

/// The violations of one pass.
#[derive(Default)]
pub(super) struct Findings {
    listed: Vec<Violation>,
    counts: BTreeMap<&'static str, usize>,
}

impl Extend<Violation> for Findings {
    fn extend<I: IntoIterator<Item = Violation>>(&mut self, violations: I) {
        for violation in violations {
            let count = self.counts.entry(violation.invariant).or_default();
            *count += 1;
            if *count <= MAX_LISTED {
                self.listed.push(violation);
            }
        }
    }
}

impl Findings {
    pub(super) fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    pub(super) fn violations(&self) -> &[Violation] {
        &self.listed
    }

    pub(super) fn into_violations(self) -> Vec<Violation> {
        self.listed
    }

    pub(super) fn retain(&mut self, is_kept: impl FnMut(&Violation) -> bool) {
        self.listed.retain(is_kept);
    }

    /// A line for each invariant with more violations than are listed.
    pub(super) fn unlisted(&self) -> Vec<String> {
        let many = self.counts.iter().filter(|(_, count)| **count > MAX_LISTED);
        many.map(|(invariant, count)| format!("{invariant}: {count} violations, of which at most {MAX_LISTED} are listed")).collect()
    }
}
