//! Replays a file's invoices as orders against a running shop, then audits the shop's stock.

use crate::app::demo::plan::{Step, plan};
use crate::app::demo::report::{Reasons, progress};
use crate::app::demo::retail;
use crate::app::demo::retail::Line;
use crate::app::demo::shop::{Request, Response, Shop, Stock};
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

/// A difference counts once this many reads show it: a shop in several processes is eventually consistent.
const MAX_STOCK_READS: usize = 3;
const STOCK_READ_INTERVAL: Duration = Duration::from_millis(400);
/// Members of a rejection that list SKU codes, and their meaning.
const REJECTED_SKU_LISTS: [(&str, &str); 3] =
    [("invalid", "unknown SKU"), ("outOfStock", "out of stock"), ("insufficient", "insufficient stock")];

/// State of a running replay. It runs on one thread, so cells suffice.
struct Replay<'a> {
    shop: &'a Shop,
    /// Prefix of the idempotency keys.
    run_id: String,
    initial_stock: &'a BTreeMap<String, Stock>,
    progress_bar: ProgressBar,
    tally: RefCell<Tally>,
    /// An order failed after all retries: the remaining steps are skipped.
    shop_unreachable: Cell<bool>,
}

#[derive(Default)]
struct Tally {
    report: ReplayReport,
    /// Expected change of each SKU's stock.
    stock_changes: BTreeMap<String, i64>,
}

/// Replays a file in the Online Retail format with concurrent clients, and audits the stock.
///
/// One client replays a customer's invoices in file order, so a cancellation follows its purchase. The shop's user must be
/// an admin, as adjustments require it. The audit is valid only without other orders at the same time; its differences
/// are in the report.
pub async fn replay(target: &Shop, file: &[u8], clients: usize) -> Result<ReplayReport, DemoError> {
    let retail = retail::read(file)?;
    let plan = plan(&retail);
    target.token().await?;
    let initial_stock = target.stock().await?;
    if initial_stock.is_empty() {
        return Err(DemoError::NoStock);
    }
    let steps = plan.chains.iter().map(Vec::len).sum();
    let tally = Tally { report: ReplayReport { lines: retail.lines, skipped: plan.skipped, ..Default::default() }, ..Default::default() };
    let replay = Replay {
        shop: target,
        run_id: uuid::Uuid::new_v4().to_string(),
        initial_stock: &initial_stock,
        progress_bar: progress(steps, "invoices"),
        tally: RefCell::new(tally),
        shop_unreachable: Cell::new(false),
    };
    let started = Instant::now();
    let mut chains = stream::iter(&plan.chains).map(|chain| replay.run_chain(chain)).buffer_unordered(clients.max(1));
    while chains.next().await.is_some() {}
    drop(chains);
    let elapsed = started.elapsed();
    replay.progress_bar.finish_and_clear();
    let Tally { mut report, stock_changes } = replay.tally.into_inner();
    report.elapsed = elapsed;
    report.latencies.sort_unstable();
    report.audited = initial_stock.len();
    // the report is useful even if the shop is unreachable by now
    match audit(target, &initial_stock, &stock_changes).await {
        Ok(differences) => report.differences = differences,
        Err(cause) => report.audit_error = Some(cause.to_string()),
    }
    Ok(report)
}

impl Replay<'_> {
    /// Runs one customer's steps in order.
    async fn run_chain(&self, chain: &[Step<'_>]) {
        let mut orders = HashMap::new();
        for step in chain {
            match step {
                _ if self.shop_unreachable.get() => self.skip("not replayed: the shop had become unreachable", step.lines()),
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
                    None => self.skip("the purchase it returns was not placed", &[line]),
                },
                Step::Adjust(line) => {
                    if self.adjust(line).await {
                        self.tally.borrow_mut().report.adjusted.push(line.number);
                    }
                }
            }
            self.progress_bar.inc(1);
        }
    }

    /// Returns the id of a placed order.
    async fn order(&self, invoice: &str, lines: &[&Line]) -> Option<i64> {
        let items: Vec<_> = lines.iter().map(|line| json!({ "skuCode": line.sku, "quantity": line.quantity })).collect();
        let key = format!("{}-{invoice}", self.run_id);
        let body = Some(json!({ "orderLineItems": items }));
        let request = Request { method: Method::POST, path: "/api/v1/orders".into(), body, key: Some(&key) };
        let started = Instant::now();
        let response = self.shop.send_with_retries(&request).await;
        let latency = started.elapsed();
        let mut tally = self.tally.borrow_mut();
        let reason = match response {
            Err(cause) => {
                self.shop_unreachable.set(true);
                format!("no response, the order may or may not be placed: {cause}")
            }
            Ok(response) => {
                tally.report.latencies.push(latency);
                match response.body.get("id").and_then(Value::as_i64) {
                    Some(id) if response.status == 201 => {
                        tally.report.orders += 1;
                        tally.report.ordered.extend(lines.iter().map(|line| line.number));
                        lines.iter().for_each(|line| tally.record_change(line, -1));
                        return Some(id);
                    }
                    _ => tally.report.rejection_reason(&response),
                }
            }
        };
        add_all(&mut tally.report.skipped, &format!("order not placed: {reason}"), lines);
        tally.report.rejected.entry(reason).or_default().push(invoice.to_string());
        None
    }

    async fn cancel(&self, id: i64, lines: &[&Line]) {
        let request = Request { method: Method::POST, path: format!("/api/v1/orders/{id}/cancel"), body: None, key: None };
        match self.shop.send_with_retries(&request).await {
            Ok(response) if (200..300).contains(&response.status) => {
                let mut tally = self.tally.borrow_mut();
                tally.report.cancelled_orders += 1;
                tally.report.cancelled.extend(lines.iter().map(|line| line.number));
                lines.iter().for_each(|line| tally.record_change(line, 1));
            }
            Ok(response) => self.skip(&format!("order not cancelled: {}", response.message()), lines),
            Err(cause) => self.skip(&format!("order may not be cancelled: {cause}"), lines),
        }
    }

    /// Changes the stock. Sent without retries: an adjustment is not idempotent.
    async fn adjust(&self, line: &Line) -> bool {
        let Some(stock) = self.initial_stock.get(&line.sku) else {
            self.skip("stock not adjusted: the shop has no stock row of this SKU", &[line]);
            return false;
        };
        let path = format!("/api/v1/inventory/{}", stock.id);
        let request = Request { method: Method::PUT, path, body: Some(json!({ "quantity": line.quantity })), key: None };
        match self.shop.send(&request).await {
            Ok(response) if response.status == 200 => {
                self.tally.borrow_mut().record_change(line, 1);
                return true;
            }
            Ok(response) => self.skip(&format!("stock not adjusted: {}", response.message()), &[line]),
            Err(cause) => self.skip(&format!("stock may not be adjusted: {cause}"), &[line]),
        }
        false
    }

    fn skip(&self, reason: &str, lines: &[&Line]) {
        add_all(&mut self.tally.borrow_mut().report.skipped, reason, lines);
    }
}

impl Tally {
    fn record_change(&mut self, line: &Line, sign: i64) {
        *self.stock_changes.entry(line.sku.clone()).or_default() += sign * line.quantity;
    }
}

impl ReplayReport {
    /// Also records the SKUs that the rejection lists.
    fn rejection_reason(&mut self, response: &Response) -> String {
        let mut reasons = Vec::new();
        for (member, meaning) in REJECTED_SKU_LISTS {
            let listed = response.body.get(member).and_then(Value::as_array).into_iter().flatten();
            let skus: BTreeSet<_> = listed.filter_map(Value::as_str).map(str::to_string).collect();
            if !skus.is_empty() {
                reasons.push(meaning);
                self.rejected_skus.entry(meaning).or_default().extend(skus);
            }
        }
        if reasons.is_empty() { response.message() } else { reasons.join(", ") }
    }
}

fn add_all(skipped: &mut Reasons, reason: &str, lines: &[&Line]) {
    lines.iter().for_each(|line| skipped.add(reason, line.number));
}

/// SKUs whose stock differs from the initial stock plus the replayed changes.
async fn audit(shop: &Shop, initial: &BTreeMap<String, Stock>, changes: &BTreeMap<String, i64>) -> Result<Vec<Difference>, ShopError> {
    let mut differences = compare(initial, changes, &shop.stock().await?);
    for _ in 1..MAX_STOCK_READS {
        if differences.is_empty() {
            break;
        }
        sleep(STOCK_READ_INTERVAL).await;
        differences = compare(initial, changes, &shop.stock().await?);
    }
    Ok(differences)
}

fn compare(initial: &BTreeMap<String, Stock>, changes: &BTreeMap<String, i64>, current: &BTreeMap<String, Stock>) -> Vec<Difference> {
    let skus: BTreeSet<_> = initial.keys().chain(changes.keys()).chain(current.keys()).collect();
    let quantity = |stock: &BTreeMap<String, Stock>, sku: &String| stock.get(sku).map_or(0, |row| row.quantity);
    skus.into_iter()
        .map(|sku| Difference {
            sku: sku.clone(),
            expected: quantity(initial, sku) + changes.get(sku).copied().unwrap_or_default(),
            found: quantity(current, sku),
        })
        .filter(|difference| difference.expected != difference.found)
        .collect()
}
