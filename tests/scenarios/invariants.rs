//! Properties of the invariants: every reachable state satisfies them, and every corruption of a state
//! violates the expected invariant.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::collections::BTreeMap;
use tradepost::modules::invariants;
use tradepost::modules::invariants::{EventFacts, OrderFact, ReservationFact, StockFact, Violation};

const NOW: i64 = 1_000_000;
const SKUS: [&str; 4] = ["a", "b", "c", "d"];

/// The input of an audit.
#[derive(Debug, Clone)]
struct Facts {
    stock: Vec<StockFact>,
    orders: Vec<OrderFact>,
    reservations: Vec<ReservationFact>,
    events: EventFacts,
}

impl Facts {
    fn audit(&self) -> Vec<Violation> {
        let mut all = invariants::stock(&self.stock, &self.reservations);
        all.extend(invariants::keys(&self.orders));
        all.extend(invariants::end_states(&self.orders, &self.reservations, NOW));
        all.extend(invariants::events(&self.orders, &self.events));
        all
    }

    fn state(&self, number: &str) -> Option<&str> {
        self.reservations.iter().find(|r| r.order == number).map(|r| r.state.as_str())
    }
}

/// Every valid combination: order status, whether the reservation is still to be settled, reservation state.
const VALID_STATES: &[(&str, bool, Option<&str>)] = &[
    ("PENDING", false, None),
    ("PENDING", false, Some("HELD")),
    ("PLACED", true, Some("HELD")),
    ("PLACED", true, Some("COMMITTED")),
    ("PLACED", false, Some("COMMITTED")),
    ("REJECTED", false, None),
    ("REJECTED", true, None),
    ("REJECTED", true, Some("HELD")),
    ("REJECTED", false, Some("RELEASED")),
    ("CANCELLED", true, Some("HELD")),
    ("CANCELLED", true, Some("COMMITTED")),
    ("CANCELLED", true, Some("RELEASED")),
    ("CANCELLED", false, Some("RELEASED")),
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
            0..2i64,
            0..1000i64,
            select(vec![EventState::Pending, EventState::Applied, EventState::Both]),
        ), 1..12),
    ) -> Facts {
        let row = |(sku, quantity): (&&str, &i64)| StockFact { sku: sku.to_string(), quantity: *quantity, held: 0, sold: 0, received: *quantity };
        let mut facts = Facts {
            stock: SKUS.iter().zip(&quantities).map(row).collect(),
            orders: vec![],
            reservations: vec![],
            events: EventFacts::default(),
        };
        for (i, ((status, unsettled, state), wanted, keys, left, at)) in orders.into_iter().enumerate() {
            let number = format!("order-{i}");
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
                facts.reservations.push(ReservationFact { order: number.clone(), state: state.into(), lines: lines.clone() });
            }
            let kinds: &[&str] = match status {
                "PLACED" => &["order.placed"],
                "REJECTED" => &["order.rejected"],
                "CANCELLED" => &["order.placed", "order.cancelled"],
                _ => &[],
            };
            for kind in kinds {
                let event = (kind.to_string(), number.clone());
                if !matches!(at, EventState::Applied) {
                    facts.events.not_applied.insert(event.clone());
                }
                if !matches!(at, EventState::Pending) {
                    facts.events.applied.insert(event, 1);
                }
            }
            facts.orders.push(OrderFact { number, status: status.into(), unsettled, lease_until: NOW + left, keys, lines });
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
    ExpiredLease,
    PlacedButReleased,
    PlacedWithoutReservation,
    DifferentLines,
    EndedButNotReleased,
    EventLost,
    EventAppliedTwice,
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
    ExpiredLease,
    PlacedButReleased,
    PlacedWithoutReservation,
    DifferentLines,
    EndedButNotReleased,
    EventLost,
    EventAppliedTwice,
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
            ("INV-1", held.lines.keys().next()?.clone())
        }
        ReservationOfUnknownSku => {
            let lines = BTreeMap::from([("ghost".to_string(), by)]);
            facts.reservations.push(ReservationFact { order: "unknown".into(), state: "HELD".into(), lines });
            ("INV-1", "ghost".into())
        }
        SecondKey => {
            let order = some(facts.orders.iter_mut(), pick)?;
            order.keys = 1 + by;
            ("INV-3", order.number.clone())
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
            *order.lines.values_mut().next()? += by;
            ("INV-4", order.number.clone())
        }
        EndedButNotReleased => {
            let ended = |o: &&OrderFact| !o.unsettled && matches!(before.state(&o.number), Some("RELEASED"));
            let order = some(before.orders.iter().filter(ended), pick)?;
            let state = if by % 2 == 0 { "HELD" } else { "COMMITTED" };
            facts.reservations.iter_mut().find(|r| r.order == order.number)?.state = state.into();
            ("INV-4", order.number.clone())
        }
        EventLost => {
            let all = before.events.applied.keys().chain(&before.events.not_applied);
            let event = some(all, pick)?;
            facts.events.applied.remove(event);
            facts.events.not_applied.remove(event);
            ("INV-5", format!("{} of order {}", event.0, event.1))
        }
        EventAppliedTwice => {
            let (event, times) = some(facts.events.applied.iter_mut(), pick)?;
            *times += by;
            ("INV-5", format!("{} of order {}", event.0, event.1))
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
