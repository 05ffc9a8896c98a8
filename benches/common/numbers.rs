//! Statistics of the benches.

use super::load::Outcome;
use std::time::Duration;

/// Results of the load runs, one value per round.
#[derive(Default)]
pub struct Measured {
    pub per_second: Vec<f64>,
    pub p50: Vec<f64>,
    pub p99: Vec<f64>,
    /// CPU time of the server per response.
    pub cpu_us: Vec<f64>,
}

impl Measured {
    /// Adds a round with the server's CPU time.
    pub fn add(&mut self, outcome: &Outcome, cpu: Duration) {
        self.per_second.push(outcome.per_second());
        self.p50.push(outcome.percentile(0.50));
        self.p99.push(outcome.percentile(0.99));
        self.cpu_us.push(cpu.as_micros() as f64 / outcome.good as f64);
    }
}

/// Median of the ratios per round: load from other processes affects both values of a round.
pub fn ratio(of: &[f64], to: &[f64]) -> f64 {
    median(&of.iter().zip(to).map(|(a, b)| a / b).collect::<Vec<_>>())
}

/// Median, with minimum and maximum in brackets.
pub fn spread(values: &[f64], digits: usize) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = median(&sorted);
    match (sorted.first(), sorted.last()) {
        (Some(least), Some(most)) if sorted.len() > 1 => format!("{middle:.digits$} ({least:.digits$} to {most:.digits$})"),
        _ => format!("{middle:.digits$}"),
    }
}

/// Bytes as megabytes.
pub fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A number from the environment, or a default.
pub fn number(key: &str, otherwise: u64) -> u64 {
    std::env::var(key).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

/// Percentile of values in microseconds, as milliseconds.
pub fn percentile(us: &[u32], share: f64) -> f64 {
    let mut sorted = us.to_vec();
    sorted.sort_unstable();
    let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(f64::NAN, |us| f64::from(*us) / 1000.0)
}
