//! Order's data for the audit command.

use crate::data::Snapshot;
use crate::kernel::error::StoreError;
use crate::modules::invariants::OrderFact;
use crate::settings::StoreUrl;
use std::collections::BTreeMap;

#[derive(diesel::QueryableByName)]
struct OrderRow {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    id: i64,
    #[diesel(sql_type = diesel::sql_types::Text)]
    order_number: String,
    #[diesel(sql_type = diesel::sql_types::Text)]
    status: String,
    #[diesel(sql_type = diesel::sql_types::Bool)]
    unsettled: bool,
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    lease_until: i64,
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    keys: i64,
}

#[derive(diesel::QueryableByName)]
struct LineRow {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    order_id: i64,
    #[diesel(sql_type = diesel::sql_types::Text)]
    sku_code: String,
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    quantity: i64,
}

/// All orders from one snapshot, their lines summed per SKU.
pub fn facts(store: &StoreUrl) -> Result<Vec<OrderFact>, StoreError> {
    let mut snapshot = Snapshot::open(store)?;
    let rows: Vec<OrderRow> = snapshot.rows(
        "SELECT id, order_number, status, settle IS NOT NULL AS unsettled, lease_until, \
         (SELECT count(*) FROM idempotency_keys k WHERE k.order_id = o.id) AS `keys` FROM orders o",
    )?;
    let lines: Vec<LineRow> =
        snapshot.rows("SELECT order_id, sku_code, sum(quantity) AS quantity FROM order_lines GROUP BY order_id, sku_code")?;
    let mut by_order: BTreeMap<i64, BTreeMap<String, i64>> = BTreeMap::new();
    for line in lines {
        by_order.entry(line.order_id).or_default().insert(line.sku_code, line.quantity);
    }
    let fact = |row: OrderRow| OrderFact {
        lines: by_order.remove(&row.id).unwrap_or_default(),
        number: row.order_number,
        status: row.status,
        unsettled: row.unsettled,
        lease_until: row.lease_until,
        keys: row.keys,
    };
    Ok(rows.into_iter().map(fact).collect())
}
