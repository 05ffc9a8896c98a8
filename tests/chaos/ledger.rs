//! Records the result of each request that the customers send, and checks it against the stored orders afterwards.
//!
//! Every order has one unique line (the quantity of the SKU `tag` is its serial number). This finds the order even if
//! its answer was lost.

use crate::support::client::{Client, Reply, order};
use actix_web::http::Method;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Random numbers from a seed, so that a run can be repeated.
pub struct SeededRng(StdRng);

impl SeededRng {
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// Returns a number from `low` to `high`, inclusive.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        self.0.random_range(low..=high)
    }
}

/// The test catalogue: `many-0` to `many-2` never run out, `few` does, and `tag` numbers the orders.
pub async fn stock(c: &Client) {
    c.stocked("tag", "0.01", i64::from(i32::MAX)).await;
    for n in 0..3 {
        c.stocked(&format!("many-{n}"), "2.55", 10_000_000).await;
    }
    c.stocked("few", "10.00", 20).await;
}

/// Random lines of an order: `few` runs out soon, and `nothing` is not a product.
pub fn lines(rng: &mut SeededRng) -> Vec<(String, i64)> {
    let line = |rng: &mut SeededRng| match rng.range(0, 19) {
        0 => ("nothing".to_string(), 1),
        1..=4 => ("few".to_string(), rng.range(1, 3) as i64),
        n => (format!("many-{}", n % 3), rng.range(1, 5) as i64),
    };
    (0..rng.range(1, 3)).map(|_| line(rng)).collect()
}

/// Result of an order, as its customer knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderOutcome {
    /// The customer received no answer.
    Nothing,
    /// The answer was 201, with this id and number.
    Placed { id: i64, number: String, cancel: Cancel },
    /// The answer was 400.
    Refused,
}

/// Result of a cancellation, as its customer knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    NotAsked,
    /// The customer received no answer.
    Asked,
    /// The answer was 200.
    Done,
}

/// An order as it was sent, and its result.
#[derive(Debug, Clone)]
pub struct Entry {
    pub key: Option<String>,
    pub lines: Vec<(String, i64)>,
    pub outcome: OrderOutcome,
}

/// All orders by serial number.
#[derive(Default)]
pub struct Ledger(RefCell<BTreeMap<i64, Entry>>);

impl Ledger {
    pub fn begin(&self, key: bool, mut lines: Vec<(String, i64)>) -> (i64, Entry) {
        let mut entries = self.0.borrow_mut();
        let serial = entries.len() as i64 + 1;
        lines.push(("tag".into(), serial));
        let entry = Entry { key: key.then(|| format!("key-{serial}")), lines, outcome: OrderOutcome::Nothing };
        entries.insert(serial, entry.clone());
        (serial, entry)
    }

    pub fn record(&self, serial: i64, outcome: OrderOutcome) {
        self.0.borrow_mut().get_mut(&serial).unwrap().outcome = outcome;
    }

    pub fn entries(&self) -> BTreeMap<i64, Entry> {
        self.0.borrow().clone()
    }

    /// Sends a new order and records the answer, if there is one.
    pub async fn order(&self, c: &Client, key: bool, lines: Vec<(String, i64)>) -> Result<(), String> {
        let (serial, entry) = self.begin(key, lines);
        let reply = send(c, &entry).await?;
        match outcome_of(&reply) {
            Some(outcome) => self.record(serial, outcome),
            // The order may have been placed or not.
            None if matches!(reply.status, 503 | 504) => {}
            None => panic!("order {serial}: {reply:?}"),
        }
        Ok(())
    }

    /// Picks a placed order to cancel: its serial number, id and number.
    pub fn to_cancel(&self, pick: u64) -> Option<(i64, i64, String)> {
        let entries = self.0.borrow();
        let placed = || entries.iter().filter(|(_, e)| matches!(e.outcome, OrderOutcome::Placed { cancel: Cancel::NotAsked, .. }));
        let (serial, entry) = placed().nth(pick as usize % placed().count().max(1))?;
        let serial = *serial;
        let OrderOutcome::Placed { id, number, .. } = entry.outcome.clone() else { unreachable!() };
        drop(entries);
        self.record(serial, OrderOutcome::Placed { id, number: number.clone(), cancel: Cancel::Asked });
        Some((serial, id, number))
    }

    /// Cancels a placed order, selected by `pick`, and records the answer, if there is one.
    pub async fn cancel(&self, c: &Client, pick: u64) -> Result<(), String> {
        let Some((serial, id, number)) = self.to_cancel(pick) else { return Ok(()) };
        let bearer = format!("Bearer {}", c.alice);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let reply = c.try_send(Method::POST, &format!("/api/v1/orders/{id}/cancel"), &headers, "{}").await?;
        if matches!(reply.status, 503 | 504) {
            return Ok(());
        }
        let reply = reply.expect(200);
        assert_eq!(reply.json()["status"], "CANCELLED");
        self.record(serial, OrderOutcome::Placed { id, number, cancel: Cancel::Done });
        Ok(())
    }

    /// Retries each order with a key and a lost answer until it is answered.
    pub async fn retry_unanswered(&self, c: &Client) {
        let lost: Vec<_> = self.entries().into_iter().filter(|(_, e)| e.key.is_some() && e.outcome == OrderOutcome::Nothing).collect();
        for (serial, entry) in lost {
            crate::support::wait_for("a repeated request is answered", || async {
                let reply = send(c, &entry).await?;
                match outcome_of(&reply) {
                    Some(outcome) => {
                        self.record(serial, outcome);
                        Ok(())
                    }
                    None if reply.status == 409 => Err("still under way".into()),
                    None if matches!(reply.status, 503 | 504) => Err(format!("{reply:?}")),
                    None => panic!("order {serial}: {reply:?}"),
                }
            })
            .await;
        }
    }

    /// Repeats answered orders with a key, from serial number `from` on: the answer must be the same.
    pub async fn assert_retries_answer_the_same(&self, c: &Client, from: usize) {
        for (serial, entry) in self.entries().into_iter().skip(from).filter(|(_, e)| e.key.is_some()) {
            let reply = send(c, &entry).await.unwrap();
            match (&entry.outcome, outcome_of(&reply)) {
                (OrderOutcome::Placed { id, .. }, Some(OrderOutcome::Placed { id: retried, .. })) => {
                    assert_eq!(*id, retried, "order {serial}")
                }
                (OrderOutcome::Refused, Some(OrderOutcome::Refused)) => {}
                (first, _) => panic!("order {serial}: first {first:?}, now {reply:?}"),
            }
        }
    }

    /// Checks every recorded result against all placed and cancelled orders.
    pub fn check(&self, orders: &[Value]) {
        let mut by_serial: BTreeMap<i64, Vec<&Value>> = BTreeMap::new();
        for order in orders {
            by_serial.entry(serial_of(order)).or_default().push(order);
        }
        for (serial, entry) in self.entries() {
            let found = by_serial.remove(&serial).unwrap_or_default();
            assert!(found.len() <= 1, "order {serial} was sent once and exists {} times: {found:?}", found.len());
            let found = found.first();
            if let Some(order) = found {
                assert_eq!(lines_of(order), entry.lines, "order {serial} was changed");
            }
            let status = found.map(|order| order["status"].as_str().unwrap());
            match &entry.outcome {
                OrderOutcome::Nothing => assert!(matches!(status, None | Some("PLACED")), "order {serial}: {status:?}"),
                OrderOutcome::Refused => assert_eq!(status, None, "order {serial} was refused"),
                OrderOutcome::Placed { id, number, cancel } => {
                    let order = found.unwrap_or_else(|| panic!("order {serial} was placed and is lost: {entry:?}"));
                    assert_eq!((&order["id"], &order["orderNumber"]), (&json!(id), &json!(number)));
                    match cancel {
                        Cancel::NotAsked => assert_eq!(status, Some("PLACED"), "order {serial}"),
                        Cancel::Done => assert_eq!(status, Some("CANCELLED"), "order {serial}"),
                        Cancel::Asked => {}
                    }
                }
            }
        }
        assert!(by_serial.is_empty(), "no test customer sent {by_serial:?}");
    }
}

pub async fn send(c: &Client, entry: &Entry) -> Result<Reply, String> {
    let lines: Vec<_> = entry.lines.iter().map(|(sku, n)| (sku.as_str(), *n)).collect();
    let bearer = format!("Bearer {}", c.alice);
    let mut headers = vec![("authorization", bearer.as_str()), ("content-type", "application/json")];
    headers.extend(entry.key.as_deref().map(|key| ("idempotency-key", key)));
    c.try_send(Method::POST, "/api/v1/orders", &headers, order(&lines).to_string()).await
}

pub fn outcome_of(reply: &Reply) -> Option<OrderOutcome> {
    match reply.status {
        201 => {
            let order = reply.json();
            let (id, number) = (order["id"].as_i64().unwrap(), order["orderNumber"].as_str().unwrap().to_string());
            Some(OrderOutcome::Placed { id, number, cancel: Cancel::NotAsked })
        }
        400 => Some(OrderOutcome::Refused),
        _ => None,
    }
}

fn lines_of(order: &Value) -> Vec<(String, i64)> {
    let lines = order["orderLineItems"].as_array().unwrap();
    lines.iter().map(|line| (line["skuCode"].as_str().unwrap().to_string(), line["quantity"].as_i64().unwrap())).collect()
}

fn serial_of(order: &Value) -> i64 {
    lines_of(order).into_iter().find(|(sku, _)| sku == "tag").unwrap().1
}
