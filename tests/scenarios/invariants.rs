//! Properties of the invariants: every reachable state satisfies them, and every corruption of a state
//! violates the expected invariant.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::collections::BTreeMap;
use tradepost::modules::invariants;
use tradepost::modules::invariants::{
    KeyFact, LineFact, NotificationFact, OrderFact, PendingEvents, Refusal, ReservationFact, StockFact, Times, Violation,
};

const NOW: i64 = 1_000_000;
const PATIENCE: i64 = 10_000;
const SKUS: [&str; 4] = ["a", "b", "c", "d"];

/// The input of an audit.
#[derive(Debug, Clone)]
struct Facts {
    stock: Vec<StockFact>,
    orders: Vec<OrderFact>,
    reservations: Vec<ReservationFact>,
    notifications: Vec<NotificationFact>,
    pending: PendingEvents,
}

impl Facts {
    fn audit(&self) -> Vec<Violation> {
        let times = Times { now: NOW, last_work: NOW, patience_ms: PATIENCE };
        let (mut reserved, mut all) = (BTreeMap::new(), Vec::new());
        for reservation in &self.reservations {
            invariants::add_reserved(&mut reserved, reservation);
            if !self.orders.iter().any(|order| order.number == reservation.order) {
                all.extend(invariants::reservation_without_order(reservation));
            }
        }
        for order in &self.orders {
            let reservation = self.reservations.iter().find(|reservation| reservation.order == order.number);
            let applied: Vec<_> = self.notifications.iter().filter(|applied| applied.order == order.number).cloned().collect();
            all.extend(invariants::order(order, reservation, &applied, &self.pending, &times));
            all.extend(invariants::foreign_events(&order.number, Some(order), &applied));
        }
        all.extend(invariants::stock(self.stock.clone(), reserved).into_values().flatten());
        all
    }

    fn state(&self, number: &str) -> Option<&str> {
        self.reservations.iter().find(|r| r.order == number).map(|r| r.state.as_str())
    }
}

/// Every valid combination: order status, what settlement has to do, reservation state.
const VALID_STATES: &[(&str, Option<&str>, Option<&str>)] = &[
    ("PENDING", None, None),
    ("PENDING", None, Some("HELD")),
    ("PLACED", Some("COMMIT"), Some("HELD")),
    ("PLACED", Some("COMMIT"), Some("COMMITTED")),
    ("PLACED", None, Some("COMMITTED")),
    ("REJECTED", None, None),
    ("REJECTED", Some("RELEASE"), None),
    ("REJECTED", Some("RELEASE"), Some("HELD")),
    ("REJECTED", Some("RELEASE"), Some("RELEASED")),
    ("REJECTED", None, Some("RELEASED")),
    ("CANCELLED", Some("RELEASE"), Some("HELD")),
    ("CANCELLED", Some("RELEASE"), Some("COMMITTED")),
    ("CANCELLED", Some("RELEASE"), Some("RELEASED")),
    ("CANCELLED", None, Some("RELEASED")),
    // a released reservation may have been deleted
    ("CANCELLED", None, None),
];

/// State of an event: pending, applied, or both if it was delivered during the audit.
#[derive(Debug, Clone, Copy)]
enum EventState {
    Pending,
    Applied,
    Both,
}

prop_compose! {
    /// A reachable state of a shop.
    fn sound()(
        quantities in vec(0..50i64, SKUS.len()),
        orders in vec((
            select(VALID_STATES),
            vec((0..SKUS.len(), 1..5i64), 1..4),
            0..2usize,
            0..PATIENCE,
            select(vec![EventState::Pending, EventState::Applied, EventState::Both]),
        ), 1..12),
    ) -> Facts {
        let row = |(sku, quantity): (&&str, &i64)| StockFact { sku: sku.to_string(), quantity: *quantity, held: 0, sold: 0, received: *quantity };
        let mut facts = Facts {
            stock: SKUS.iter().zip(&quantities).map(row).collect(),
            orders: vec![],
            reservations: vec![],
            notifications: vec![],
            pending: PendingEvents::new(),
        };
        for (i, ((status, settle, state), wanted, keys, left, at)) in orders.into_iter().enumerate() {
            let number = format!("00000000-0000-4000-8000-{i:012}");
            let mut lines: BTreeMap<String, i64> = BTreeMap::new();
            for (sku, n) in wanted {
                *lines.entry(SKUS[sku].into()).or_default() += n;
            }
            for row in facts.stock.iter_mut() {
                let n = lines.get(&row.sku).copied().unwrap_or_default();
                match state {
                    Some("HELD") => (row.held, row.received) = (row.held + n, row.received + n),
                    Some("COMMITTED") => (row.sold, row.received) = (row.sold + n, row.received + n),
                    _ => {}
                }
            }
            if let Some(state) = state {
                let lines = Some(lines.clone());
                facts.reservations.push(ReservationFact { order: number.clone(), state: state.into(), lines, expires_at: 0 });
            }
            let kinds: &[&str] = match status {
                "PLACED" => &["order.placed"],
                "REJECTED" => &["order.rejected"],
                "CANCELLED" => &["order.placed", "order.cancelled"],
                _ => &[],
            };
            for kind in kinds {
                if !matches!(at, EventState::Applied) {
                    facts.pending.insert((kind.to_string(), number.clone()));
                }
                if !matches!(at, EventState::Pending) {
                    let (kind, customer) = (kind.to_string(), "alice".to_string());
                    facts.notifications.push(NotificationFact { order: number.clone(), kind, customer, created_at: NOW - left });
                }
            }
            let total = lines.values().sum::<i64>();
            let line = |(sku, quantity)| LineFact { sku, quantity, price: Some("1.0".into()) };
            facts.orders.push(OrderFact {
                number,
                customer: "alice".into(),
                status: status.into(),
                settle: settle.map(String::from),
                total: format!("{total}.00"),
                refusal: if status == "REJECTED" { Refusal::Stored } else { Refusal::None },
                hidden: false,
                lease_until: NOW + left,
                created_at: NOW - left,
                keys: vec![KeyFact { own: true, same_request: true, created_at: NOW - left }; keys],
                lines: lines.into_iter().map(line).collect(),
            });
        }
        facts
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Corruption {
    ExtraQuantity,
    ReceivedTooLow,
    HeldWithoutReservation,
    NegativeQuantity,
    MissingReservation,
    ReservationOfUnknownSku,
    SecondKey,
    ForeignKey,
    ExpiredLease,
    EndlessLease,
    StuckSettlement,
    WrongTotal,
    OrderDeleted,
    PlacedButReleased,
    PlacedWithoutReservation,
    DifferentLines,
    EndedButNotReleased,
    EventLost,
    EventAppliedTwice,
    EventOfAnotherStatus,
    EventInAnotherInbox,
}
use Corruption::*;

const ALL: &[Corruption] = &[
    ExtraQuantity,
    ReceivedTooLow,
    HeldWithoutReservation,
    NegativeQuantity,
    MissingReservation,
    ReservationOfUnknownSku,
    SecondKey,
    ForeignKey,
    ExpiredLease,
    EndlessLease,
    StuckSettlement,
    WrongTotal,
    OrderDeleted,
    PlacedButReleased,
    PlacedWithoutReservation,
    DifferentLines,
    EndedButNotReleased,
    EventLost,
    EventAppliedTwice,
    EventOfAnotherStatus,
    EventInAnotherInbox,
];

/// Corrupts the facts. Returns the violated invariant and the name that its message must contain; `None` if
/// this corruption does not apply to the facts.
fn corrupt(facts: &mut Facts, how: Corruption, pick: Index, by: i64) -> Option<(&'static str, String)> {
    fn some<T>(all: impl Iterator<Item = T>, pick: Index) -> Option<T> {
        let mut all: Vec<T> = all.collect();
        (!all.is_empty()).then(|| all.swap_remove(pick.index(all.len())))
    }
    let before = facts.clone();
    let row = some(facts.stock.iter_mut(), pick)?;
    Some(match how {
        ExtraQuantity => {
            row.quantity += by;
            ("INV-1", row.sku.clone())
        }
        ReceivedTooLow => {
            row.received -= by;
            ("INV-1", row.sku.clone())
        }
        HeldWithoutReservation => {
            (row.held, row.received) = (row.held + by, row.received + by);
            ("INV-1", row.sku.clone())
        }
        NegativeQuantity => {
            (row.sold, row.quantity) = (row.sold + row.quantity + by, -by);
            ("INV-2", row.sku.clone())
        }
        MissingReservation => {
            let held = some(before.reservations.iter().filter(|r| r.state == "HELD"), pick)?;
            facts.reservations.retain(|r| r.order != held.order);
            ("INV-1", held.lines.as_ref()?.keys().next()?.clone())
        }
        ReservationOfUnknownSku => {
            let lines = Some(BTreeMap::from([("ghost".to_string(), by)]));
            facts.reservations.push(ReservationFact { order: "unknown".into(), state: "HELD".into(), lines, expires_at: 0 });
            ("INV-1", "ghost".into())
        }
        SecondKey => {
            let order = some(facts.orders.iter_mut(), pick)?;
            order.keys = vec![KeyFact { own: true, same_request: true, created_at: NOW }; 1 + by as usize];
            ("INV-3", order.number.clone())
        }
        ForeignKey => {
            let order = some(facts.orders.iter_mut().filter(|o| !o.keys.is_empty()), pick)?;
            let key = order.keys.first_mut()?;
            if by % 2 == 0 {
                key.own = false
            } else {
                key.same_request = false
            }
            ("INV-3", order.number.clone())
        }
        EndlessLease => {
            let order = some(facts.orders.iter_mut().filter(|o| o.status == "PENDING"), pick)?;
            if by % 2 == 0 {
                order.lease_until = NOW + PATIENCE + by
            } else {
                order.created_at = NOW - PATIENCE - by
            }
            ("INV-4", order.number.clone())
        }
        StuckSettlement => {
            let order = some(facts.orders.iter().filter(|o| o.settle.is_some()), pick)?;
            let mut of_order = facts.notifications.iter_mut().filter(|applied| applied.order == order.number).peekable();
            of_order.peek()?;
            of_order.for_each(|applied| applied.created_at = NOW - PATIENCE - by);
            ("INV-4", order.number.clone())
        }
        WrongTotal => {
            let order = some(facts.orders.iter_mut(), pick)?;
            order.total = format!("0.{by}");
            ("DATA", order.number.clone())
        }
        OrderDeleted => {
            let active = some(before.reservations.iter().filter(|r| r.state != "RELEASED"), pick)?;
            facts.orders.retain(|order| order.number != active.order);
            ("INV-4", active.order.clone())
        }
        ExpiredLease => {
            let order = some(facts.orders.iter_mut().filter(|o| o.status == "PENDING"), pick)?;
            order.lease_until = NOW - by;
            ("INV-4", order.number.clone())
        }
        PlacedButReleased | PlacedWithoutReservation => {
            let order = some(before.orders.iter().filter(|o| o.status == "PLACED"), pick)?;
            if how == PlacedWithoutReservation {
                facts.reservations.retain(|r| r.order != order.number);
            } else {
                facts.reservations.iter_mut().find(|r| r.order == order.number)?.state = "RELEASED".into();
            }
            ("INV-4", order.number.clone())
        }
        DifferentLines => {
            let order = some(facts.orders.iter_mut().filter(|o| o.status == "PLACED"), pick)?;
            order.lines.first_mut()?.quantity += by;
            ("INV-4", order.number.clone())
        }
        EndedButNotReleased => {
            let ended = |o: &&OrderFact| o.settle.is_none() && matches!(before.state(&o.number), Some("RELEASED"));
            let order = some(before.orders.iter().filter(ended), pick)?;
            let state = if by % 2 == 0 { "HELD" } else { "COMMITTED" };
            facts.reservations.iter_mut().find(|r| r.order == order.number)?.state = state.into();
            ("INV-4", order.number.clone())
        }
        EventLost => {
            let all =
                before.notifications.iter().map(|applied| (applied.kind.clone(), applied.order.clone())).chain(before.pending.clone());
            let event = some(all, pick)?;
            facts.notifications.retain(|applied| (&applied.kind, &applied.order) != (&event.0, &event.1));
            facts.pending.remove(&event);
            ("INV-5", format!("{} of order {}", event.0, event.1))
        }
        EventAppliedTwice => {
            let applied = some(before.notifications.iter(), pick)?;
            facts.notifications.extend(vec![applied.clone(); by as usize]);
            ("INV-5", format!("{} of order {}", applied.kind, applied.order))
        }
        EventOfAnotherStatus => {
            let order = some(before.orders.iter(), pick)?;
            let kind = if order.status == "REJECTED" { "order.placed" } else { "order.rejected" };
            let (order, customer) = (order.number.clone(), order.customer.clone());
            facts.notifications.push(NotificationFact { order: order.clone(), kind: kind.into(), customer, created_at: NOW });
            ("INV-5", format!("{kind} of order {order}"))
        }
        EventInAnotherInbox => {
            let applied = some(facts.notifications.iter_mut(), pick)?;
            applied.customer = "mallory".into();
            ("INV-5", format!("{} of order {}", applied.kind, applied.order))
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reachable_state_violates_no_invariant(facts in sound()) {
        prop_assert_eq!(facts.audit(), []);
    }

    #[test]
    fn corrupted_state_violates_the_expected_invariant(facts in sound(), how in select(ALL), pick in any::<Index>(), by in 1..9i64) {
        let mut facts = facts;
        let corrupted = corrupt(&mut facts, how, pick, by);
        prop_assume!(corrupted.is_some());
        let (invariant, name) = corrupted.unwrap();
        let found = facts.audit();
        let reported = found.iter().any(|v| v.invariant == invariant && v.message.contains(&name));
        prop_assert!(reported, "{how:?} of {name} should violate {invariant}: {found:?}");
    }
}
