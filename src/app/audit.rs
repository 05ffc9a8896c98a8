//! `tradepost audit`: every invariant against the data there is.

use crate::kernel::clock;
use crate::kernel::error::StoreError;
use crate::modules::invariants;
use crate::modules::invariants::{EventFacts, Violation};
use crate::settings::Settings;
use crate::settings::StoreUrlError;

/// What an audit found.
#[derive(Debug, Default)]
pub struct Report {
    /// Everything that contradicts an invariant.
    pub violations: Vec<Violation>,
    /// What was looked at, for people.
    pub looked_at: Vec<String>,
}

/// Why nothing could be audited.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The settings do not say where a store is.
    #[error(transparent)]
    Settings(#[from] StoreUrlError),
    /// A store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A defect of ours.
    #[error("the audit panicked")]
    Panicked,
}

/// Reads the stores of all modules; works on a running shop, too. Each store is read as of
/// one moment, but one after the other: an order that is cancelled in between looks wrong once, and
/// never again. So what is found is looked for a second time, and told where it is still there.
pub fn run(settings: &Settings) -> Result<Report, AuditError> {
    // on a thread of its own: reading blocks, and whoever asks may stand in an asynchronous runtime
    std::thread::scope(|threads| threads.spawn(|| look_twice(settings)).join()).unwrap_or_else(|_| Err(AuditError::Panicked))
}

fn look_twice(settings: &Settings) -> Result<Report, AuditError> {
    let first = look(settings)?;
    if first.violations.is_empty() {
        return Ok(first);
    }
    let mut second = look(settings)?;
    second.violations.retain(|violation| first.violations.contains(violation));
    Ok(second)
}

fn look(settings: &Settings) -> Result<Report, AuditError> {
    let mut report = Report::default();
    let orders = crate::modules::order::audit::facts(&settings.store("order")?)?;
    let (stock, reservations) = crate::modules::inventory::audit::facts(&settings.store("inventory")?)?;
    let (products, told) = crate::modules::product::audit::facts(&settings.documents("product")?, settings)?;
    let events = events(settings)?;

    report.violations.extend(invariants::stock(&stock, &reservations));
    report.violations.extend(invariants::keys(&orders));
    report.violations.extend(invariants::ends(&orders, &reservations, clock::now_ms()));
    report.violations.extend(invariants::events(&orders, &events));
    let count = |status: &str| orders.iter().filter(|o| o.status == status).count();
    report.looked_at = vec![
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
        format!("{products} products, {told} of their events wait to be published"),
        format!("{} order events applied, {} under way", events.applied.values().sum::<i64>(), events.under_way.len()),
    ];
    Ok(report)
}

fn sum(stock: &[invariants::StockFact], of: impl Fn(&invariants::StockFact) -> i64) -> i64 {
    stock.iter().map(of).sum()
}

/// Under way is read before applied: an event that moves meanwhile is seen twice, never not at all.
fn events(settings: &Settings) -> Result<EventFacts, AuditError> {
    let mut facts = EventFacts::default();
    let order = settings.store("order")?;
    facts.under_way.extend(crate::events::sqlite::outbox::waiting_in(&order)?);
    facts.under_way.extend(on_the_bus(settings)?);
    let notification = settings.store("notification")?;
    facts.applied = crate::modules::notification::audit::applied(&notification)?;
    Ok(facts)
}

fn on_the_bus(settings: &Settings) -> Result<Vec<(String, String)>, StoreError> {
    #[cfg(feature = "kafka")]
    if settings.bus.url.starts_with("kafka://") {
        return crate::events::bus::kafka::under_way(&settings.bus, &settings.tls, "notification", "order");
    }
    let topics = crate::modules::notification::audit::TOPICS;
    crate::events::bus::local::under_way(&settings.data.dir.join("bus.db"), "notification", topics)
}
