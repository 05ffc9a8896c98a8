//! Inventory's data for the audit command.

use super::events::{CHANGED, LOW};
use crate::data::{Snapshot, in_key_order, types};
use crate::events::event::Event;
use crate::kernel::error::StoreError;
use crate::modules::invariants::{ReservationFact, StockFact};
use diesel::sql_types::{BigInt, Text};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Reservations per read.
const CHUNK: usize = 200;

#[derive(diesel::QueryableByName)]
struct StockRow {
    #[diesel(sql_type = Text)]
    sku_code: String,
    #[diesel(sql_type = BigInt)]
    quantity: i64,
    #[diesel(sql_type = BigInt)]
    held: i64,
    #[diesel(sql_type = BigInt)]
    sold: i64,
    #[diesel(sql_type = BigInt)]
    received: i64,
}

#[derive(diesel::QueryableByName)]
struct ReservationRow {
    #[diesel(sql_type = Text)]
    order_number: String,
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = Text)]
    lines: String,
    #[diesel(sql_type = BigInt)]
    expires_at: i64,
}

pub fn stock(snapshot: &mut Snapshot) -> Result<Vec<StockFact>, StoreError> {
    let rows: Vec<StockRow> = snapshot.rows("SELECT sku_code, quantity, held, sold, received FROM stock")?;
    let fact = |r: StockRow| StockFact { sku: r.sku_code, quantity: r.quantity, held: r.held, sold: r.sold, received: r.received };
    Ok(rows.into_iter().map(fact).collect())
}

/// All reservations by order number, in chunks.
pub fn reservations(snapshot: &mut Snapshot) -> impl Iterator<Item = Result<ReservationFact, StoreError>> {
    let query = format!(
        "SELECT order_number, state, `lines`, expires_at FROM reservations WHERE order_number > ? ORDER BY order_number LIMIT {CHUNK}"
    );
    let fact = |r: ReservationRow| ReservationFact {
        order: r.order_number,
        state: r.state,
        lines: types::from_json(&r.lines).ok(),
        expires_at: r.expires_at,
    };
    let chunk = move |after: &str| Ok(snapshot.rows_with(&query, after)?.into_iter().map(fact).collect());
    in_key_order(chunk, |reservation: &ReservationFact| &reservation.order)
}

/// The part of an event's data that names SKUs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventSkus {
    #[serde(default)]
    changes: BTreeMap<String, i64>,
    sku_code: Option<String>,
}

/// Adds the SKUs of one of this module's events. Each has a row in stock: rows are never deleted.
pub fn add_skus(skus: &mut BTreeSet<String>, event: &Event) {
    if [CHANGED, LOW].contains(&event.kind.as_str())
        && let Ok(named) = event.data::<EventSkus>()
    {
        skus.extend(named.changes.into_keys().chain(named.sku_code));
    }
}
