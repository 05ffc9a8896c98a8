//! `tradepost audit`: checks the invariants against the stored data.

use crate::kernel::clock;
use crate::kernel::error::StoreError;
use crate::modules::invariants;
use crate::modules::invariants::{EventFacts, Violation};
use crate::settings::Settings;
use crate::settings::StoreUrlError;

#[derive(Debug, Default)]
pub struct Report {
    pub violations: Vec<Violation>,
    /// Counts of the audited data, one line per store.
    pub summary: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error(transparent)]
    Settings(#[from] StoreUrlError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the audit panicked")]
    Panicked,
}

/// Reads the stores of all modules; works on a running shop as well.
///
/// Each store is read as of one moment, but the stores are read one after the other. An order that changes in between
/// can look like a violation, once. Therefore a second pass runs, and only violations of both passes are reported.
pub fn run(settings: &Settings) -> Result<Report, AuditError> {
    // on a thread of its own: reading blocks, and the caller may be an async task
    std::thread::scope(|threads| threads.spawn(|| confirmed_violations(settings)).join()).unwrap_or(Err(AuditError::Panicked))
}

fn confirmed_violations(settings: &Settings) -> Result<Report, AuditError> {
    let first = audit_once(settings)?;
    if first.violations.is_empty() {
        return Ok(first);
    }
    let mut second = audit_once(settings)?;
    second.violations.retain(|violation| first.violations.contains(violation));
    Ok(second)
}

fn audit_once(settings: &Settings) -> Result<Report, AuditError> {
    let mut report = Report::default();
    let orders = crate::modules::order::audit::facts(&settings.store_url("order")?)?;
    let (stock, reservations) = crate::modules::inventory::audit::facts(&settings.store_url("inventory")?)?;
    let (products, unpublished) = crate::modules::product::audit::facts(&settings.document_store_url("product")?, settings)?;
    let events = events(settings)?;

    report.violations.extend(invariants::stock(&stock, &reservations));
    report.violations.extend(invariants::keys(&orders));
    report.violations.extend(invariants::end_states(&orders, &reservations, clock::now_ms()));
    report.violations.extend(invariants::events(&orders, &events));
    let count = |status: &str| orders.iter().filter(|o| o.status == status).count();
    report.summary = vec![
        format!(
            "{} SKUs, {} pieces to sell, {} held, {} sold",
            stock.len(),
            sum(&stock, |s| s.quantity),
            sum(&stock, |s| s.held),
            sum(&stock, |s| s.sold)
        ),
        format!(
            "{} orders: {} placed, {} rejected, {} cancelled, {} pending",
            orders.len(),
            count("PLACED"),
            count("REJECTED"),
            count("CANCELLED"),
            count("PENDING")
        ),
        format!("{products} products, {unpublished} of their events wait to be published"),
        format!("{} order events applied, {} under way", events.applied.values().sum::<i64>(), events.not_applied.len()),
    ];
    Ok(report)
}

fn sum(stock: &[invariants::StockFact], of: impl Fn(&invariants::StockFact) -> i64) -> i64 {
    stock.iter().map(of).sum()
}

/// Reads `not_applied` before `applied`: an event that moves in between is counted in both, and never missed.
fn events(settings: &Settings) -> Result<EventFacts, AuditError> {
    let mut facts = EventFacts::default();
    let order = settings.store_url("order")?;
    facts.not_applied.extend(crate::events::sqlite::outbox::undelivered_events(&order)?);
    facts.not_applied.extend(pending_on_bus(settings)?);
    let notification = settings.store_url("notification")?;
    facts.applied = crate::modules::notification::audit::applied(&notification)?;
    Ok(facts)
}

fn pending_on_bus(settings: &Settings) -> Result<Vec<(String, String)>, StoreError> {
    #[cfg(feature = "kafka")]
    if settings.bus.url.starts_with("kafka://") {
        return crate::events::bus::kafka::undelivered_events(&settings.bus, &settings.tls, "notification", "order");
    }
    let topics = crate::modules::notification::audit::TOPICS;
    crate::events::bus::local::undelivered_events(&settings.data.dir.join("bus.db"), "notification", topics)
}
