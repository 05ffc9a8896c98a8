//! What is always true of the shop's data, in one place. Tests, debug assertions and the audit
//! command cite these by name.
//!
//! - **INV-1** stock is conserved: `quantity + held + sold == received`, per SKU.
//! - **INV-2** a quantity is never negative.
//! - **INV-3** one idempotency key, one order.
//! - **INV-4** every order reaches an end state, and its reservation agrees with it.
//! - **INV-5** every committed change's event is delivered at least once, and applied exactly once.
//!
//! A check takes facts that the modules told of their own data, and answers what contradicts it.

use std::collections::{BTreeMap, BTreeSet};

/// Stock of one SKU.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct StockFact {
    pub sku: String,
    pub quantity: i64,
    pub held: i64,
    pub sold: i64,
    pub received: i64,
}

/// One reservation.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct ReservationFact {
    pub order: String,
    pub state: String,
    pub lines: BTreeMap<String, i64>,
}

/// One order; `keys` is how many idempotency keys name it.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct OrderFact {
    pub number: String,
    pub status: String,
    pub unsettled: bool,
    pub lease_until: i64,
    pub keys: i64,
    pub lines: BTreeMap<String, i64>,
}

/// Events by type and subject: those still on their way, and how often each was applied.
#[derive(Debug, Clone, Default)]
pub struct EventFacts {
    /// In an outbox, on the bus before its consumer, or a dead letter.
    pub under_way: BTreeSet<(String, String)>,
    /// By the notification module.
    pub applied: BTreeMap<(String, String), i64>,
}

/// Something that contradicts an invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// `INV-1` to `INV-5`.
    pub invariant: &'static str,
    /// What is wrong, and where.
    pub what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

fn violation(invariant: &'static str, what: String) -> Violation {
    Violation { invariant, what }
}

/// INV-1 of one row.
pub fn conserved(quantity: i64, held: i64, sold: i64, received: i64) -> bool {
    quantity + held + sold == received
}

/// INV-1 and INV-2, and that what is held is what reservations hold.
pub fn stock(rows: &[StockFact], reservations: &[ReservationFact]) -> Vec<Violation> {
    let mut held: BTreeMap<&str, i64> = BTreeMap::new();
    for (sku, n) in reservations.iter().filter(|r| r.state == "HELD").flat_map(|r| &r.lines) {
        *held.entry(sku).or_default() += n;
    }
    let mut wrong = Vec::new();
    for row in rows {
        let StockFact { sku, quantity, held: row_held, sold, received } = row;
        if !conserved(*quantity, *row_held, *sold, *received) {
            wrong
                .push(violation("INV-1", format!("{sku}: quantity {quantity} + held {row_held} + sold {sold} is not received {received}")));
        }
        let reserved = held.remove(sku.as_str()).unwrap_or_default();
        if reserved != *row_held {
            wrong.push(violation("INV-1", format!("{sku}: {row_held} are held, reservations hold {reserved}")));
        }
        if *quantity < 0 {
            wrong.push(violation("INV-2", format!("{sku}: quantity is {quantity}")));
        }
    }
    wrong.extend(held.into_iter().map(|(sku, n)| violation("INV-1", format!("{sku}: reservations hold {n}, but there is no stock row"))));
    wrong
}

/// INV-3: no order answers to two keys. (That no key makes two orders is the key table's primary key.)
pub fn keys(orders: &[OrderFact]) -> Vec<Violation> {
    let double = orders.iter().filter(|o| o.keys > 1);
    double.map(|o| violation("INV-3", format!("order {} answers to {} idempotency keys", o.number, o.keys))).collect()
}

/// INV-4: no order is PENDING beyond its lease, and what is settled agrees with inventory.
pub fn ends(orders: &[OrderFact], reservations: &[ReservationFact], now_ms: i64) -> Vec<Violation> {
    let by_order: BTreeMap<&str, &ReservationFact> = reservations.iter().map(|r| (r.order.as_str(), r)).collect();
    let mut wrong = Vec::new();
    for order in orders {
        let number = &order.number;
        let reservation = by_order.get(number.as_str());
        let state = reservation.map_or("none", |r| r.state.as_str());
        let agrees = match order.status.as_str() {
            "PENDING" if order.lease_until < now_ms => {
                wrong.push(violation("INV-4", format!("order {number} is PENDING beyond its lease; a running shop recovers it")));
                true
            }
            "PENDING" => true,
            "PLACED" if order.unsettled => matches!(state, "HELD" | "COMMITTED"),
            "PLACED" => state == "COMMITTED",
            _ if order.unsettled => true,
            _ => matches!(state, "RELEASED" | "none"),
        };
        if !agrees {
            wrong.push(violation("INV-4", format!("order {number} is {}, its reservation is {state}", order.status)));
        }
        if let Some(r) = reservation.filter(|r| order.status == "PLACED" && r.lines != order.lines) {
            wrong.push(violation("INV-4", format!("order {number} has {:?}, its reservation {:?}", order.lines, r.lines)));
        }
    }
    wrong
}

/// INV-5: each order's event was applied once, or is still on its way.
pub fn events(orders: &[OrderFact], events: &EventFacts) -> Vec<Violation> {
    let mut wrong = Vec::new();
    for order in orders {
        let kinds: &[&str] = match order.status.as_str() {
            "PLACED" => &["order.placed"],
            "REJECTED" => &["order.rejected"],
            "CANCELLED" => &["order.placed", "order.cancelled"],
            _ => &[],
        };
        for kind in kinds {
            let event = (kind.to_string(), order.number.clone());
            match events.applied.get(&event).copied().unwrap_or_default() {
                1 => {}
                0 if events.under_way.contains(&event) => {}
                0 => wrong.push(violation("INV-5", format!("{kind} of order {} was lost", order.number))),
                n => wrong.push(violation("INV-5", format!("{kind} of order {} was applied {n} times", order.number))),
            }
        }
    }
    wrong
}
