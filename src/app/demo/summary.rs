//! Report of a replay: lines of the file, orders, and stock differences.

use crate::app::demo::report::{Reasons, first_few};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// A SKU whose stock does not match the replayed changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub sku: String,
    /// Initial stock, minus orders, plus cancellations, returns and adjustments.
    pub expected: i64,
    pub found: i64,
}

/// Every line of the file is in exactly one of `ordered`, `cancelled`,
/// `returned`, `adjusted` and `skipped`.
#[derive(Debug, Clone, Default)]
pub struct ReplayReport {
    /// Lines of the file, without the header.
    pub lines: usize,
    /// Lines in orders that were placed.
    pub ordered: Vec<usize>,
    /// Lines of cancellations of whole orders.
    pub cancelled: Vec<usize>,
    /// Cancellation lines that returned a part of an order to stock.
    pub returned: Vec<usize>,
    /// Lines that corrected the stock.
    pub adjusted: Vec<usize>,
    pub skipped: Reasons,
    pub orders: usize,
    pub cancelled_orders: usize,
    /// Invoices that were not placed, by reason.
    pub rejected: BTreeMap<String, Vec<String>>,
    /// SKUs listed in rejections, by reason.
    pub rejected_skus: BTreeMap<&'static str, BTreeSet<String>>,
    pub elapsed: Duration,
    /// Per order with a response, including retries; sorted.
    pub latencies: Vec<Duration>,
    pub audited: usize,
    pub differences: Vec<Difference>,
    /// Set if the stock could not be read for the audit.
    pub audit_error: Option<String>,
}

impl ReplayReport {
    /// Lines in all categories; equals `lines`.
    pub fn accounted(&self) -> usize {
        self.ordered.len() + self.cancelled.len() + self.returned.len() + self.adjusted.len() + self.skipped.total()
    }

    /// The audit ran and found no difference.
    pub fn ok(&self) -> bool {
        self.differences.is_empty() && self.audit_error.is_none()
    }

    /// Includes rejected orders.
    pub fn orders_per_second(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { self.latencies.len() as f64 / seconds } else { 0.0 }
    }

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
        for (reason, skus) in &self.rejected_skus {
            writeln!(f, "  {:>6} SKUs listed as {reason}: {}", skus.len(), first_few(skus))?;
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
        if let Some(cause) = &self.audit_error {
            return writeln!(f, "stock audit: failed, {cause}");
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
