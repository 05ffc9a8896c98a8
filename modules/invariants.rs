//! The invariants of the shop's data. Tests, debug assertions and the audit command cite them by name.
//!
//! - **INV-1** stock is conserved: `quantity + held + sold == received`, per SKU.
//! - **INV-2** a quantity is never negative.
//! - **INV-3** one idempotency key, one order.
//! - **INV-4** every order reaches an end state, and its reservation agrees with it.
//! - **INV-5** every committed change's event is delivered at least once, and applied exactly once.
//!
//! A check takes facts that the modules read from their own stores, and returns the violations.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone)]
pub struct StockFact {
    pub sku: String,
    pub quantity: i64,
    pub held: i64,
    pub sold: i64,
    pub received: i64,
}

#[derive(Debug, Clone)]
pub struct ReservationFact {
    pub order: String,
    pub state: String,
    pub lines: BTreeMap<String, i64>,
}

#[derive(Debug, Clone)]
pub struct OrderFact {
    pub number: String,
    pub status: String,
    /// Its reservation is not committed or released yet.
    pub unsettled: bool,
    /// Milliseconds since 1970.
    pub lease_until: i64,
    /// Number of idempotency keys that refer to the order.
    pub keys: i64,
    pub lines: BTreeMap<String, i64>,
}

/// Events by type and subject.
#[derive(Debug, Clone, Default)]
pub struct EventFacts {
    /// Not applied yet: in an outbox, on the bus, or a dead letter.
    pub not_applied: BTreeSet<(String, String)>,
    /// How often the notification module has applied each event.
    pub applied: BTreeMap<(String, String), i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// `INV-1` to `INV-5`.
    pub invariant: &'static str,
    /// What is wrong, and where.
    pub message: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.invariant, self.message)
    }
}

fn violation(invariant: &'static str, message: String) -> Violation {
    Violation { invariant, message }
}

/// INV-1 for one row.
pub fn conserved(quantity: i64, held: i64, sold: i64, received: i64) -> bool {
    quantity + held + sold == received
}

/// INV-1, INV-2, and that `held` is the sum of the HELD reservations.
pub fn stock(rows: &[StockFact], reservations: &[ReservationFact]) -> Vec<Violation> {
    let mut held: BTreeMap<&str, i64> = BTreeMap::new();
    for (sku, n) in reservations.iter().filter(|r| r.state == "HELD").flat_map(|r| &r.lines) {
        *held.entry(sku).or_default() += n;
    }
    let mut violations = Vec::new();
    for row in rows {
        let StockFact { sku, quantity, held: row_held, sold, received } = row;
        if !conserved(*quantity, *row_held, *sold, *received) {
            violations
                .push(violation("INV-1", format!("{sku}: quantity {quantity} + held {row_held} + sold {sold} is not received {received}")));
        }
        let reserved = held.remove(sku.as_str()).unwrap_or_default();
        if reserved != *row_held {
            violations.push(violation("INV-1", format!("{sku}: {row_held} are held, reservations hold {reserved}")));
        }
        if *quantity < 0 {
            violations.push(violation("INV-2", format!("{sku}: quantity is {quantity}")));
        }
    }
    violations
        .extend(held.into_iter().map(|(sku, n)| violation("INV-1", format!("{sku}: reservations hold {n}, but there is no stock row"))));
    violations
}

/// INV-3: no order has two keys. (The primary key of the key table ensures that no key has two orders.)
pub fn keys(orders: &[OrderFact]) -> Vec<Violation> {
    let shared = orders.iter().filter(|o| o.keys > 1);
    shared.map(|o| violation("INV-3", format!("order {} has {} idempotency keys", o.number, o.keys))).collect()
}

/// INV-4: no order is PENDING beyond its lease, and each settled order agrees with its reservation.
pub fn end_states(orders: &[OrderFact], reservations: &[ReservationFact], now_ms: i64) -> Vec<Violation> {
    let by_order: BTreeMap<&str, &ReservationFact> = reservations.iter().map(|r| (r.order.as_str(), r)).collect();
    let mut violations = Vec::new();
    for order in orders {
        let number = &order.number;
        let reservation = by_order.get(number.as_str());
        let state = reservation.map_or("none", |r| r.state.as_str());
        let agrees = match order.status.as_str() {
            "PENDING" if order.lease_until < now_ms => {
                violations.push(violation("INV-4", format!("order {number} is PENDING beyond its lease; a running shop recovers it")));
                true
            }
            "PENDING" => true,
            "PLACED" if order.unsettled => matches!(state, "HELD" | "COMMITTED"),
            "PLACED" => state == "COMMITTED",
            _ if order.unsettled => true,
            _ => matches!(state, "RELEASED" | "none"),
        };
        if !agrees {
            violations.push(violation("INV-4", format!("order {number} is {}, its reservation is {state}", order.status)));
        }
        if let Some(r) = reservation.filter(|r| order.status == "PLACED" && r.lines != order.lines) {
            violations.push(violation("INV-4", format!("order {number} has {:?}, its reservation {:?}", order.lines, r.lines)));
        }
    }
    violations
}

/// INV-5: each event of an order was applied once, or is not applied yet.
pub fn events(orders: &[OrderFact], events: &EventFacts) -> Vec<Violation> {
    let mut violations = Vec::new();
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
                0 if events.not_applied.contains(&event) => {}
                0 => violations.push(violation("INV-5", format!("{kind} of order {} was lost", order.number))),
                n => violations.push(violation("INV-5", format!("{kind} of order {} was applied {n} times", order.number))),
            }
        }
    }
    violations
}
