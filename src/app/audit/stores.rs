//! Compares the stores of all modules with each other: one pass.
//!
//! Memory does not grow with the number of orders. Orders, reservations and notifications are read as three streams in
//! the order of their numbers, and merged. Kept in memory: stock, and the events that are not applied yet.

use super::report::{AuditError, Findings};
use crate::data::{RowStream, Snapshot};
use crate::events::bus::local::{self, LostPosition};
use crate::events::event::Event;
use crate::events::sqlite::outbox;
use crate::kernel::clock;
use crate::kernel::error::StoreError;
use crate::modules::invariants::{self, NotificationFact, OrderFact, PendingEvents, Reserved, StockFact, Times, Violation, violation};
use crate::modules::product::audit::Published;
use crate::modules::{inventory, notification, order, product};
use crate::settings::{DocumentStoreUrl, Settings, StoreUrl};
use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;

/// Shortest time that a step which a worker retries may take.
const MIN_PATIENCE_MS: u64 = 600_000;
/// The same as a multiple of the lease of an order or of the time limit of a reservation.
const PATIENCE_FACTOR: u64 = 10;

/// Begins the snapshots in the order in which an order passes through the stores. So an event that moves on in between is
/// found in the outbox as well as on the bus or in the inbox, and never missed.
struct Stores {
    order: Snapshot,
    inventory: Snapshot,
    notification: Snapshot,
    /// Events that notification has not applied yet.
    pending: PendingEvents,
    /// SKUs in events of inventory.
    skus: BTreeSet<String>,
    published: Published,
    lost_positions: Vec<LostPosition>,
    /// Topics outlive a restore of the stores.
    bus_is_server: bool,
}

impl Stores {
    fn open(settings: &Settings) -> Result<Self, AuditError> {
        let mut order = Snapshot::open(&settings.store_url("order")?)?;
        let mut inventory = Snapshot::open(&settings.store_url("inventory")?)?;
        let (mut pending, mut skus, mut published) = (PendingEvents::new(), BTreeSet::new(), Published::default());
        outbox::for_each_undelivered(&mut order, |event| add_pending(&mut pending, event))?;
        outbox::for_each_undelivered(&mut inventory, |event| inventory::audit::add_skus(&mut skus, &event))?;
        let mut lost_positions = Vec::new();
        let bus_is_server = settings.bus.url != "local://";
        if bus_is_server {
            pending.extend(pending_on_server(settings)?);
        } else {
            let mut bus = Snapshot::open(&StoreUrl::Sqlite(settings.data.dir.join("bus.db")))?;
            local::for_each_undelivered(&mut bus, "notification", notification::audit::TOPICS, |event| add_pending(&mut pending, event))?;
            local::for_each_retained(&mut bus, "stock", |event| inventory::audit::add_skus(&mut skus, &event))?;
            local::for_each_retained(&mut bus, "product", |event| published.add(event))?;
            lost_positions = local::lost_positions(&mut bus)?;
        }
        let notification = Snapshot::open(&settings.store_url("notification")?)?;
        Ok(Self { order, inventory, notification, pending, skus, published, lost_positions, bus_is_server })
    }

    fn times(&mut self, settings: &Settings) -> Result<Times, StoreError> {
        let term = settings.order.lease_seconds.max(settings.inventory.reservation_seconds).saturating_mul(1000);
        let patience = term.saturating_mul(PATIENCE_FACTOR).max(MIN_PATIENCE_MS);
        let now = clock::now_ms();
        let last_work = order::audit::last_work(&mut self.order)?.max(notification::audit::last_work(&mut self.notification)?);
        // so that sums with it do not overflow
        let patience_ms = i64::try_from(patience).unwrap_or(i64::MAX).min(i64::MAX / 4);
        Ok(Times { now, last_work: last_work.map_or(now, |at| at.min(now)), patience_ms })
    }
}

#[cfg(feature = "kafka")]
fn pending_on_server(settings: &Settings) -> Result<Vec<(String, String)>, AuditError> {
    Ok(crate::events::bus::kafka::undelivered_events(&settings.bus, &settings.tls, "notification", "order")?)
}

#[cfg(not(feature = "kafka"))]
fn pending_on_server(settings: &Settings) -> Result<Vec<(String, String)>, AuditError> {
    Err(AuditError::UnknownBus { url: settings.bus.url.clone() })
}

fn add_pending(pending: &mut PendingEvents, event: Event) {
    pending.insert((event.kind, event.subject));
}

/// The violations of one pass, and counts of the data.
pub(super) fn check(settings: &Settings) -> Result<(Findings, Vec<String>), AuditError> {
    let mut stores = Stores::open(settings)?;
    let (mut findings, mut counts) = (Findings::default(), Counts::default());
    let stock = inventory::audit::stock(&mut stores.inventory)?;
    let times = stores.times(settings)?;
    let mut reserved = merge(&mut stores, &times, &mut findings, &mut counts)?;
    for sku in &stores.skus {
        reserved.entry(sku.clone()).or_default();
    }
    let mut summary = vec![stock_summary(&stock)];
    findings.extend(invariants::stock(stock, reserved).into_values().flatten());
    findings.extend(order::audit::orphans(&mut stores.order)?);
    findings.extend(notification::audit::unrecorded(&mut stores.notification)?);
    findings.extend(notification::audit::stuck_deliveries(&mut stores.notification)?);
    findings.extend(stores.lost_positions.iter().map(lost_position));
    let (products, unpublished, found) = products(settings, stores.published)?;
    findings.extend(found);
    summary.push(counts.orders());
    summary.push(format!("{products} products, {unpublished} of their events wait to be published"));
    summary.push(format!("{} order events applied, {} under way", counts.applied, stores.pending.len()));
    summary.extend(counts.of_lost_orders());
    Ok((findings, summary))
}

#[derive(Default)]
struct Counts {
    orders: u64,
    by_status: BTreeMap<String, u64>,
    applied: u64,
    /// Events on a bus that a restored shop does not know.
    foreign: u64,
}

impl Counts {
    fn orders(&self) -> String {
        let count = |status: &str| self.by_status.get(status).copied().unwrap_or_default();
        let [placed, rejected, cancelled, pending] = ["PLACED", "REJECTED", "CANCELLED", "PENDING"].map(count);
        format!("{} orders: {placed} placed, {rejected} rejected, {cancelled} cancelled, {pending} pending", self.orders)
    }

    fn of_lost_orders(&self) -> Option<String> {
        let text = "notifications of events that the order store does not know: the topics are newer than the restored stores";
        (self.foreign > 0).then(|| format!("{} {text}", self.foreign))
    }
}

/// Checks each order with its reservation and notifications, and those without an order. Returns the sums per SKU.
fn merge(
    stores: &mut Stores,
    times: &Times,
    findings: &mut Findings,
    counts: &mut Counts,
) -> Result<BTreeMap<String, Reserved>, StoreError> {
    let mut reserved = BTreeMap::new();
    let mut orders = Stream::new(Box::new(order::audit::orders(&mut stores.order)), |order: &OrderFact| &order.number);
    let mut reservations = Stream::new(Box::new(inventory::audit::reservations(&mut stores.inventory)), |reservation| &reservation.order);
    let notifications = notification::audit::by_order(&mut stores.notification)?;
    let mut notifications = Stream::new(notifications, |notification: &NotificationFact| &notification.order);
    loop {
        let keys = [orders.key()?, reservations.key()?, notifications.key()?];
        let Some(number) = keys.into_iter().flatten().min() else { return Ok(reserved) };
        let (order, reservation) = (orders.take(&number)?.pop(), reservations.take(&number)?.pop());
        let applied = notifications.take(&number)?;
        if let Some(reservation) = &reservation {
            invariants::add_reserved(&mut reserved, reservation);
        }
        counts.applied += applied.len() as u64;
        match &order {
            Some(order) => {
                counts.orders += 1;
                *counts.by_status.entry(order.status.clone()).or_default() += 1;
                findings.extend(invariants::order(order, reservation.as_ref(), &applied, &stores.pending, times));
            }
            None => findings.extend(reservation.as_ref().and_then(invariants::reservation_without_order)),
        }
        let foreign = invariants::foreign_events(&number, order.as_ref(), &applied);
        if stores.bus_is_server {
            counts.foreign += foreign.len() as u64;
        } else {
            findings.extend(foreign);
        }
    }
}

/// Items in the order of their keys.
struct Stream<'a, T> {
    items: Peekable<RowStream<'a, T>>,
    key: fn(&T) -> &str,
}

impl<'a, T> Stream<'a, T> {
    fn new(items: RowStream<'a, T>, key: fn(&T) -> &str) -> Self {
        Self { items: items.peekable(), key }
    }

    /// The key of the next item.
    fn key(&mut self) -> Result<Option<String>, StoreError> {
        match self.items.peek() {
            Some(Ok(item)) => Ok(Some((self.key)(item).to_string())),
            Some(Err(_)) => self.items.next().transpose().map(|_| None),
            None => Ok(None),
        }
    }

    /// The next items, as long as they have this key.
    fn take(&mut self, key: &str) -> Result<Vec<T>, StoreError> {
        let of = self.key;
        std::iter::from_fn(|| self.items.next_if(|item| item.as_ref().map_or(true, |item| of(item) == key))).collect()
    }
}

fn stock_summary(stock: &[StockFact]) -> String {
    let sum = |of: fn(&StockFact) -> i64| stock.iter().map(|row| i128::from(of(row))).sum::<i128>();
    let [quantity, held, sold] = [sum(|row| row.quantity), sum(|row| row.held), sum(|row| row.sold)];
    format!("{} SKUs, {quantity} pieces to sell, {held} held, {sold} sold", stock.len())
}

fn lost_position(lost: &LostPosition) -> Violation {
    let LostPosition { consumer, position, newest } = lost;
    violation(
        "INV-5",
        format!("the group {consumer} is at position {position} of the bus, whose newest event is {newest}; it would skip events"),
    )
}

fn products(settings: &Settings, published: Published) -> Result<(i64, i64, Vec<Violation>), AuditError> {
    Ok(match settings.document_store_url("product")? {
        DocumentStoreUrl::Sqlite(path) => product::audit::check_files(&mut Snapshot::open(&StoreUrl::Sqlite(path))?, published)?,
        #[cfg(feature = "mongodb")]
        DocumentStoreUrl::MongoDb(url) => {
            let (products, unpublished) = product::audit::count_documents(&url, settings)?;
            (products, unpublished, Vec::new())
        }
    })
}
