//! Plays a file's invoices as orders against a running shop, then checks the shop's stock by it.

use crate::app::demo::plan::{Step, plan};
use crate::app::demo::report::{Reasons, progress};
use crate::app::demo::retail;
use crate::app::demo::retail::Line;
use crate::app::demo::shop::{Answer, Call, Shop, Stock};
use crate::app::demo::summary::{Difference, ReplayReport};
use crate::app::demo::{DemoError, ShopError};
use actix_web::http::Method;
use actix_web::rt::time::sleep;
use futures_util::stream::{self, StreamExt};
use indicatif::ProgressBar;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// Readings of the stock before a difference counts: a shop in many processes takes a moment to settle.
const READINGS: usize = 3;
const BETWEEN_READINGS: Duration = Duration::from_millis(400);
/// Lists of SKU codes in a refusal, and what they mean.
const SHORTAGES: [(&str, &str); 3] = [("invalid", "unknown SKU"), ("outOfStock", "out of stock"), ("insufficient", "insufficient stock")];

/// A replay on its way. All of it runs on one thread, so a cell is enough.
struct Replay<'a> {
    shop: &'a Shop,
    run: String,
    before: &'a BTreeMap<String, Stock>,
    bar: ProgressBar,
    tally: RefCell<Tally>,
    /// A call got no answer however often it was tried: nothing more is played.
    gone: Cell<bool>,
}

#[derive(Default)]
struct Tally {
    report: ReplayReport,
    /// How the stock of each SKU must have changed.
    moved: BTreeMap<String, i64>,
}

/// Plays a file in the Online Retail format with so many clients at once, and audits the stock.
///
/// A customer's invoices are played in file order by one client, so a cancellation comes after its
/// purchase. The shop's user must be an admin, as adjustments are. The audit holds if nobody else
/// buys meanwhile; what it finds is in the report.
pub async fn replay(target: &Shop, file: &[u8], clients: usize) -> Result<ReplayReport, DemoError> {
    let retail = retail::read(file)?;
    let plan = plan(&retail);
    target.token().await?;
    let before = target.stock().await?;
    if before.is_empty() {
        return Err(DemoError::NoStock);
    }
    let steps = plan.chains.iter().map(Vec::len).sum();
    let tally = Tally { report: ReplayReport { lines: retail.lines, skipped: plan.skipped, ..Default::default() }, ..Default::default() };
    let replay = Replay {
        shop: target,
        run: uuid::Uuid::new_v4().to_string(),
        before: &before,
        bar: progress(steps, "invoices"),
        tally: RefCell::new(tally),
        gone: Cell::new(false),
    };
    let started = Instant::now();
    let mut chains = stream::iter(&plan.chains).map(|chain| replay.play(chain)).buffer_unordered(clients.max(1));
    while chains.next().await.is_some() {}
    drop(chains);
    let elapsed = started.elapsed();
    replay.bar.finish_and_clear();
    let Tally { mut report, moved } = replay.tally.into_inner();
    report.elapsed = elapsed;
    report.latencies.sort_unstable();
    report.audited = before.len();
    // what was played is worth a report even if the shop is gone by now
    match audit(target, &before, &moved).await {
        Ok(differences) => report.differences = differences,
        Err(why) => report.unaudited = Some(why.to_string()),
    }
    Ok(report)
}

impl Replay<'_> {
    /// One customer's steps, in order.
    async fn play(&self, chain: &[Step<'_>]) {
        let mut orders = HashMap::new();
        for step in chain {
            match step {
                _ if self.gone.get() => self.skip("not played: the shop had stopped answering", step.lines()),
                Step::Order { invoice, lines } => {
                    if let Some(id) = self.order(invoice, lines).await {
                        orders.insert(*invoice, id);
                    }
                }
                Step::Cancel { of, lines } => match orders.get(of) {
                    Some(id) => self.cancel(*id, lines).await,
                    None => self.skip("the purchase it cancels was not placed", lines),
                },
                Step::Return { of, line } => match orders.get(of) {
                    Some(_) if self.adjust(line).await => self.tally.borrow_mut().report.returned.push(line.number),
                    Some(_) => {}
                    None => self.skip("the purchase it gives back was not placed", &[line]),
                },
                Step::Adjust(line) => {
                    if self.adjust(line).await {
                        self.tally.borrow_mut().report.adjusted.push(line.number);
                    }
                }
            }
            self.bar.inc(1);
        }
    }

    /// Places an order; its id, unless it was refused.
    async fn order(&self, invoice: &str, lines: &[&Line]) -> Option<i64> {
        let items: Vec<_> = lines.iter().map(|line| json!({ "skuCode": line.sku, "quantity": line.quantity })).collect();
        let key = format!("{}-{invoice}", self.run);
        let body = Some(json!({ "orderLineItems": items }));
        let call = Call { method: Method::POST, path: "/api/v1/orders".into(), body, key: Some(&key) };
        let started = Instant::now();
        let answer = self.shop.send_patiently(&call).await;
        let latency = started.elapsed();
        let mut tally = self.tally.borrow_mut();
        let refusal = match answer {
            Err(cause) => {
                self.gone.set(true);
                format!("no answer, the order may be placed or not: {cause}")
            }
            Ok(answer) => {
                tally.report.latencies.push(latency);
                match answer.body.get("id").and_then(Value::as_i64) {
                    Some(id) if answer.status == 201 => {
                        tally.report.orders += 1;
                        tally.report.ordered.extend(lines.iter().map(|line| line.number));
                        lines.iter().for_each(|line| tally.moved(line, -1));
                        return Some(id);
                    }
                    _ => tally.report.refusal(&answer),
                }
            }
        };
        add_all(&mut tally.report.skipped, &format!("order not placed: {refusal}"), lines);
        tally.report.rejected.entry(refusal).or_default().push(invoice.to_string());
        None
    }

    async fn cancel(&self, id: i64, lines: &[&Line]) {
        let call = Call { method: Method::POST, path: format!("/api/v1/orders/{id}/cancel"), body: None, key: None };
        match self.shop.send_patiently(&call).await {
            Ok(answer) if (200..300).contains(&answer.status) => {
                let mut tally = self.tally.borrow_mut();
                tally.report.cancelled_orders += 1;
                tally.report.cancelled.extend(lines.iter().map(|line| line.number));
                lines.iter().for_each(|line| tally.moved(line, 1));
            }
            Ok(answer) => self.skip(&format!("order not cancelled: {}", answer.message()), lines),
            Err(cause) => self.skip(&format!("order perhaps not cancelled: {cause}"), lines),
        }
    }

    /// Adds to the stock, or takes off. Sent once: a repetition could add twice.
    async fn adjust(&self, line: &Line) -> bool {
        let Some(stock) = self.before.get(&line.sku) else {
            self.skip("stock not adjusted: the shop has no stock row of this SKU", &[line]);
            return false;
        };
        let path = format!("/api/v1/inventory/{}", stock.id);
        let call = Call { method: Method::PUT, path, body: Some(json!({ "quantity": line.quantity })), key: None };
        match self.shop.send(&call).await {
            Ok(answer) if answer.status == 200 => {
                self.tally.borrow_mut().moved(line, 1);
                return true;
            }
            Ok(answer) => self.skip(&format!("stock not adjusted: {}", answer.message()), &[line]),
            Err(cause) => self.skip(&format!("stock perhaps not adjusted: {cause}"), &[line]),
        }
        false
    }

    fn skip(&self, reason: &str, lines: &[&Line]) {
        add_all(&mut self.tally.borrow_mut().report.skipped, reason, lines);
    }
}

impl Tally {
    fn moved(&mut self, line: &Line, sign: i64) {
        *self.moved.entry(line.sku.clone()).or_default() += sign * line.quantity;
    }
}

impl ReplayReport {
    /// Why an order was refused; the SKUs it names are kept.
    fn refusal(&mut self, answer: &Answer) -> String {
        let mut found = Vec::new();
        for (member, meaning) in SHORTAGES {
            let named = answer.body.get(member).and_then(Value::as_array).into_iter().flatten();
            let skus: BTreeSet<_> = named.filter_map(Value::as_str).map(str::to_string).collect();
            if !skus.is_empty() {
                found.push(meaning);
                self.short.entry(meaning).or_default().extend(skus);
            }
        }
        if found.is_empty() { answer.message() } else { found.join(", ") }
    }
}

fn add_all(skipped: &mut Reasons, reason: &str, lines: &[&Line]) {
    lines.iter().for_each(|line| skipped.add(reason, line.number));
}

/// SKUs of which the shop now has another quantity than it had, less what was placed, plus what came back.
async fn audit(shop: &Shop, before: &BTreeMap<String, Stock>, moved: &BTreeMap<String, i64>) -> Result<Vec<Difference>, ShopError> {
    let mut differences = compare(before, moved, &shop.stock().await?);
    for _ in 1..READINGS {
        if differences.is_empty() {
            break;
        }
        sleep(BETWEEN_READINGS).await;
        differences = compare(before, moved, &shop.stock().await?);
    }
    Ok(differences)
}

fn compare(before: &BTreeMap<String, Stock>, moved: &BTreeMap<String, i64>, after: &BTreeMap<String, Stock>) -> Vec<Difference> {
    let skus: BTreeSet<_> = before.keys().chain(moved.keys()).chain(after.keys()).collect();
    let quantity = |stock: &BTreeMap<String, Stock>, sku: &String| stock.get(sku).map_or(0, |row| row.quantity);
    skus.into_iter()
        .map(|sku| Difference {
            sku: sku.clone(),
            expected: quantity(before, sku) + moved.get(sku).copied().unwrap_or_default(),
            found: quantity(after, sku),
        })
        .filter(|difference| difference.expected != difference.found)
        .collect()
}
