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

/// False where the order has one already.
async fn insert(c: &mut Conn, order: Uuid, state: &str, lines: &Quantities, expires_at: i64) -> Result<bool, StoreError> {
    let row = (
        reservations::order_number.eq(order.to_string()),
        reservations::state.eq(state),
        reservations::lines.eq(types::to_json(lines)?),
        reservations::expires_at.eq(expires_at),
    );
    Ok(diesel::insert_or_ignore_into(reservations::table).values(row).execute(c).await? == 1)
}

pub(super) async fn reserve(
    c: &mut Conn,
    order: Uuid,
    lines: &Quantities,
    expires_at: i64,
    low: i64,
    trace: Trace,
) -> Result<Reservation, StoreError> {
    if !insert(c, order, HELD, lines, expires_at).await? {
        let (state, _) = find(c, order).await?.ok_or_else(|| StoreError::Broken(format!("no reservation for order {order}")))?;
        return Ok(Reservation { state, stock: StockCheck::default() });
    }
    let mut left = Vec::with_capacity(lines.len());
    // in SKU order (the map's own): two reservations never wait for each other in a circle
    for (sku, n) in lines {
        match hold(c, sku, *n).await? {
            Some(quantity) => left.push((sku, n, quantity)),
            None => return refuse(c, order, lines, &left).await,
        }
    }
    let moved = lines.iter().map(|(sku, n)| (sku.clone(), -n)).collect();
    tell_changed(c, Cause::Reserved, Some(order), &moved, trace).await?;
    for (sku, n, quantity) in left {
        tell_low(c, sku, quantity + n, quantity, low, trace).await?;
    }
    let available = lines.keys().cloned().collect();
    Ok(Reservation { state: ReservationState::Held, stock: StockCheck { available, ..StockCheck::default() } })
}

/// Sets pieces aside if there are enough; answers what is left to be sold.
async fn hold(c: &mut Conn, sku: &str, n: i64) -> Result<Option<i64>, StoreError> {
    let enough = stock::table.filter(stock::sku_code.eq(sku).and(stock::quantity.ge(n)).and(stock::removed.eq(false)));
    let change = (stock::quantity.eq(stock::quantity - n), stock::held.eq(stock::held + n));
    Ok(diesel::update(enough).set(change).returning(stock::quantity).get_result(c).await.optional()?)
}

/// Undoes what was set aside so far, in the same transaction, and says of every SKU what is wrong with it.
async fn refuse(c: &mut Conn, order: Uuid, lines: &Quantities, held: &[(&String, &i64, i64)]) -> Result<Reservation, StoreError> {
    diesel::delete(reservations::table.find(order.to_string())).execute(c).await?;
    for (sku, n, _) in held {
        let back = (stock::quantity.eq(stock::quantity + *n), stock::held.eq(stock::held - *n));
        diesel::update(stock::table.filter(stock::sku_code.eq(sku))).set(back).execute(c).await?;
    }
    let check = classify(&rows(c, lines).await?, lines);
    if check.is_enough() {
        return Err(StoreError::Broken(format!("stock for order {order} moved within a transaction")));
    }
    Ok(Reservation { state: ReservationState::Refused, stock: check })
}

pub(super) async fn commit(c: &mut Conn, order: Uuid) -> Result<ReservationState, InventoryError> {
    let held = reservations::table.filter(reservations::order_number.eq(order.to_string()).and(reservations::state.eq(HELD)));
    let change = diesel::update(held).set(reservations::state.eq(COMMITTED)).returning(reservations::lines);
    let Some(lines) = change.get_result::<String>(c).await.optional()? else {
        return match find(c, order).await? {
            None => Err(InventoryError::NoReservation { order_number: order }),
            Some((ReservationState::Committed, _)) => Ok(ReservationState::Committed),
            Some(_) => Err(InventoryError::AlreadyReleased { order_number: order }),
        };
    };
    for (sku, n) in &types::from_json::<Quantities>(&lines)? {
        let change = (stock::held.eq(stock::held - n), stock::sold.eq(stock::sold + n));
        diesel::update(stock::table.filter(stock::sku_code.eq(sku))).set(change).execute(c).await?;
    }
    Ok(ReservationState::Committed)
}

pub(super) async fn release(c: &mut Conn, order: Uuid, trace: Trace) -> Result<ReservationState, StoreError> {
    match find(c, order).await? {
        // a reservation that is still on its way must not be held when it arrives
        None => {
            insert(c, order, RELEASED, &Quantities::new(), 0).await?;
        }
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
