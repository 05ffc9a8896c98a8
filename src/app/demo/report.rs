//! Lines that were skipped or substituted, by reason, and helpers of the printed reports.

use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::fmt;

/// Printed per reason; the report stores all lines.
const MAX_PRINTED: usize = 5;

/// Line numbers of the file by reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reasons(BTreeMap<String, Vec<usize>>);

impl Reasons {
    pub fn add(&mut self, reason: impl Into<String>, line: usize) {
        self.0.entry(reason.into()).or_default().push(line);
    }

    pub fn extend(&mut self, other: &Reasons) {
        for (reason, lines) in &other.0 {
            self.0.entry(reason.clone()).or_default().extend(lines);
        }
    }

    pub fn total(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    pub fn lines(&self) -> impl Iterator<Item = usize> {
        self.0.values().flatten().copied()
    }

    /// Each line with its reason, by line number.
    pub fn by_line(&self) -> Vec<(usize, &str)> {
        let mut lines: Vec<_> = self.0.iter().flat_map(|(reason, lines)| lines.iter().map(move |line| (*line, reason.as_str()))).collect();
        lines.sort_unstable();
        lines
    }

    pub fn of(&self, reason: &str) -> &[usize] {
        self.0.get(reason).map_or(&[], Vec::as_slice)
    }
}

impl fmt::Display for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (reason, lines) in &self.0 {
            writeln!(f, "  {:>6} {reason} ({} {})", lines.len(), if lines.len() == 1 { "line" } else { "lines" }, first_few(lines))?;
        }
        Ok(())
    }
}

/// The first items, with `...` if there are more.
pub fn first_few<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let mut items = items.into_iter();
    let mut printed: Vec<_> = items.by_ref().take(MAX_PRINTED).map(|item| item.to_string()).collect();
    if items.next().is_some() {
        printed.push("...".into());
    }
    printed.join(", ")
}

/// Without a terminal, indicatif draws nothing.
pub fn progress(length: usize, label: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(length).unwrap_or(u64::MAX)).with_message(label);
    match ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
