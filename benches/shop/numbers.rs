//! What every bench reckons with.

/// The middle value.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A number from the environment.
pub fn number(key: &str, otherwise: u64) -> u64 {
    std::env::var(key).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

/// Milliseconds below which this share of all microseconds lies.
pub fn percentile(us: &[u32], share: f64) -> f64 {
    let mut sorted = us.to_vec();
    sorted.sort_unstable();
    let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(f64::NAN, |us| f64::from(*us) / 1000.0)
}
