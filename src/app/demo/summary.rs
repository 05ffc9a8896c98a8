//! What a replay did, line by line of the file and SKU by SKU of the shop.

use crate::app::demo::report::{Reasons, first_few};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// A SKU whose stock is not what the replay's answers add up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The SKU code.
    pub sku: String,
    /// Before, less what was placed, plus what was cancelled, returned and adjusted.
    pub expected: i64,
    /// What the shop says.
    pub found: i64,
}

/// What a replay did. Every line of the file is in exactly one of `ordered`, `cancelled`,
/// `returned`, `adjusted` and `skipped`.
#[derive(Debug, Clone, Default)]
pub struct ReplayReport {
    /// Lines of the file after its header.
    pub lines: usize,
    /// Lines in orders that were placed.
    pub ordered: Vec<usize>,
    /// Cancellation lines by which a whole order was cancelled.
    pub cancelled: Vec<usize>,
    /// Cancellation lines that put a part of an order back into stock.
    pub returned: Vec<usize>,
    /// Lines that corrected the stock.
    pub adjusted: Vec<usize>,
    /// Lines of which nothing came, with the reason.
    pub skipped: Reasons,
    /// Orders placed.
    pub orders: usize,
    /// Orders cancelled.
    pub cancelled_orders: usize,
    /// Invoices that were not placed, by reason.
    pub rejected: BTreeMap<String, Vec<String>>,
    /// SKUs that refusals named, by what was wrong with them.
    pub short: BTreeMap<&'static str, BTreeSet<String>>,
    /// Playing time.
    pub elapsed: Duration,
    /// Of each order that was answered, from first try to answer; sorted.
    pub latencies: Vec<Duration>,
    /// Stock rows audited.
    pub audited: usize,
    /// What the audit found.
    pub differences: Vec<Difference>,
    /// Why the stock could not be read for the audit.
    pub unaudited: Option<String>,
}

impl ReplayReport {
    /// Lines that are in some bucket; equals `lines`.
    pub fn accounted(&self) -> usize {
        self.ordered.len() + self.cancelled.len() + self.returned.len() + self.adjusted.len() + self.skipped.total()
    }

    /// True where the shop's stock was read and is what it must be.
    pub fn ok(&self) -> bool {
        self.differences.is_empty() && self.unaudited.is_none()
    }

    /// Orders answered a second, refused ones too.
    pub fn orders_per_second(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { self.latencies.len() as f64 / seconds } else { 0.0 }
    }

    /// The latency that so many percent of the orders did not exceed.
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.latencies.len() * percent).div_ceil(100).max(1);
        self.latencies.get(rank - 1).copied().unwrap_or_default()
    }
}

impl fmt::Display for ReplayReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rejected: usize = self.rejected.values().map(Vec::len).sum();
        writeln!(f, "orders: {} placed, {rejected} not placed, {} cancelled", self.orders, self.cancelled_orders)?;
        for (reason, invoices) in &self.rejected {
            writeln!(f, "  {:>6} {reason} (invoices {})", invoices.len(), first_few(invoices))?;
        }
        for (what, skus) in &self.short {
            writeln!(f, "  {:>6} SKUs named as {what}: {}", skus.len(), first_few(skus))?;
        }
        let [p50, p99] = [50, 99].map(|percent| self.percentile(percent).as_secs_f64() * 1000.0);
        writeln!(f, "{:.0} orders/s, latency p50 {p50:.1} ms, p99 {p99:.1} ms", self.orders_per_second())?;
        writeln!(
            f,
            "{} lines read: {} ordered, {} cancelled, {} returned, {} adjusted, {} skipped",
            self.lines,
            self.ordered.len(),
            self.cancelled.len(),
            self.returned.len(),
            self.adjusted.len(),
            self.skipped.total()
        )?;
        write!(f, "{}", self.skipped)?;
        if !self.returned.is_empty() {
            writeln!(f, "returned to stock without cancelling the order: lines {}", first_few(&self.returned))?;
        }
        if !self.adjusted.is_empty() {
            writeln!(f, "stock adjusted: lines {}", first_few(&self.adjusted))?;
        }
        if let Some(why) = &self.unaudited {
            return writeln!(f, "stock audit: not done, {why}");
        }
        if self.ok() {
            return writeln!(f, "stock audit: ok, {} SKUs", self.audited);
        }
        writeln!(f, "stock audit: {} of {} SKUs differ", self.differences.len(), self.audited)?;
        for Difference { sku, expected, found } in &self.differences {
            writeln!(f, "  {sku}: expected {expected}, found {found}")?;
        }
        Ok(())
    }
}
