//! Model-based test of the order path: after any sequence of operations the shop returns the responses that the
//! model predicts, and has the same stock and orders as the model.

use crate::support::client::{Client, Reply, order};
use crate::support::{Shape, Shop, on_system, wait_for};
use actix_web::http::Method;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// SKUs of a case: three with stock, one product without stock, and one SKU without a product.
const SKUS: usize = 5;
const UNSTOCKED: usize = 3;
const UNKNOWN: usize = 4;

/// Lines of SKU and quantity; a SKU may be on several lines.
type Lines = Vec<(usize, i64)>;

#[derive(Debug, Clone)]
enum Op {
    /// Creates the stock of a SKU.
    Receive(usize, i64),
    /// Changes the quantity of a SKU.
    Adjust(usize, i64),
    /// Places an order, with one of three keys or without a key.
    Order(Lines, Option<usize>),
    /// Repeats the first order of this key.
    Repeat(usize),
    /// Cancels one of the orders so far.
    Cancel(usize),
    /// Deletes one of the orders so far.
    Delete(usize),
    /// Places orders concurrently.
    PlaceConcurrently(Vec<Lines>),
    /// Cancels one order concurrently several times.
    CancelConcurrently(usize),
    Restart,
}

fn lines() -> impl Strategy<Value = Lines> {
    // mostly stocked SKUs: otherwise nearly every order is refused
    let sku = prop_oneof![12 => 0..UNSTOCKED, 1 => Just(UNSTOCKED), 1 => Just(UNKNOWN)];
    vec((sku, 1..6i64), 1..=4)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (0..SKUS, 0..20i64).prop_map(|(sku, n)| Op::Receive(sku, n)),
        3 => (0..SKUS, -10..20i64).prop_map(|(sku, n)| Op::Adjust(sku, n)),
        8 => lines().prop_map(|lines| Op::Order(lines, None)),
        4 => (lines(), 0..3usize).prop_map(|(lines, key)| Op::Order(lines, Some(key))),
        4 => (0..3usize).prop_map(Op::Repeat),
        4 => (0..16usize).prop_map(Op::Cancel),
        2 => (0..16usize).prop_map(Op::Delete),
        2 => vec(lines(), 2..8).prop_map(Op::PlaceConcurrently),
        1 => (0..16usize).prop_map(Op::CancelConcurrently),
        1 => Just(Op::Restart),
    ]
}

/// The stock of a SKU.
#[derive(Debug, Clone, Copy)]
struct Row {
    id: i64,
    quantity: i64,
    sold: i64,
}

#[derive(Debug)]
struct Placed {
    response: Value,
    lines: Lines,
    cancelled: bool,
    deleted: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Outcome {
    /// The response body.
    Placed(Value),
    /// The three lists: invalid, out of stock, insufficient.
    Refused([Vec<String>; 3]),
}

struct Model {
    case: u32,
    stock: [Option<Row>; SKUS],
    orders: Vec<Placed>,
    keys: BTreeMap<usize, (Lines, Outcome)>,
}

fn sums(lines: &Lines) -> BTreeMap<usize, i64> {
    let mut sums = BTreeMap::new();
    for (sku, n) in lines {
        *sums.entry(*sku).or_default() += n;
    }
    sums
}

impl Model {
    fn sku(&self, sku: usize) -> String {
        format!("case-{}-{sku}", self.case)
    }

    /// The refusal lists of this order; all empty if it can be placed.
    fn refusal(&self, lines: &Lines) -> [Vec<String>; 3] {
        let mut lists = [vec![], vec![], vec![]];
        for (sku, wanted) in sums(lines) {
            match &self.stock[sku] {
                None => lists[0].push(self.sku(sku)),
                Some(row) if row.quantity >= wanted => {}
                Some(row) if row.quantity == 0 => lists[1].push(self.sku(sku)),
                Some(_) => lists[2].push(self.sku(sku)),
            }
        }
        lists
    }

    fn place(&mut self, lines: &Lines, response: Value) {
        for (sku, n) in sums(lines) {
            let row = self.stock[sku].as_mut().unwrap();
            (row.quantity, row.sold) = (row.quantity - n, row.sold + n);
        }
        self.orders.push(Placed { response, lines: lines.clone(), cancelled: false, deleted: false });
    }

    fn cancel(&mut self, nth: usize) {
        if !std::mem::replace(&mut self.orders[nth].cancelled, true) {
            for (sku, n) in sums(&self.orders[nth].lines) {
                let row = self.stock[sku].as_mut().unwrap();
                (row.quantity, row.sold) = (row.quantity + n, row.sold - n);
            }
        }
    }

    fn body(&self, lines: &Lines) -> Value {
        let named: Vec<_> = lines.iter().map(|(sku, n)| (self.sku(*sku), *n)).collect();
        order(&named.iter().map(|(sku, n)| (sku.as_str(), *n)).collect::<Vec<_>>())
    }

    /// Parses a response: 201 must describe this order, 400 has the refusal lists.
    fn outcome(&self, lines: &Lines, reply: &Reply) -> Outcome {
        let body = reply.json();
        if reply.status == 400 {
            let list = |name: &str| serde_json::from_value(body[name].clone()).unwrap();
            return Outcome::Refused([list("invalid"), list("outOfStock"), list("insufficient")]);
        }
        assert_eq!((reply.status, &body["status"]), (201, &json!("PLACED")), "{reply:?}");
        let returned: Vec<_> = body["orderLineItems"]
            .as_array()
            .unwrap()
            .iter()
            .map(|l| json!({ "skuCode": l["skuCode"], "quantity": l["quantity"] }))
            .collect();
        assert_eq!(json!(returned), self.body(lines)["orderLineItems"]);
        let quantity: i64 = lines.iter().map(|(_, n)| n).sum();
        assert_eq!(body["total"].as_f64(), Some(2.5 * quantity as f64));
        Outcome::Placed(body)
    }

    async fn send(&self, c: &Client, lines: &Lines, key: Option<usize>) -> Reply {
        let key = key.map(|key| format!("case-{}-{key}", self.case));
        let headers: Vec<_> = key.iter().map(|key| ("idempotency-key", key.as_str())).collect();
        c.with_body(Method::POST, &c.alice, "/api/v1/orders", &headers, &self.body(lines)).await
    }

    async fn order(&mut self, c: &Client, lines: &Lines, key: Option<usize>) {
        let reply = self.send(c, lines, key).await;
        if let Some((first_lines, first)) = key.and_then(|key| self.keys.get(&key)) {
            if first_lines == lines {
                assert_eq!(&self.outcome(lines, &reply), first, "a repeated request gets the first response");
            } else {
                reply.expect(422);
            }
            return;
        }
        let outcome = self.outcome(lines, &reply);
        let refusal = self.refusal(lines);
        if refusal.iter().all(Vec::is_empty) {
            let Outcome::Placed(response) = &outcome else { panic!("{lines:?} was refused: {reply:?}") };
            self.place(lines, response.clone());
        } else {
            assert_eq!(outcome, Outcome::Refused(refusal));
        }
        if let Some(key) = key {
            self.keys.insert(key, (lines.clone(), outcome));
        }
    }

    /// Holds for any processing order: placed orders fit into the stock, and refused orders do not fit into the
    /// remaining stock. (No stock is released meanwhile.)
    async fn place_concurrently(&mut self, c: &Client, orders: &[Lines]) {
        let replies = futures_util::future::join_all(orders.iter().map(|lines| self.send(c, lines, None))).await;
        let outcomes: Vec<_> = orders.iter().zip(&replies).map(|(lines, reply)| self.outcome(lines, reply)).collect();
        for (lines, outcome) in orders.iter().zip(&outcomes) {
            if let Outcome::Placed(response) = outcome {
                self.place(lines, response.clone());
            }
        }
        assert!(self.stock.iter().flatten().all(|row| row.quantity >= 0), "oversold: {orders:?} {outcomes:?}");
        for (lines, outcome) in orders.iter().zip(&outcomes) {
            if let Outcome::Refused(lists) = outcome {
                let now = self.refusal(lines);
                assert_eq!(lists[0], now[0]);
                assert!(lists.iter().any(|list| !list.is_empty()), "{lines:?} was refused without a reason");
                let insufficient: Vec<_> = now[1].iter().chain(&now[2]).collect();
                assert!(lists[1].iter().chain(&lists[2]).all(|sku| insufficient.contains(&sku)), "{lines:?}: {lists:?}, and now {now:?}");
            }
        }
    }

    /// The nth order so far, modulo their count; `None` without orders.
    fn pick(&self, nth: usize) -> Option<(usize, Value)> {
        let nth = nth.checked_rem(self.orders.len())?;
        Some((nth, self.orders[nth].response["id"].clone()))
    }

    async fn apply(&mut self, c: &Client, op: &Op) {
        match op {
            Op::Receive(sku, n) => {
                let reply = c.post(&c.admin, "/api/v1/inventory", json!({ "skuCode": self.sku(*sku), "quantity": n })).await;
                match &mut self.stock[*sku] {
                    _ if *sku == UNKNOWN => drop(reply.expect(404)),
                    Some(_) => drop(reply.expect(409)),
                    none => *none = Some(Row { id: reply.expect(201).json()["id"].as_i64().unwrap(), quantity: *n, sold: 0 }),
                }
            }
            Op::Adjust(sku, by) => {
                let Some(row) = &mut self.stock[*sku] else { return };
                let reply = c.put(&c.admin, &format!("/api/v1/inventory/{}", row.id), json!({ "quantity": by })).await;
                if row.quantity + by < 0 {
                    reply.expect(400);
                } else {
                    row.quantity += by;
                    assert_eq!(reply.expect(200).json()["quantity"], row.quantity);
                }
            }
            Op::Order(lines, key) => self.order(c, lines, *key).await,
            Op::Repeat(key) => {
                if let Some((lines, _)) = self.keys.get(key).cloned() {
                    self.order(c, &lines, Some(*key)).await;
                }
            }
            Op::PlaceConcurrently(orders) => self.place_concurrently(c, orders).await,
            Op::Cancel(nth) => {
                let Some((nth, id)) = self.pick(*nth) else { return };
                let reply = c.post(&c.alice, &format!("/api/v1/orders/{id}/cancel"), json!({})).await;
                if self.orders[nth].deleted {
                    reply.expect(404);
                } else {
                    assert_eq!(reply.expect(200).json()["status"], "CANCELLED");
                    self.cancel(nth);
                }
            }
            Op::CancelConcurrently(nth) => {
                let Some((nth, id)) = self.pick(*nth) else { return };
                let path = format!("/api/v1/orders/{id}/cancel");
                let replies = futures_util::future::join_all((0..4).map(|_| c.post(&c.alice, &path, json!({})))).await;
                let status = if self.orders[nth].deleted { 404 } else { 200 };
                assert!(replies.iter().all(|reply| reply.status == status), "{replies:?}");
                if status == 200 {
                    self.cancel(nth);
                }
            }
            Op::Delete(nth) => {
                let Some((nth, id)) = self.pick(*nth) else { return };
                let reply = c.delete(&c.alice, &format!("/api/v1/orders/{id}")).await;
                if std::mem::replace(&mut self.orders[nth].deleted, true) {
                    reply.expect(404);
                } else {
                    reply.expect(200);
                    self.cancel(nth);
                }
            }
            Op::Restart => unreachable!("a restart is handled by `case`"),
        }
    }

    /// Available quantities equal the model's; sold quantities do once nothing is held.
    async fn assert_stock(&self, c: &Client, after: &str) {
        for row in self.stock.iter().flatten() {
            let path = format!("/api/v1/inventory/{}", row.id);
            wait_for(&format!("stock is {row:?} after {after}"), || async {
                let now = c.get(&c.alice, &path).await.expect(200).json();
                assert_eq!(now["received"], row.quantity + row.sold, "after {after}");
                assert_eq!(now["quantity"], row.quantity, "after {after}");
                if now["held"] == 0 && now["sold"] == row.sold { Ok(()) } else { Err(now.to_string()) }
            })
            .await;
        }
    }

    /// The list has the placed and cancelled orders that are not deleted, by id.
    async fn assert_orders(&self, c: &Client) {
        let mut expected: Vec<Value> = Vec::new();
        for placed in self.orders.iter().filter(|o| !o.deleted) {
            let mut order = placed.response.clone();
            order["status"] = json!(if placed.cancelled { "CANCELLED" } else { "PLACED" });
            expected.push(order);
        }
        expected.sort_by_key(|order| order["id"].as_i64());
        let page = c.get(&c.alice, "/api/v1/orders?size=1000").await.expect(200).json();
        assert_eq!(page["content"], json!(expected));
        assert_eq!(page["totalElements"], expected.len());
    }
}

/// Deletes the orders of earlier cases.
async fn clear(c: &Client) {
    let page = c.get(&c.alice, "/api/v1/orders?size=1000").await.expect(200).json();
    for order in page["content"].as_array().unwrap() {
        c.delete(&c.alice, &format!("/api/v1/orders/{}", order["id"])).await.expect(200);
    }
}

async fn case(shop: &RefCell<Option<Shop>>, shape: Shape, case: u32, first: &[i64], ops: &[Op]) {
    // a case that failed during a restart leaves no shop
    let mut current = match shop.take() {
        Some(shop) => shop,
        None => Shop::start(shape, |_| {}).await,
    };
    clear(&current.client).await;
    let mut model = Model { case, stock: [None; SKUS], orders: vec![], keys: BTreeMap::new() };
    for sku in 0..UNKNOWN {
        let c = &current.client;
        let product = json!({ "skuCode": model.sku(sku), "name": "thing", "price": "2.50" });
        c.post(&c.admin, "/api/v1/products", product).await.expect(201);
    }
    for (sku, n) in first.iter().enumerate() {
        model.apply(&current.client, &Op::Receive(sku, *n)).await;
    }
    for op in ops {
        match op {
            Op::Restart => current = current.restart().await,
            op => model.apply(&current.client, op).await,
        }
        model.assert_stock(&current.client, &format!("{op:?}")).await;
    }
    model.assert_orders(&current.client).await;
    current.assert_sound().await;
    shop.replace(Some(current));
}

fn run(shape: Shape) {
    let mut config = Config { failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 32;
    }
    let system = actix_web::rt::System::new();
    let (shop, cases) = (RefCell::new(None), Cell::new(0));
    let checked = TestRunner::new(config).run(&(vec(0..15i64, UNSTOCKED), vec(op(), 1..12)), |(first, ops)| {
        cases.set(cases.get() + 1);
        system.block_on(case(&shop, shape, cases.get(), &first, &ops));
        Ok(())
    });
    checked.unwrap_or_else(|failed| panic!("{failed}"));
    system.block_on(async {
        let mut shop = shop.take().unwrap();
        shop.stop().await;
    });
}

/// All modules in one process.
#[test]
fn local() {
    run(Shape::Local);
}

/// Every peer call over HTTP, each repeatable call sent twice.
#[test]
fn loopback() {
    run(Shape::Loopback);
}

/// Checks the model: a model that accepts every order would verify nothing.
#[test]
fn model_insufficient_stock_is_refused() {
    on_system(async {
        let row = |quantity| Some(Row { id: 1, quantity, sold: 0 });
        let model = Model { case: 0, stock: [row(3), row(0), None, None, None], orders: vec![], keys: BTreeMap::new() };
        let refusal = model.refusal(&vec![(0, 2), (1, 1), (0, 2), (UNKNOWN, 1)]);
        assert_eq!(refusal, [vec![model.sku(UNKNOWN)], vec![model.sku(1)], vec![model.sku(0)]]);
    });
}
