//! Inventory's data for the audit command.

use crate::data::{Snapshot, types};
use crate::kernel::error::StoreError;
use crate::modules::invariants::{ReservationFact, StockFact};
use crate::settings::StoreUrl;

#[derive(diesel::QueryableByName)]
struct StockRow {
    #[diesel(sql_type = diesel::sql_types::Text)]
    sku_code: String,
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    quantity: i64,
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    held: i64,
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    sold: i64,
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    received: i64,
}

#[derive(diesel::QueryableByName)]
struct ReservationRow {
    #[diesel(sql_type = diesel::sql_types::Text)]
    order_number: String,
    #[diesel(sql_type = diesel::sql_types::Text)]
    state: String,
    #[diesel(sql_type = diesel::sql_types::Text)]
    lines: String,
}

/// Stock rows and reservations, read in one snapshot.
pub fn facts(store: &StoreUrl) -> Result<(Vec<StockFact>, Vec<ReservationFact>), StoreError> {
    let mut snapshot = Snapshot::open(store)?;
    let rows: Vec<StockRow> = snapshot.rows("SELECT sku_code, quantity, held, sold, received FROM stock")?;
    let stock =
        rows.into_iter().map(|r| StockFact { sku: r.sku_code, quantity: r.quantity, held: r.held, sold: r.sold, received: r.received });
    let rows: Vec<ReservationRow> = snapshot.rows("SELECT order_number, state, `lines` FROM reservations")?;
    let reservations = rows
        .into_iter()
        .map(|r| Ok(ReservationFact { order: r.order_number, state: r.state, lines: types::from_json(&r.lines)? }))
        .collect::<Result<_, StoreError>>()?;
    Ok((stock.collect(), reservations))
}
