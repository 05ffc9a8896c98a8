//! `tradepost audit`: checks the invariants against the stored data.

mod files;
mod report;
mod stores;

pub use report::{AuditError, Report};

use crate::settings::Settings;
use report::Findings;
use std::collections::BTreeSet;

/// Reads the stores of all modules; works on a running shop as well, and changes nothing.
///
/// The snapshots of the stores begin one after the other. An order that changes in between can look like a violation,
/// once. Therefore a second pass runs, and only violations of both passes are reported.
pub fn run(settings: &Settings) -> Result<Report, AuditError> {
    on_own_thread(settings, true)
}

/// Like [`run`], but does not read every page and index entry of the database files.
pub fn run_quick(settings: &Settings) -> Result<Report, AuditError> {
    on_own_thread(settings, false)
}

/// Reading blocks, and the caller may be an async task.
fn on_own_thread(settings: &Settings, check_pages: bool) -> Result<Report, AuditError> {
    std::thread::scope(|threads| threads.spawn(|| audit(settings, check_pages)).join()).unwrap_or(Err(AuditError::Panicked))
}

fn audit(settings: &Settings, check_pages: bool) -> Result<Report, AuditError> {
    let mut damage = files::check(settings, check_pages)?;
    let (first, summary) = match stores::check(settings) {
        Ok(checked) => checked,
        Err(cause) => {
            // a damaged page may be the cause
            if damage.is_empty() && !check_pages {
                damage = files::check(settings, true)?;
            }
            if damage.is_empty() {
                return Err(cause);
            }
            return Ok(Report { violations: damage, summary: vec![format!("the stores were not compared: {cause}")] });
        }
    };
    let (confirmed, mut summary) = if first.is_empty() { (first, summary) } else { confirm(settings, &first)? };
    summary.extend(confirmed.unlisted());
    damage.extend(confirmed.into_violations());
    Ok(Report { violations: damage, summary })
}

/// The violations of a second pass that the first one has found as well.
fn confirm(settings: &Settings, first: &Findings) -> Result<(Findings, Vec<String>), AuditError> {
    let (mut second, summary) = stores::check(settings)?;
    let first: BTreeSet<_> = first.violations().iter().collect();
    second.retain(|violation| first.contains(violation));
    Ok((second, summary))
}
