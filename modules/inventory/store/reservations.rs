//! Reservations: held, then committed or released, exactly once.

use super::stock::{classify, rows, tell_changed, tell_low};
use super::tables::{reservations, stock};
use crate::platform::cx::Trace;
use crate::platform::store::sqlite::Conn;
use crate::platform::store::{StoreError, types};
use crate::shop::inventory::api::{InventoryError, Quantities, Reservation, ReservationState, StockCheck};
use crate::shop::inventory::events::Cause;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

const HELD: &str = "HELD";
const COMMITTED: &str = "COMMITTED";
const RELEASED: &str = "RELEASED";

fn state_of(text: &str) -> Result<ReservationState, StoreError> {
    match text {
        HELD => Ok(ReservationState::Held),
        COMMITTED => Ok(ReservationState::Committed),
        RELEASED => Ok(ReservationState::Released),
        other => Err(StoreError::Broken(format!("a reservation in state {other}"))),
    }
}

async fn find(c: &mut Conn, order: Uuid) -> Result<Option<(ReservationState, Quantities)>, StoreError> {
    let row = reservations::table.find(order.to_string()).select((reservations::state, reservations::lines));
    let row: Option<(String, String)> = row.first(c).await.optional()?;
    row.map(|(state, lines)| Ok((state_of(&state)?, types::from_json(&lines)?))).transpose()
}

async fn set_state(c: &mut Conn, order: Uuid, state: &str) -> Result<(), StoreError> {
    diesel::update(reservations::table.find(order.to_string())).set(reservations::state.eq(state)).execute(c).await?;
    Ok(())
}

async fn insert(c: &mut Conn, order: Uuid, state: &str, lines: &Quantities, expires_at: i64) -> Result<(), StoreError> {
    let row = (
        reservations::order_number.eq(order.to_string()),
        reservations::state.eq(state),
        reservations::lines.eq(types::to_json(lines)?),
        reservations::expires_at.eq(expires_at),
    );
    diesel::insert_into(reservations::table).values(row).execute(c).await?;
    Ok(())
}

pub(super) async fn reserve(
    c: &mut Conn,
    order: Uuid,
    lines: &Quantities,
    expires_at: i64,
    low: i64,
    trace: Trace,
) -> Result<Reservation, StoreError> {
    if let Some((state, _)) = find(c, order).await? {
        return Ok(Reservation { state, stock: StockCheck::default() });
    }
    let rows = rows(c, lines).await?;
    let check = classify(&rows, lines);
    if !check.is_enough() {
        return Ok(Reservation { state: ReservationState::Refused, stock: check });
    }
    // in SKU order (the map's own): two reservations never wait for each other in a circle
    for (sku, n) in lines {
        let enough = stock::table.filter(stock::sku_code.eq(sku).and(stock::quantity.ge(n)));
        let change = (stock::quantity.eq(stock::quantity - n), stock::held.eq(stock::held + n));
        if diesel::update(enough).set(change).execute(c).await? != 1 {
            return Err(StoreError::Broken(format!("stock of {sku} moved within a transaction")));
        }
    }
    insert(c, order, HELD, lines, expires_at).await?;
    let moved = lines.iter().map(|(sku, n)| (sku.clone(), -n)).collect();
    tell_changed(c, Cause::Reserved, Some(order), &moved, trace).await?;
    for (sku, n) in lines {
        let before = rows.get(sku).map(|row| row.quantity).unwrap_or_default();
        tell_low(c, sku, before, before - n, low, trace).await?;
    }
    Ok(Reservation { state: ReservationState::Held, stock: check })
}

pub(super) async fn commit(c: &mut Conn, order: Uuid) -> Result<ReservationState, InventoryError> {
    match find(c, order).await? {
        None => Err(InventoryError::NoReservation { order_number: order }),
        Some((ReservationState::Held, lines)) => {
            for (sku, n) in &lines {
                let change = (stock::held.eq(stock::held - n), stock::sold.eq(stock::sold + n));
                diesel::update(stock::table.filter(stock::sku_code.eq(sku))).set(change).execute(c).await?;
            }
            set_state(c, order, COMMITTED).await?;
            Ok(ReservationState::Committed)
        }
        Some((ReservationState::Committed, _)) => Ok(ReservationState::Committed),
        Some(_) => Err(InventoryError::AlreadyReleased { order_number: order }),
    }
}

pub(super) async fn release(c: &mut Conn, order: Uuid, trace: Trace) -> Result<ReservationState, StoreError> {
    match find(c, order).await? {
        // a reservation that is still on its way must not be held when it arrives
        None => insert(c, order, RELEASED, &Quantities::new(), 0).await?,
        Some((ReservationState::Released | ReservationState::Refused, _)) => {}
        Some((from, lines)) => {
            for (sku, n) in &lines {
                let row = stock::table.filter(stock::sku_code.eq(sku));
                match from {
                    ReservationState::Held => {
                        diesel::update(row)
                            .set((stock::quantity.eq(stock::quantity + n), stock::held.eq(stock::held - n)))
                            .execute(c)
                            .await?
                    }
                    _ => {
                        diesel::update(row)
                            .set((stock::quantity.eq(stock::quantity + n), stock::sold.eq(stock::sold - n)))
                            .execute(c)
                            .await?
                    }
                };
            }
            set_state(c, order, RELEASED).await?;
            tell_changed(c, Cause::Released, Some(order), &lines, trace).await?;
        }
    }
    Ok(ReservationState::Released)
}

pub(super) async fn expired(c: &mut Conn, now: i64, limit: i64) -> Result<Vec<Uuid>, StoreError> {
    let rows = reservations::table.filter(reservations::state.eq(HELD).and(reservations::expires_at.lt(now)));
    let numbers: Vec<String> = rows.select(reservations::order_number).order(reservations::expires_at).limit(limit).load(c).await?;
    numbers.iter().map(|n| n.parse().map_err(|_| StoreError::Broken(format!("a reservation for order `{n}`")))).collect()
}

pub(super) async fn extend(c: &mut Conn, order: Uuid, until: i64) -> Result<(), StoreError> {
    let held = reservations::table.filter(reservations::order_number.eq(order.to_string()).and(reservations::state.eq(HELD)));
    diesel::update(held).set(reservations::expires_at.eq(until)).execute(c).await?;
    Ok(())
}
