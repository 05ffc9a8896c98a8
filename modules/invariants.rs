//! The invariants of the shop's data. Tests, debug assertions and the audit command cite them by name.
//!
//! - **INV-1** stock is conserved: `quantity + held + sold == received`, per SKU; `held` is the sum of the HELD
//!   reservations, and `sold` is at least the sum of the COMMITTED ones (pieces are also sold without an order).
//! - **INV-2** quantity, held and sold are never negative.
//! - **INV-3** one idempotency key, one order; the key belongs to the order's customer and request.
//! - **INV-4** every order reaches an end state, and its reservation agrees with it, in both directions: stock is held
//!   or sold only for an order.
//! - **INV-5** every committed change's event is delivered at least once, and applied exactly once; no other event is
//!   applied.
//!
//! Two more names report damage:
//! - **DATA** a stored value is invalid, or contradicts another copy of itself: an order's total and its lines.
//! - **FILE** a database file is missing or damaged (`src/app/audit/files.rs`).
//!
//! A check takes facts that the modules read from their own stores, and returns the violations. Facts of different
//! stores are of different moments, so a violation counts only if a second pass finds it as well. Therefore no message
//! contains the current time.

use crate::kernel::clock;
use crate::kernel::money::Money;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone)]
pub struct StockFact {
    pub sku: String,
    pub quantity: i64,
    pub held: i64,
    pub sold: i64,
    pub received: i64,
}

/// Pieces of a SKU in reservations. An entry exists for each SKU that a reservation names, in any state.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reserved {
    pub held: i64,
    pub committed: i64,
}

#[derive(Debug, Clone)]
pub struct ReservationFact {
    pub order: String,
    pub state: String,
    /// `None` if they are unreadable.
    pub lines: Option<BTreeMap<String, i64>>,
    /// Milliseconds since 1970.
    pub expires_at: i64,
}

#[derive(Debug, Clone)]
pub struct OrderFact {
    pub number: String,
    pub customer: String,
    pub status: String,
    /// What settlement still has to do with its reservation.
    pub settle: Option<String>,
    pub total: String,
    pub refusal: Refusal,
    pub hidden: bool,
    /// Milliseconds since 1970.
    pub lease_until: i64,
    /// Milliseconds since 1970.
    pub created_at: i64,
    pub keys: Vec<KeyFact>,
    /// In the order of the request. Empty if they were deleted: a refused order does not need them.
    pub lines: Vec<LineFact>,
}

/// The stock check that rejected an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    None,
    Stored,
    Unreadable,
}

#[derive(Debug, Clone)]
pub struct LineFact {
    pub sku: String,
    pub quantity: i64,
    pub price: Option<String>,
}

/// An idempotency key of an order.
#[derive(Debug, Clone)]
pub struct KeyFact {
    /// It was sent by the order's customer.
    pub own: bool,
    /// It was sent with these lines.
    pub same_request: bool,
    /// Milliseconds since 1970.
    pub created_at: i64,
}

/// An order event that the notification module has applied.
#[derive(Debug, Clone)]
pub struct NotificationFact {
    pub order: String,
    /// Type of the event.
    pub kind: String,
    pub customer: String,
    /// When it was applied, in milliseconds since 1970.
    pub created_at: i64,
}

/// Type and subject of each event that is not applied yet: in an outbox, on the bus, or a dead letter.
pub type PendingEvents = BTreeSet<(String, String)>;

/// Times in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub now: i64,
    /// The last sign of work in the data, at most `now`. In a stopped shop nothing ages: an action that was young when
    /// the shop stopped is young.
    pub last_work: i64,
    /// How long a step may take that a worker retries, and how far in the future a time limit may be.
    pub patience_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// `INV-1` to `INV-5`, `DATA` or `FILE`.
    pub invariant: &'static str,
    /// What is wrong, and where.
    pub message: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.invariant, self.message)
    }
}

pub fn violation(invariant: &'static str, message: String) -> Violation {
    Violation { invariant, message }
}

/// INV-1 for one row.
pub fn conserved(quantity: i64, held: i64, sold: i64, received: i64) -> bool {
    i128::from(quantity) + i128::from(held) + i128::from(sold) == i128::from(received)
}

/// Adds a reservation to the sums.
pub fn add_reserved(sums: &mut BTreeMap<String, Reserved>, reservation: &ReservationFact) {
    for (sku, n) in reservation.lines.iter().flatten() {
        let sum = sums.entry(sku.clone()).or_default();
        match reservation.state.as_str() {
            "HELD" => sum.held = sum.held.saturating_add(*n),
            "COMMITTED" => sum.committed = sum.committed.saturating_add(*n),
            _ => {}
        }
    }
}

/// INV-1 and INV-2: the violations of each SKU that has some. Rows of stock are marked as removed and never deleted, so
/// each SKU of a reservation has a row.
pub fn stock(rows: impl IntoIterator<Item = StockFact>, mut reserved: BTreeMap<String, Reserved>) -> BTreeMap<String, Vec<Violation>> {
    let mut by_sku = BTreeMap::new();
    for row in rows {
        let found = stock_row(&row, reserved.remove(&row.sku).unwrap_or_default());
        if !found.is_empty() {
            by_sku.insert(row.sku, found);
        }
    }
    for (sku, Reserved { held, committed }) in reserved {
        let message = format!("{sku}: reservations hold {held} and sold {committed}, but there is no stock row");
        by_sku.insert(sku, vec![violation("INV-1", message)]);
    }
    by_sku
}

fn stock_row(row: &StockFact, reserved: Reserved) -> Vec<Violation> {
    let StockFact { sku, quantity, held, sold, received } = row;
    let mut violations = Vec::new();
    let mut check = |holds: bool, invariant, message: String| {
        if !holds {
            violations.push(violation(invariant, message));
        }
    };
    let sum = format!("{sku}: quantity {quantity} + held {held} + sold {sold} is not received {received}");
    check(conserved(*quantity, *held, *sold, *received), "INV-1", sum);
    check(reserved.held == *held, "INV-1", format!("{sku}: {held} are held, reservations hold {}", reserved.held));
    check(reserved.committed <= *sold, "INV-1", format!("{sku}: {sold} are sold, reservations sold {}", reserved.committed));
    for (name, value) in [("quantity", quantity), ("held", held), ("sold", sold)] {
        check(*value >= 0, "INV-2", format!("{sku}: {name} is {value}"));
    }
    violations
}

/// INV-3 to INV-5 and DATA for one order, with its reservation and the notifications about it.
pub fn order(
    order: &OrderFact,
    reservation: Option<&ReservationFact>,
    notifications: &[NotificationFact],
    pending: &PendingEvents,
    times: &Times,
) -> Vec<Violation> {
    let mut violations = values(order);
    violations.extend(amounts(order));
    violations.extend(keys(order, times));
    violations.extend(pending_time(order, times));
    violations.extend(reservation_state(order, reservation));
    violations.extend(reservation.into_iter().flat_map(|reservation| reserved_lines(order, reservation, times)));
    violations.extend(settlement(order, notifications, times));
    violations.extend(events(order, notifications, pending));
    violations
}

/// The row can be read, and its columns fit together.
fn values(order: &OrderFact) -> Vec<Violation> {
    let OrderFact { number, status, .. } = order;
    let wrong = [
        (number.parse::<uuid::Uuid>().is_err(), "has no valid number".to_string()),
        (order.customer.is_empty(), "has no customer".into()),
        (order.refusal == Refusal::Unreadable, "has an unreadable reason".into()),
        (order.refusal == Refusal::Stored && status != "REJECTED", format!("is {status}, and has a reason for a refusal")),
        (order.hidden && matches!(status.as_str(), "PENDING" | "PLACED"), format!("is {status}, and hidden from its customer")),
    ];
    wrong.into_iter().filter(|(wrong, _)| *wrong).map(|(_, what)| violation("DATA", format!("order {number} {what}"))).collect()
}

/// The total is the sum of the lines. A line without a price counts as zero: it has an unknown SKU, or was copied from a Spring
/// shop.
fn amounts(order: &OrderFact) -> Vec<Violation> {
    if order.status == "REJECTED" && order.lines.is_empty() {
        return Vec::new();
    }
    let mut wrong = Vec::new();
    let mut sum = Some(Money::ZERO);
    if order.lines.is_empty() {
        wrong.push("has no lines".into());
    }
    for LineFact { sku, quantity, price } in &order.lines {
        if *quantity < 1 {
            wrong.push(format!("has {quantity} of {sku}"));
        }
        let amount = match price.as_deref().map(str::parse::<Money>) {
            None => Some(Money::ZERO),
            Some(Ok(price)) if !price.is_negative() => price.checked_mul(*quantity),
            Some(_) => {
                wrong.push(format!("has {sku} at the price {}", price.as_deref().unwrap_or_default()));
                None
            }
        };
        sum = sum.zip(amount).and_then(|(sum, amount)| sum.checked_add(amount));
    }
    match (order.total.parse::<Money>(), sum) {
        (Err(_), _) => wrong.push(format!("has the total `{}`, which is no amount", order.total)),
        (Ok(total), Some(sum)) if total != sum => wrong.push(format!("has the total {total}, and its lines are {sum}")),
        _ => {}
    }
    wrong.into_iter().map(|what| violation("DATA", format!("order {} {what}", order.number))).collect()
}

/// INV-3: at most one key, of the order's customer and request. A refusal that is not for stock frees the key.
fn keys(order: &OrderFact, times: &Times) -> Vec<Violation> {
    let mut wrong = Vec::new();
    if order.keys.len() > 1 {
        wrong.push(format!("has {} idempotency keys", order.keys.len()));
    }
    if !order.keys.is_empty() && order.status == "REJECTED" && order.refusal == Refusal::None {
        wrong.push("was refused for a cause that passes, and its idempotency key is not free".into());
    }
    for key in &order.keys {
        if !key.own {
            wrong.push("has an idempotency key that is not of its customer".into());
        }
        if !key.same_request && !order.lines.is_empty() {
            wrong.push("has an idempotency key that was sent with other lines".into());
        }
        if key.created_at > times.now + times.patience_ms {
            wrong.push(format!("has an idempotency key from the future, {}", moment(key.created_at)));
        }
    }
    wrong.into_iter().map(|what| violation("INV-3", format!("order {} {what}", order.number))).collect()
}

/// INV-4: no order is PENDING beyond its lease, or for ever on renewed leases.
fn pending_time(order: &OrderFact, times: &Times) -> Option<Violation> {
    let what = match order {
        _ if order.status != "PENDING" => return None,
        _ if order.lease_until < times.now => "beyond its lease; a running shop recovers it".to_string(),
        _ if order.lease_until > times.now + times.patience_ms => {
            format!("with a lease until {}, far beyond its term; a running shop recovers it", moment(order.lease_until))
        }
        _ if order.created_at < times.now - times.patience_ms => {
            format!("since {}; recovery does not complete it", moment(order.created_at))
        }
        _ => return None,
    };
    Some(violation("INV-4", format!("order {} is PENDING {what}", order.number)))
}

/// INV-4: status and reservation agree. A RELEASED reservation may have been deleted.
fn reservation_state(order: &OrderFact, reservation: Option<&ReservationFact>) -> Option<Violation> {
    let state = reservation.map_or("none", |reservation| reservation.state.as_str());
    let agrees = match (order.status.as_str(), order.settle.is_some()) {
        ("PENDING", _) => matches!(state, "none" | "HELD"),
        ("PLACED", true) => matches!(state, "HELD" | "COMMITTED"),
        ("PLACED", false) => state == "COMMITTED",
        ("CANCELLED", true) => matches!(state, "HELD" | "COMMITTED" | "RELEASED"),
        ("REJECTED", true) => matches!(state, "none" | "HELD" | "RELEASED"),
        ("CANCELLED" | "REJECTED", false) => matches!(state, "none" | "RELEASED"),
        (status, _) => return Some(violation("INV-4", format!("order {} has the unknown status {status}", order.number))),
    };
    (!agrees).then(|| violation("INV-4", format!("order {} is {}, its reservation is {state}", order.number, order.status)))
}

/// INV-4: the reservation is for the order's lines. A release that was recorded before a reservation has no lines.
fn reserved_lines(order: &OrderFact, reservation: &ReservationFact, times: &Times) -> Vec<Violation> {
    let OrderFact { number, .. } = order;
    let mut ordered: BTreeMap<String, i64> = BTreeMap::new();
    for line in &order.lines {
        let sum = ordered.entry(line.sku.clone()).or_default();
        *sum = sum.saturating_add(line.quantity);
    }
    let mut violations = Vec::new();
    match &reservation.lines {
        None => violations.push(violation("DATA", format!("the reservation of order {number} has unreadable lines"))),
        Some(lines) if lines.is_empty() && reservation.state == "RELEASED" => {}
        Some(lines) if *lines != ordered && !ordered.is_empty() => {
            violations.push(violation("INV-4", format!("order {number} has {ordered:?}, its reservation {lines:?}")));
        }
        Some(_) => {}
    }
    if reservation.state == "HELD" && reservation.expires_at > times.now + times.patience_ms {
        let until = moment(reservation.expires_at);
        violations.push(violation(
            "INV-4",
            format!("the reservation of order {number} is HELD until {until}, far beyond its term; a running shop checks it"),
        ));
    }
    violations
}

/// INV-4: a reservation is committed or released soon after the order's end. Its note and the event are written
/// together, so the note is at least as old as the notification.
fn settlement(order: &OrderFact, notifications: &[NotificationFact], times: &Times) -> Option<Violation> {
    let OrderFact { number, status, .. } = order;
    let settle = order.settle.as_deref()?;
    let (expected, kind) = match status.as_str() {
        "PLACED" => ("COMMIT", "order.placed"),
        "REJECTED" => ("RELEASE", "order.rejected"),
        "CANCELLED" => ("RELEASE", "order.cancelled"),
        _ => ("nothing", ""),
    };
    if settle != expected {
        return Some(violation("INV-4", format!("order {number} is {status}, and settlement is to {settle} its reservation")));
    }
    let since = notifications.iter().filter(|notification| notification.kind == kind).map(|notification| notification.created_at).min()?;
    let stuck = since < times.last_work.saturating_sub(times.patience_ms);
    stuck.then(|| {
        violation("INV-4", format!("order {number} is {status}, and settlement has not done its {settle} since {}", moment(since)))
    })
}

/// RFC 3339, or the number if it is no year of four digits.
fn moment(ms: i64) -> String {
    Some(clock::rfc3339(ms)).filter(|text| !text.is_empty()).unwrap_or_else(|| format!("{ms} ms after 1970"))
}

/// The events that an order of this status has published.
fn kinds(status: &str) -> &'static [&'static str] {
    match status {
        "PLACED" => &["order.placed"],
        "REJECTED" => &["order.rejected"],
        "CANCELLED" => &["order.placed", "order.cancelled"],
        _ => &[],
    }
}

/// INV-5: each event of the order was applied once, to its customer's inbox, or is not applied yet.
fn events(order: &OrderFact, notifications: &[NotificationFact], pending: &PendingEvents) -> Vec<Violation> {
    let OrderFact { number, customer, .. } = order;
    let mut violations = Vec::new();
    for kind in kinds(&order.status) {
        match notifications.iter().filter(|notification| notification.kind == *kind).count() {
            1 => {}
            0 if pending.contains(&(kind.to_string(), number.clone())) => {}
            0 => violations.push(violation("INV-5", format!("{kind} of order {number} was lost"))),
            n => violations.push(violation("INV-5", format!("{kind} of order {number} was applied {n} times"))),
        }
    }
    for NotificationFact { kind, customer: other, .. } in notifications.iter().filter(|notification| notification.customer != *customer) {
        violations.push(violation("INV-5", format!("{kind} of order {number} is in the inbox of {other}, the order is of {customer}")));
    }
    violations
}

/// INV-5, the other direction: notifications of events that the order has not published.
pub fn foreign_events(number: &str, order: Option<&OrderFact>, notifications: &[NotificationFact]) -> Vec<Violation> {
    const KNOWN: [&str; 3] = ["order.placed", "order.rejected", "order.cancelled"];
    let foreign = |kind: &&str| !kinds(order.map_or("", |order| &order.status)).contains(kind) && KNOWN.contains(kind);
    let kinds: BTreeSet<&str> = notifications.iter().map(|notification| notification.kind.as_str()).filter(|kind| foreign(kind)).collect();
    let message = |kind: &str| match order {
        Some(order) => format!("{kind} of order {number} was applied, but the order is {}", order.status),
        None => format!("{kind} of order {number} was applied, but there is no such order"),
    };
    kinds.into_iter().map(|kind| violation("INV-5", message(kind))).collect()
}

/// INV-4, the other direction: a reservation without an order. Inventory records the release of an unknown order.
pub fn reservation_without_order(reservation: &ReservationFact) -> Option<Violation> {
    let ReservationFact { order, state, .. } = reservation;
    (state != "RELEASED").then(|| violation("INV-4", format!("the reservation of order {order} is {state}, but there is no such order")))
}
