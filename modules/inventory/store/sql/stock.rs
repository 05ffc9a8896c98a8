//! Changes of stock. Each preserves INV-1 (quantity + held + sold = received) and INV-2
//! (quantity >= 0); CHECK constraints of the table enforce both as well.

use super::backend::{Conn, for_update};
use super::events::outbox;
use super::tables::stock;
use crate::data::{CachedQuery, IdList, ListPositions, MAX_PREPARED_LIST_LEN};
use crate::events::event::Event;
use crate::kernel::error::StoreError;
use crate::kernel::page::PageRequest;
use crate::modules::invariants::StockFact;
use crate::modules::inventory::api::{InventoryError, Quantities, Stock, StockCheck};
use crate::modules::inventory::events;
use crate::modules::inventory::events::Cause;
use crate::modules::inventory::store::types::{Levels, MAX_QUANTITY};
use crate::observe::trace::Trace;
use async_trait::async_trait;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_async::RunQueryDsl;
use std::collections::BTreeMap;
use uuid::Uuid;

#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = stock)]
pub(super) struct StockRow {
    pub(super) id: i64,
    pub(super) sku_code: String,
    pub(super) quantity: i64,
    pub(super) held: i64,
    pub(super) sold: i64,
    pub(super) received: i64,
}

impl From<StockRow> for Stock {
    fn from(row: StockRow) -> Self {
        debug_assert!(crate::modules::invariants::conserved(row.quantity, row.held, row.sold, row.received), "INV-1 {row:?}");
        debug_assert!(row.quantity >= 0, "INV-2 {row:?}");
        Stock { id: row.id, sku_code: row.sku_code, quantity: row.quantity, held: row.held, sold: row.sold, received: row.received }
    }
}

/// Stock that is not removed; the index `stock_listed` covers it.
struct Listed;

#[async_trait(?Send)]
impl IdList<Conn> for Listed {
    async fn id_after(&self, c: &mut Conn, id: i64, skip: i64) -> Result<Option<i64>, StoreError> {
        let rows = stock::table.filter(stock::removed.eq(false).and(stock::id.gt(id)));
        Ok(rows.select(stock::id).order(stock::id).limit(1).offset(skip).get_result(c).await.optional()?)
    }

    async fn count_after(&self, c: &mut Conn, id: i64) -> Result<i64, StoreError> {
        Ok(stock::table.filter(stock::removed.eq(false).and(stock::id.gt(id))).count().get_result(c).await?)
    }
}

pub(super) async fn page(c: &mut Conn, positions: &ListPositions<()>, request: PageRequest) -> Result<(Vec<Stock>, i64), StoreError> {
    let slice = positions.page(c, (), &Listed, request).await?;
    Ok((following(c, slice.after, slice.limit).await?, slice.total))
}

pub(super) async fn following(c: &mut Conn, after: i64, count: i64) -> Result<Vec<Stock>, StoreError> {
    let rows = stock::table.filter(stock::removed.eq(false).and(stock::id.gt(after))).select(StockRow::as_select());
    let rows: Vec<StockRow> = rows.order(stock::id).limit(count).load(c).await?;
    Ok(rows.into_iter().map(Stock::from).collect())
}

pub(super) async fn find(c: &mut Conn, id: i64) -> Result<Option<StockRow>, StoreError> {
    let row = stock::table.filter(stock::id.eq(id).and(stock::removed.eq(false)));
    Ok(row.select(StockRow::as_select()).first(c).await.optional()?)
}

/// Locks the row until the end of the transaction.
async fn find_locked(c: &mut Conn, id: i64) -> Result<StockRow, InventoryError> {
    let row = for_update!(stock::table.filter(stock::id.eq(id).and(stock::removed.eq(false))).select(StockRow::as_select()));
    row.first(c).await.optional()?.ok_or(InventoryError::NotFound { id })
}

/// The rows of these SKUs, by SKU.
pub(super) async fn rows(c: &mut Conn, wanted: &Quantities) -> Result<BTreeMap<String, StockRow>, StoreError> {
    let listed = stock::table.filter(stock::removed.eq(false)).select(StockRow::as_select());
    let rows: Vec<StockRow> = match wanted.keys().next() {
        // one constant statement, prepared once
        Some(sku) if wanted.len() == 1 => listed.filter(stock::sku_code.eq(sku)).load(c).await?,
        _ if wanted.len() <= MAX_PREPARED_LIST_LEN => CachedQuery(listed.filter(stock::sku_code.eq_any(wanted.keys()))).load(c).await?,
        _ => listed.filter(stock::sku_code.eq_any(wanted.keys())).load(c).await?,
    };
    Ok(rows.into_iter().map(|row| (row.sku_code.clone(), row)).collect())
}

/// Locks the rows until the end of the transaction, in SKU order to prevent deadlocks.
async fn rows_locked(c: &mut Conn, wanted: &Quantities) -> Result<BTreeMap<String, StockRow>, StoreError> {
    let rows = stock::table.filter(stock::sku_code.eq_any(wanted.keys()).and(stock::removed.eq(false)));
    let rows: Vec<StockRow> = for_update!(rows.order(stock::sku_code).select(StockRow::as_select())).load(c).await?;
    Ok(rows.into_iter().map(|row| (row.sku_code.clone(), row)).collect())
}

pub(super) fn classify(rows: &BTreeMap<String, StockRow>, wanted: &Quantities) -> StockCheck {
    let mut check = StockCheck::default();
    for (sku, n) in wanted {
        let list = match rows.get(sku) {
            None => &mut check.invalid,
            Some(row) if row.quantity >= *n => &mut check.available,
            Some(row) if row.quantity == 0 => &mut check.out_of_stock,
            Some(_) => &mut check.insufficient,
        };
        list.push(sku.clone());
    }
    check
}

pub(super) async fn create(c: &mut Conn, sku: &str, quantity: i64) -> Result<StockRow, InventoryError> {
    let known = for_update!(stock::table.filter(stock::sku_code.eq(sku)).select((stock::id, stock::removed)));
    let known: Option<(i64, bool)> = known.first(c).await.optional()?;
    match known {
        Some((_, false)) => return Err(InventoryError::SkuTaken { sku_code: sku.into() }),
        Some((id, true)) => {
            let restored =
                (stock::removed.eq(false), stock::quantity.eq(quantity), stock::received.eq(stock::held + stock::sold + quantity));
            diesel::update(stock::table.find(id)).set(restored).execute(c).await?;
        }
        None => {
            let row =
                (stock::sku_code.eq(sku), stock::quantity.eq(quantity), stock::held.eq(0), stock::sold.eq(0), stock::received.eq(quantity));
            match diesel::insert_into(stock::table).values(row).execute(c).await {
                // inserted concurrently since the check above
                Err(DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => {
                    return Err(InventoryError::SkuTaken { sku_code: sku.into() });
                }
                inserted => inserted?,
            };
        }
    }
    Ok(stock::table.filter(stock::sku_code.eq(sku)).select(StockRow::as_select()).first(c).await?)
}

pub(super) async fn adjust(c: &mut Conn, id: i64, amount: i64) -> Result<StockRow, InventoryError> {
    let row = find_locked(c, id).await?;
    if row.quantity + amount < 0 {
        return Err(InventoryError::Negative);
    }
    // held pieces may return; a row that is above the limit already may decrease
    if amount > 0 && row.quantity + row.held + amount > MAX_QUANTITY {
        return Err(InventoryError::TooMany { sku_code: row.sku_code });
    }
    let change = (stock::quantity.eq(stock::quantity + amount), stock::received.eq(stock::received + amount));
    diesel::update(stock::table.find(id)).set(change).execute(c).await?;
    Ok(StockRow { quantity: row.quantity + amount, received: row.received + amount, ..row })
}

pub(super) async fn take(c: &mut Conn, sold: &Quantities) -> Result<Vec<StockRow>, InventoryError> {
    let rows = rows_locked(c, sold).await?;
    let check = classify(&rows, sold);
    if let Some(sku_code) = check.invalid.into_iter().next() {
        return Err(InventoryError::UnknownSku { sku_code });
    }
    let short: Vec<String> = check.out_of_stock.into_iter().chain(check.insufficient).collect();
    if !short.is_empty() {
        return Err(InventoryError::Short { sku_codes: short });
    }
    for (sku, n) in sold {
        let change = (stock::quantity.eq(stock::quantity - n), stock::sold.eq(stock::sold + n));
        CachedQuery(diesel::update(stock::table.filter(stock::sku_code.eq(sku))).set(change)).execute(c).await?;
    }
    let sell = |row: StockRow, n: i64| StockRow { quantity: row.quantity - n, sold: row.sold + n, ..row };
    Ok(rows.into_iter().map(|(sku, row)| sell(row, sold.get(&sku).copied().unwrap_or_default())).collect())
}

pub(super) async fn remove(c: &mut Conn, id: i64) -> Result<StockRow, InventoryError> {
    let row = find_locked(c, id).await?;
    if row.held > 0 {
        return Err(InventoryError::Held { id, held: row.held });
    }
    let removed = (stock::removed.eq(true), stock::quantity.eq(0), stock::received.eq(stock::held + stock::sold));
    diesel::update(stock::table.find(id)).set(removed).execute(c).await?;
    Ok(row)
}

/// Totals over all SKUs, in one pass over the table. The casts are for MySQL, where SUM returns a decimal; SQLite
/// treats SIGNED as a numeric type.
pub(super) async fn levels(c: &mut Conn, low_threshold: i64) -> Result<Levels, StoreError> {
    let sum = |of: &str, name: &str| format!("CAST(COALESCE(SUM({of}), 0) AS SIGNED) AS {name}");
    let count = |of: &str, name: &str| sum(&format!("CASE WHEN removed = FALSE AND {of} THEN 1 ELSE 0 END"), name);
    let sums = [
        count(&format!("quantity > {low_threshold}"), "available"),
        count(&format!("quantity > 0 AND quantity <= {low_threshold}"), "low"),
        count("quantity <= 0", "out_of_stock"),
        sum("quantity", "quantity"),
        sum("held", "held"),
        sum("sold", "sold"),
    ];
    Ok(diesel::sql_query(format!("SELECT {} FROM stock", sums.join(", "))).get_result(c).await?)
}

/// The rows that hold pieces or violate an invariant by themselves. A SKU with a reservation and none of these rows
/// violates INV-1 in any case.
pub(super) async fn suspects(c: &mut Conn) -> Result<Vec<StockFact>, StoreError> {
    let broken = stock::held
        .ne(0)
        .or(stock::quantity.lt(0))
        .or(stock::sold.lt(0))
        .or((stock::quantity + stock::held + stock::sold).ne(stock::received));
    let rows: Vec<StockRow> = stock::table.filter(broken).select(StockRow::as_select()).load(c).await?;
    let fact = |r: StockRow| StockFact { sku: r.sku_code, quantity: r.quantity, held: r.held, sold: r.sold, received: r.received };
    Ok(rows.into_iter().map(fact).collect())
}

pub(super) async fn append_stock_changed_event(
    c: &mut Conn,
    cause: Cause,
    order: Option<Uuid>,
    changes: &Quantities,
    trace: Trace,
) -> Result<(), StoreError> {
    let subject = order.map(|o| o.to_string()).or_else(|| changes.keys().next().cloned()).unwrap_or_default();
    let data = events::Changed { cause, order_number: order, changes };
    outbox::append(c, &Event::new("inventory", events::CHANGED, subject, trace, &data)?).await
}

/// Appends `stock.low` if this change crossed the threshold.
pub(super) async fn append_stock_low_event(
    c: &mut Conn,
    sku: &str,
    before: i64,
    after: i64,
    threshold: i64,
    trace: Trace,
) -> Result<(), StoreError> {
    if before <= threshold || after > threshold {
        return Ok(());
    }
    let data = events::Low { sku_code: sku, quantity: after, threshold };
    outbox::append(c, &Event::new("inventory", events::LOW, sku, trace, &data)?).await
}
