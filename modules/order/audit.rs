//! Order's data for the audit command.

use super::service::{fingerprint, key_scope};
use crate::data::{Snapshot, in_key_order, types};
use crate::kernel::error::StoreError;
use crate::modules::contracts::inventory::StockCheck;
use crate::modules::invariants::{KeyFact, LineFact, OrderFact, Refusal, Violation, violation};
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use std::collections::HashMap;

/// Orders per read. An order has up to `order.max_lines` lines.
const CHUNK: usize = 100;
/// Rows without an order that are listed one by one.
const MAX_ORPHANS: usize = 1000;

#[derive(diesel::QueryableByName)]
struct OrderRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    order_number: String,
    #[diesel(sql_type = Text)]
    customer: String,
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = Nullable<Text>)]
    settle: Option<String>,
    #[diesel(sql_type = Text)]
    total: String,
    #[diesel(sql_type = Nullable<Text>)]
    reason: Option<String>,
    #[diesel(sql_type = Bool)]
    hidden: bool,
    #[diesel(sql_type = BigInt)]
    lease_until: i64,
    #[diesel(sql_type = BigInt)]
    created_at: i64,
}

#[derive(diesel::QueryableByName)]
struct LineRow {
    #[diesel(sql_type = BigInt)]
    order_id: i64,
    #[diesel(sql_type = Text)]
    sku_code: String,
    #[diesel(sql_type = BigInt)]
    quantity: i64,
    #[diesel(sql_type = Nullable<Text>)]
    price: Option<String>,
}

#[derive(diesel::QueryableByName)]
struct KeyRow {
    #[diesel(sql_type = BigInt)]
    order_id: i64,
    #[diesel(sql_type = Text)]
    scope: String,
    #[diesel(sql_type = Text)]
    fingerprint: String,
    #[diesel(sql_type = BigInt)]
    created_at: i64,
}

#[derive(diesel::QueryableByName)]
struct OrphanKey {
    #[diesel(sql_type = Text)]
    scope: String,
    #[diesel(sql_type = Text)]
    idem_key: String,
    #[diesel(sql_type = BigInt)]
    order_id: i64,
}

#[derive(diesel::QueryableByName)]
struct OrphanLines {
    #[diesel(sql_type = BigInt)]
    order_id: i64,
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(diesel::QueryableByName)]
struct Time {
    #[diesel(sql_type = Nullable<BigInt>)]
    at: Option<i64>,
}

/// All orders by number, in chunks.
pub fn orders(snapshot: &mut Snapshot) -> impl Iterator<Item = Result<OrderFact, StoreError>> {
    in_key_order(|after| chunk(snapshot, after), |order| &order.number)
}

fn chunk(snapshot: &mut Snapshot, after: &str) -> Result<Vec<OrderFact>, StoreError> {
    let columns = "id, order_number, customer, status, settle, total, reason, hidden, lease_until, created_at";
    let query = format!("SELECT {columns} FROM orders WHERE order_number > ? ORDER BY order_number LIMIT {CHUNK}");
    let rows: Vec<OrderRow> = snapshot.rows_with(&query, after)?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let ids = rows.iter().map(|row| row.id.to_string()).collect::<Vec<_>>().join(", ");
    let mut lines: HashMap<i64, Vec<LineFact>> = HashMap::new();
    let query = format!("SELECT order_id, sku_code, quantity, price FROM order_lines WHERE order_id IN ({ids}) ORDER BY id");
    for row in snapshot.rows::<LineRow>(&query)? {
        lines.entry(row.order_id).or_default().push(LineFact { sku: row.sku_code, quantity: row.quantity, price: row.price });
    }
    let mut keys: HashMap<i64, Vec<KeyRow>> = HashMap::new();
    let query = format!("SELECT order_id, scope, fingerprint, created_at FROM idempotency_keys WHERE order_id IN ({ids})");
    for row in snapshot.rows::<KeyRow>(&query)? {
        keys.entry(row.order_id).or_default().push(row);
    }
    let fact = |row: OrderRow| {
        let (lines, keys) = (lines.remove(&row.id).unwrap_or_default(), keys.remove(&row.id).unwrap_or_default());
        order_fact(row, lines, keys)
    };
    Ok(rows.into_iter().map(fact).collect())
}

fn order_fact(row: OrderRow, lines: Vec<LineFact>, keys: Vec<KeyRow>) -> OrderFact {
    let sent = (!keys.is_empty()).then(|| fingerprint(lines.iter().map(|line| (line.sku.as_str(), line.quantity))));
    let key = |key: KeyRow| KeyFact {
        own: key.scope == key_scope(&row.customer),
        same_request: sent.as_ref() == Some(&key.fingerprint),
        created_at: key.created_at,
    };
    let refusal = match row.reason.as_deref().map(types::from_json::<StockCheck>) {
        None => Refusal::None,
        Some(Ok(_)) => Refusal::Stored,
        Some(Err(_)) => Refusal::Unreadable,
    };
    OrderFact {
        keys: keys.into_iter().map(key).collect(),
        number: row.order_number,
        customer: row.customer,
        status: row.status,
        settle: row.settle,
        total: row.total,
        refusal,
        hidden: row.hidden,
        lease_until: row.lease_until,
        created_at: row.created_at,
        lines,
    }
}

/// INV-3 and DATA: keys and lines of orders that do not exist.
pub fn orphans(snapshot: &mut Snapshot) -> Result<Vec<Violation>, StoreError> {
    let query = format!(
        "SELECT k.scope, k.idem_key, k.order_id FROM idempotency_keys k LEFT JOIN orders o ON o.id = k.order_id \
         WHERE o.id IS NULL LIMIT {MAX_ORPHANS}"
    );
    let key = |row: OrphanKey| {
        let OrphanKey { scope, idem_key, order_id } = row;
        violation(
            "INV-3",
            format!("the idempotency key `{idem_key}` of `{scope}` is of the order with id {order_id}, which does not exist"),
        )
    };
    let mut violations: Vec<Violation> = snapshot.rows::<OrphanKey>(&query)?.into_iter().map(key).collect();
    let query = format!(
        "SELECT l.order_id, count(*) AS n FROM order_lines l LEFT JOIN orders o ON o.id = l.order_id \
         WHERE o.id IS NULL GROUP BY l.order_id LIMIT {MAX_ORPHANS}"
    );
    let lines =
        |row: OrphanLines| violation("DATA", format!("{} lines are of the order with id {}, which does not exist", row.n, row.order_id));
    violations.extend(snapshot.rows::<OrphanLines>(&query)?.into_iter().map(lines));
    Ok(violations)
}

/// The last sign of work in this store: an order, or a lease of a worker with work.
pub fn last_work(snapshot: &mut Snapshot) -> Result<Option<i64>, StoreError> {
    let mut times: Vec<Time> = snapshot.rows("SELECT created_at AS at FROM orders ORDER BY id DESC LIMIT 1")?;
    times.extend(snapshot.rows::<Time>("SELECT max(expires_at) AS at FROM leases")?);
    Ok(times.into_iter().filter_map(|time| time.at).max())
}
