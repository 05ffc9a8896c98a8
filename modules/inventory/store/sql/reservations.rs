//! Reservations: held, then committed or released, exactly once.

use super::backend::{Conn, for_update, update_returning};
use super::stock::{append_stock_changed_event, append_stock_low_event, classify, rows};
use super::tables::{reservations, stock};
use crate::data::{CachedQuery, types};
use crate::kernel::error::StoreError;
use crate::modules::invariants::{self, ReservationFact, Reserved};
use crate::modules::inventory::api::{Quantities, Reservation, ReservationState, StockCheck};
use crate::modules::inventory::events::Cause;
use crate::observe::trace::Trace;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use std::collections::BTreeMap;
use uuid::Uuid;

const HELD: &str = "HELD";
const COMMITTED: &str = "COMMITTED";
const RELEASED: &str = "RELEASED";

/// Retries while other transactions change the stock concurrently.
const MAX_HOLD_ATTEMPTS: u32 = 5;

fn parse_number(text: &str) -> Result<Uuid, StoreError> {
    text.parse().map_err(|_| StoreError::Internal(format!("a reservation for order `{text}`")))
}

fn parse_state(text: &str) -> Result<ReservationState, StoreError> {
    match text {
        HELD => Ok(ReservationState::Held),
        COMMITTED => Ok(ReservationState::Committed),
        RELEASED => Ok(ReservationState::Released),
        other => Err(StoreError::Internal(format!("a reservation in state {other}"))),
    }
}

fn parse_row((state, lines): (String, String)) -> Result<(ReservationState, Quantities), StoreError> {
    Ok((parse_state(&state)?, types::from_json(&lines)?))
}

/// Locks the row until the end of the transaction.
async fn find_locked(c: &mut Conn, order: Uuid) -> Result<Option<(ReservationState, Quantities)>, StoreError> {
    let row = for_update!(reservations::table.find(order.to_string()).select((reservations::state, reservations::lines)));
    row.first(c).await.optional()?.map(parse_row).transpose()
}

async fn set_state(c: &mut Conn, order: Uuid, state: &str) -> Result<(), StoreError> {
    CachedQuery(diesel::update(reservations::table.find(order.to_string())).set(reservations::state.eq(state))).execute(c).await?;
    Ok(())
}

/// Returns false if the order already has a reservation.
async fn insert(c: &mut Conn, order: Uuid, state: &str, lines: &Quantities, expires_at: i64) -> Result<bool, StoreError> {
    let row = (
        reservations::order_number.eq(order.to_string()),
        reservations::state.eq(state),
        reservations::lines.eq(types::to_json(lines)?),
        reservations::expires_at.eq(expires_at),
    );
    Ok(diesel::insert_or_ignore_into(reservations::table).values(row).execute(c).await? == 1)
}

/// Holds all lines or none.
pub(super) async fn reserve(
    c: &mut Conn,
    order: Uuid,
    lines: &Quantities,
    expires_at: i64,
    low_threshold: i64,
    trace: Trace,
) -> Result<Reservation, StoreError> {
    if !insert(c, order, HELD, lines, expires_at).await? {
        let state: String = reservations::table.find(order.to_string()).select(reservations::state).first(c).await?;
        return Ok(Reservation { state: parse_state(&state)?, stock: StockCheck::default() });
    }
    for _ in 0..MAX_HOLD_ATTEMPTS {
        if let Some(left) = hold_all(c, lines).await? {
            let changes = lines.iter().map(|(sku, n)| (sku.clone(), -n)).collect();
            append_stock_changed_event(c, Cause::Reserved, Some(order), &changes, trace).await?;
            for (sku, n) in lines {
                let after = left.get(sku).copied().unwrap_or_default();
                append_stock_low_event(c, sku, after + n, after, low_threshold, trace).await?;
            }
            let available = lines.keys().cloned().collect();
            return Ok(Reservation { state: ReservationState::Held, stock: StockCheck { available, ..StockCheck::default() } });
        }
        let check = classify(&rows(c, lines).await?, lines);
        if !check.is_enough() {
            diesel::delete(reservations::table.find(order.to_string())).execute(c).await?;
            return Ok(Reservation { state: ReservationState::Refused, stock: check });
        }
        // another transaction released the missing stock since the attempt: retry
    }
    Err(StoreError::Unavailable {
        store: "inventory".into(),
        cause: format!("stock of order {order} changed concurrently {MAX_HOLD_ATTEMPTS} times"),
    })
}

/// Holds pieces of every SKU. Returns the remaining quantities, or `None` and changes nothing if one SKU has too
/// few. Locks in SKU order (the map's order), which prevents deadlocks.
async fn hold_all(c: &mut Conn, lines: &Quantities) -> Result<Option<BTreeMap<String, i64>>, StoreError> {
    let mut left = BTreeMap::new();
    for (sku, n) in lines {
        match hold(c, sku, *n).await? {
            Some(quantity) => left.insert(sku.clone(), quantity),
            None => {
                undo_hold(c, lines, &left).await?;
                return Ok(None);
            }
        };
    }
    if left.values().all(Option::is_some) {
        return Ok(Some(left.into_iter().filter_map(|(sku, quantity)| Some((sku, quantity?))).collect()));
    }
    Ok(Some(rows(c, lines).await?.into_iter().map(|(sku, row)| (sku, row.quantity)).collect()))
}

/// Holds pieces if there are enough. Returns the remaining quantity if the backend supports RETURNING.
async fn hold(c: &mut Conn, sku: &str, n: i64) -> Result<Option<Option<i64>>, StoreError> {
    let sufficient = stock::table.filter(stock::sku_code.eq(sku).and(stock::quantity.ge(n)).and(stock::removed.eq(false)));
    let change = (stock::quantity.eq(stock::quantity - n), stock::held.eq(stock::held + n));
    Ok(update_returning!(c, diesel::update(sufficient).set(change), stock::quantity))
}

/// Undoes the holds so far, in the same transaction.
async fn undo_hold(c: &mut Conn, lines: &Quantities, held: &BTreeMap<String, Option<i64>>) -> Result<(), StoreError> {
    for (sku, n) in lines.iter().filter(|(sku, _)| held.contains_key(*sku)) {
        let change = (stock::quantity.eq(stock::quantity + n), stock::held.eq(stock::held - n));
        CachedQuery(diesel::update(stock::table.filter(stock::sku_code.eq(sku))).set(change)).execute(c).await?;
    }
    Ok(())
}

/// Commits these reservations with one statement per SKU. Returns the resulting state of each order; orders
/// without a reservation are missing.
pub(super) async fn commit(c: &mut Conn, orders: &[Uuid]) -> Result<BTreeMap<Uuid, ReservationState>, StoreError> {
    let numbers: Vec<String> = orders.iter().map(Uuid::to_string).collect();
    let rows = reservations::table.filter(reservations::order_number.eq_any(&numbers)).order(reservations::order_number);
    let rows = for_update!(rows.select((reservations::order_number, reservations::state, reservations::lines)));
    let rows: Vec<(String, String, String)> = rows.load(c).await?;
    let (mut found, mut held, mut sold) = (BTreeMap::new(), Vec::new(), Quantities::new());
    for (number, state, lines) in rows {
        let (order, mut state) = (parse_number(&number)?, parse_state(&state)?);
        if state == ReservationState::Held {
            for (sku, n) in types::from_json::<Quantities>(&lines)? {
                *sold.entry(sku).or_default() += n;
            }
            held.push(number);
            state = ReservationState::Committed;
        }
        found.insert(order, state);
    }
    if !held.is_empty() {
        let held = reservations::table.filter(reservations::order_number.eq_any(&held));
        diesel::update(held).set(reservations::state.eq(COMMITTED)).execute(c).await?;
    }
    for (sku, n) in &sold {
        let change = (stock::held.eq(stock::held - n), stock::sold.eq(stock::sold + n));
        CachedQuery(diesel::update(stock::table.filter(stock::sku_code.eq(sku))).set(change)).execute(c).await?;
    }
    Ok(found)
}

pub(super) async fn release(c: &mut Conn, order: Uuid, trace: Trace) -> Result<ReservationState, StoreError> {
    let mut found = find_locked(c, order).await?;
    // records the release, so that a reservation that arrives later is rejected
    if found.is_none() && !insert(c, order, RELEASED, &Quantities::new(), 0).await? {
        // the reservation was inserted concurrently
        found = find_locked(c, order).await?;
    }
    match found {
        None => {}
        Some((ReservationState::Released | ReservationState::Refused, _)) => {}
        Some((from, lines)) => {
            for (sku, n) in &lines {
                let row = stock::table.filter(stock::sku_code.eq(sku));
                match from {
                    ReservationState::Held => {
                        let change = (stock::quantity.eq(stock::quantity + n), stock::held.eq(stock::held - n));
                        CachedQuery(diesel::update(row).set(change)).execute(c).await?
                    }
                    _ => {
                        let change = (stock::quantity.eq(stock::quantity + n), stock::sold.eq(stock::sold - n));
                        CachedQuery(diesel::update(row).set(change)).execute(c).await?
                    }
                };
            }
            set_state(c, order, RELEASED).await?;
            append_stock_changed_event(c, Cause::Released, Some(order), &lines, trace).await?;
        }
    }
    Ok(ReservationState::Released)
}

/// HELD reservations that ended before `now`, or end after the latest credible end.
pub(super) async fn expired(c: &mut Conn, now: i64, latest: i64, limit: i64) -> Result<Vec<Uuid>, StoreError> {
    let ended = reservations::expires_at.lt(now).or(reservations::expires_at.gt(latest));
    let rows = reservations::table.filter(reservations::state.eq(HELD).and(ended));
    let numbers: Vec<String> = rows.select(reservations::order_number).order(reservations::expires_at).limit(limit).load(c).await?;
    numbers.iter().map(|n| parse_number(n)).collect()
}

pub(super) async fn extend(c: &mut Conn, order: Uuid, until: i64) -> Result<(), StoreError> {
    let held = reservations::table.filter(reservations::order_number.eq(order.to_string()).and(reservations::state.eq(HELD)));
    diesel::update(held).set(reservations::expires_at.eq(until)).execute(c).await?;
    Ok(())
}

/// Pieces in HELD reservations, per SKU. Unreadable lines are left out: the stock row's `held` shows them.
pub(super) async fn held(c: &mut Conn) -> Result<BTreeMap<String, Reserved>, StoreError> {
    let held = reservations::table.filter(reservations::state.eq(HELD)).select((reservations::order_number, reservations::lines));
    let mut sums = BTreeMap::new();
    for (order, lines) in held.load::<(String, String)>(c).await? {
        let lines = types::from_json(&lines).ok();
        invariants::add_reserved(&mut sums, &ReservationFact { order, state: HELD.into(), lines, expires_at: 0 });
    }
    Ok(sums)
}
