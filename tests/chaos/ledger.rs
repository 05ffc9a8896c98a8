//! What the customers of a shop were told, order by order: afterwards it must be the truth.
//!
//! Every order carries one line that no other has (pieces of the SKU `tag`: its serial number), so
//! that it is found again even where its answer was lost.

use crate::support::client::{Client, Reply, order};
use actix_web::http::Method;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Random numbers from a seed: a run can be repeated.
pub struct Dice(StdRng);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// A number from `low` to `high`.
    pub fn roll(&mut self, low: u64, high: u64) -> u64 {
        self.0.random_range(low..=high)
    }
}

/// What a shop under load sells: `many-0` to `many-2` of which there is enough, `few` of which there is not, and `tag`.
pub async fn stock(c: &Client) {
    c.stocked("tag", "0.01", i64::from(i32::MAX)).await;
    for n in 0..3 {
        c.stocked(&format!("many-{n}"), "2.55", 10_000_000).await;
    }
    c.stocked("few", "10.00", 20).await;
}

/// Lines of an order: `few` runs out soon, and `nothing` is no product.
pub fn lines(dice: &mut Dice) -> Vec<(String, i64)> {
    let line = |dice: &mut Dice| match dice.roll(0, 19) {
        0 => ("nothing".to_string(), 1),
        1..=4 => ("few".to_string(), dice.roll(1, 3) as i64),
        n => (format!("many-{}", n % 3), dice.roll(1, 5) as i64),
    };
    (0..dice.roll(1, 3)).map(|_| line(dice)).collect()
}

/// What a customer knows of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// No answer came.
    Nothing,
    /// 201, with this id and number.
    Placed { id: i64, number: String, cancel: Cancel },
    /// 400.
    Refused,
}

/// What a customer knows of a cancellation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    NotAsked,
    /// No answer came.
    Asked,
    /// 200.
    Done,
}

/// One order as it was sent, and what was told of it.
#[derive(Debug, Clone)]
pub struct Entry {
    pub key: Option<String>,
    pub lines: Vec<(String, i64)>,
    pub told: Told,
}

/// All of them, by serial number.
#[derive(Default)]
pub struct Ledger(RefCell<BTreeMap<i64, Entry>>);

impl Ledger {
    pub fn begin(&self, key: bool, mut lines: Vec<(String, i64)>) -> (i64, Entry) {
        let mut entries = self.0.borrow_mut();
        let serial = entries.len() as i64 + 1;
        lines.push(("tag".into(), serial));
        let entry = Entry { key: key.then(|| format!("key-{serial}")), lines, told: Told::Nothing };
        entries.insert(serial, entry.clone());
        (serial, entry)
    }

    pub fn tell(&self, serial: i64, told: Told) {
        self.0.borrow_mut().get_mut(&serial).unwrap().told = told;
    }

    pub fn entries(&self) -> BTreeMap<i64, Entry> {
        self.0.borrow().clone()
    }

    /// Sends a new order and notes the answer, if one comes.
    pub async fn order(&self, c: &Client, key: bool, lines: Vec<(String, i64)>) -> Result<(), String> {
        let (serial, entry) = self.begin(key, lines);
        let reply = send(c, &entry).await?;
        match told(&reply) {
            Some(told) => self.tell(serial, told),
            // it may have happened, or not
            None if matches!(reply.status, 503 | 504) => {}
            None => panic!("order {serial}: {reply:?}"),
        }
        Ok(())
    }

    /// Serial number, id and number of an order that was placed and is to be cancelled now, picked by this number.
    pub fn to_cancel(&self, pick: u64) -> Option<(i64, i64, String)> {
        let entries = self.0.borrow();
        let placed = || entries.iter().filter(|(_, e)| matches!(e.told, Told::Placed { cancel: Cancel::NotAsked, .. }));
        let (serial, entry) = placed().nth(pick as usize % placed().count().max(1))?;
        let serial = *serial;
        let Told::Placed { id, number, .. } = entry.told.clone() else { unreachable!() };
        drop(entries);
        self.tell(serial, Told::Placed { id, number: number.clone(), cancel: Cancel::Asked });
        Some((serial, id, number))
    }

    /// Cancels an order that was placed, picked by this number, and notes the answer, if one comes.
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
        self.tell(serial, Told::Placed { id, number, cancel: Cancel::Done });
        Ok(())
    }

    /// Sends those with a key whose answer was lost again, until each is answered.
    pub async fn ask_again(&self, c: &Client) {
        let lost: Vec<_> = self.entries().into_iter().filter(|(_, e)| e.key.is_some() && e.told == Told::Nothing).collect();
        for (serial, entry) in lost {
            crate::support::wait_for("a repeated request is answered", || async {
                let reply = send(c, &entry).await?;
                match told(&reply) {
                    Some(told) => {
                        self.tell(serial, told);
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

    /// Sends those with a key that were answered, from this one on, again: the answer is the same.
    pub async fn ask_for_the_same(&self, c: &Client, from: usize) {
        for (serial, entry) in self.entries().into_iter().skip(from).filter(|(_, e)| e.key.is_some()) {
            let reply = send(c, &entry).await.unwrap();
            match (&entry.told, told(&reply)) {
                (Told::Placed { id, .. }, Some(Told::Placed { id: again, .. })) => assert_eq!(*id, again, "order {serial}"),
                (Told::Refused, Some(Told::Refused)) => {}
                (first, _) => panic!("order {serial}: first {first:?}, now {reply:?}"),
            }
        }
    }

    /// Every answer is the truth, given all orders that are placed or cancelled.
    pub fn check(&self, orders: &[Value]) {
        let mut by_serial: BTreeMap<i64, Vec<&Value>> = BTreeMap::new();
        for order in orders {
            by_serial.entry(serial_of(order)).or_default().push(order);
        }
        for (serial, entry) in self.entries() {
            let found = by_serial.remove(&serial).unwrap_or_default();
            assert!(found.len() <= 1, "order {serial} was sent once and is there {} times: {found:?}", found.len());
            let found = found.first();
            if let Some(order) = found {
                assert_eq!(lines_of(order), entry.lines, "order {serial} was changed");
            }
            let status = found.map(|order| order["status"].as_str().unwrap());
            match &entry.told {
                Told::Nothing => assert!(matches!(status, None | Some("PLACED")), "order {serial}: {status:?}"),
                Told::Refused => assert_eq!(status, None, "order {serial} was refused"),
                Told::Placed { id, number, cancel } => {
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
        assert!(by_serial.is_empty(), "nobody sent {by_serial:?}");
    }
}

pub async fn send(c: &Client, entry: &Entry) -> Result<Reply, String> {
    let lines: Vec<_> = entry.lines.iter().map(|(sku, n)| (sku.as_str(), *n)).collect();
    let bearer = format!("Bearer {}", c.alice);
    let mut headers = vec![("authorization", bearer.as_str()), ("content-type", "application/json")];
    headers.extend(entry.key.as_deref().map(|key| ("idempotency-key", key)));
    c.try_send(Method::POST, "/api/v1/orders", &headers, order(&lines).to_string()).await
}

pub fn told(reply: &Reply) -> Option<Told> {
    match reply.status {
        201 => {
            let order = reply.json();
            let (id, number) = (order["id"].as_i64().unwrap(), order["orderNumber"].as_str().unwrap().to_string());
            Some(Told::Placed { id, number, cancel: Cancel::NotAsked })
        }
        400 => Some(Told::Refused),
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
