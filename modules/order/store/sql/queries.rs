//! SQL statements of the order store.

use super::backend::{Conn, for_update_skip_locked, insert_returning_ids};
use super::tables::{idempotency_keys, order_lines, orders};
use crate::data::types::MoneyText;
use crate::data::{CachedQuery, types};
use crate::kernel::error::StoreError;
use crate::kernel::money::Money;
use crate::modules::contracts::inventory::StockCheck;
use crate::modules::order::api::{OrderLine, OrderStatus};
use crate::modules::order::store::types::{
    BeginOutcome, IdempotencyKey, NewLine, NewOrder, PendingReservationAction, StoredOrder, UnfinishedOrderStats,
};
use crate::observe::trace::Trace;
use diesel::dsl::{count_star, min};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use prometheus::IntCounter;
use std::collections::HashMap;
use uuid::Uuid;

const PENDING: &str = "PENDING";

#[derive(Queryable, Selectable)]
#[diesel(table_name = orders)]
pub(super) struct OrderRow {
    pub(super) id: i64,
    order_number: String,
    customer: String,
    customer_name: String,
    email: Option<String>,
    status: String,
    total: MoneyText,
    reason: Option<String>,
    created_at: i64,
    hidden: bool,
    traceparent: Option<String>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = order_lines)]
struct LineRow {
    id: i64,
    order_id: i64,
    sku_code: String,
    quantity: i64,
    price: Option<MoneyText>,
}

fn parse_status(text: &str) -> Result<OrderStatus, StoreError> {
    [OrderStatus::Pending, OrderStatus::Placed, OrderStatus::Rejected, OrderStatus::Cancelled]
        .into_iter()
        .find(|status| status.text() == text)
        .ok_or_else(|| StoreError::Internal(format!("unknown order status {text}")))
}

fn action_text(action: PendingReservationAction) -> Option<&'static str> {
    match action {
        PendingReservationAction::Nothing => None,
        PendingReservationAction::Commit => Some("COMMIT"),
        PendingReservationAction::Release => Some("RELEASE"),
    }
}

fn parse_money(text: MoneyText) -> Result<Money, StoreError> {
    Money::try_from(text).map_err(|wrong| StoreError::Internal(wrong.to_string()))
}

fn parse_number(text: &str) -> Result<Uuid, StoreError> {
    text.parse().map_err(|_| StoreError::Internal(format!("malformed order number `{text}`")))
}

/// An order row with its lines, or why it cannot be read.
pub(super) type LoadedOrder = (i64, Result<StoredOrder, StoreError>);

/// Adds the lines to order rows; keeps the order of the rows. One unreadable row does not affect the others.
pub(super) async fn load_lines(c: &mut Conn, rows: Vec<OrderRow>) -> Result<Vec<LoadedOrder>, StoreError> {
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    let lines = order_lines::table.filter(order_lines::order_id.eq_any(&ids)).select(LineRow::as_select());
    // in the order of the index: nothing is sorted
    let lines = lines.order((order_lines::order_id, order_lines::id));
    let mut by_order: HashMap<i64, Vec<LineRow>> = HashMap::new();
    for line in lines.load::<LineRow>(c).await? {
        by_order.entry(line.order_id).or_default().push(line);
    }
    let read = |row: OrderRow| {
        let lines = by_order.remove(&row.id).unwrap_or_default();
        (row.id, read_order(row, lines))
    };
    Ok(rows.into_iter().map(read).collect())
}

async fn load_one(c: &mut Conn, row: Option<OrderRow>) -> Result<Option<StoredOrder>, StoreError> {
    load_lines(c, row.into_iter().collect()).await?.pop().map(|(_, order)| order).transpose()
}

fn read_order(row: OrderRow, lines: Vec<LineRow>) -> Result<StoredOrder, StoreError> {
    let line = |line: LineRow| {
        let price = line.price.map(parse_money).transpose()?;
        Ok::<_, StoreError>(OrderLine { id: line.id, sku_code: line.sku_code, quantity: line.quantity, price })
    };
    Ok(StoredOrder {
        id: row.id,
        number: parse_number(&row.order_number)?,
        customer: row.customer,
        customer_name: row.customer_name,
        email: row.email,
        status: parse_status(&row.status)?,
        total: parse_money(row.total)?,
        reason: row.reason.as_deref().map(types::from_json).transpose()?,
        created_at: row.created_at,
        hidden: row.hidden,
        trace: row.traceparent.as_deref().and_then(Trace::parse),
        lines: lines.into_iter().map(line).collect::<Result<_, _>>()?,
    })
}

/// Counts the order rows that cannot be read.
#[derive(Clone)]
pub(super) struct UnreadableRows(pub(super) IntCounter);

impl UnreadableRows {
    fn skip(&self, id: i64, cause: &StoreError) {
        tracing::error!(table = "orders", id, %cause, "unreadable row skipped");
        self.0.inc();
    }

    pub(super) fn without(&self, loaded: Vec<LoadedOrder>) -> Vec<StoredOrder> {
        loaded.into_iter().filter_map(|(id, order)| order.inspect_err(|cause| self.skip(id, cause)).ok()).collect()
    }
}

pub(super) async fn by_id(c: &mut Conn, id: i64) -> Result<Option<StoredOrder>, StoreError> {
    let row: Option<OrderRow> = orders::table.find(id).select(OrderRow::as_select()).first(c).await.optional()?;
    load_one(c, row).await
}

pub(super) async fn by_number(c: &mut Conn, number: Uuid) -> Result<Option<StoredOrder>, StoreError> {
    let row = orders::table.filter(orders::order_number.eq(number.to_string())).select(OrderRow::as_select());
    let row: Option<OrderRow> = row.first(c).await.optional()?;
    load_one(c, row).await
}

pub(super) async fn find_key(c: &mut Conn, key: &IdempotencyKey) -> Result<Option<BeginOutcome>, StoreError> {
    let row = idempotency_keys::table.find((&key.scope, &key.key)).select((idempotency_keys::fingerprint, idempotency_keys::order_id));
    let row: Option<(String, i64)> = row.first(c).await.optional()?;
    let Some((fingerprint, order_id)) = row else { return Ok(None) };
    if fingerprint != key.fingerprint {
        return Ok(Some(BeginOutcome::KeyReused));
    }
    let order = by_id(c, order_id)
        .await?
        .ok_or_else(|| StoreError::Internal(format!("an idempotency key refers to order {order_id}, which does not exist")))?;
    Ok(Some(if order.status == OrderStatus::Pending { BeginOutcome::InFlight } else { BeginOutcome::Ended(order) }))
}

pub(super) async fn insert_order(
    c: &mut Conn,
    new: &NewOrder,
    total: Money,
    rejected: Option<StockCheck>,
    now: i64,
    lease_until: i64,
    trace: Trace,
) -> Result<StoredOrder, StoreError> {
    let status = if rejected.is_some() { OrderStatus::Rejected } else { OrderStatus::Pending };
    let row = (
        orders::order_number.eq(new.number.to_string()),
        orders::customer.eq(&new.customer),
        orders::customer_name.eq(&new.customer_name),
        orders::email.eq(&new.email),
        orders::status.eq(status.text()),
        orders::total.eq(MoneyText::from(total)),
        orders::reason.eq(rejected.as_ref().map(types::to_json).transpose()?),
        orders::lease_until.eq(lease_until),
        orders::created_at.eq(now),
        orders::traceparent.eq(trace.header()),
    );
    let ids = insert_returning_ids!(c, orders::table, [row], orders::id);
    let id = ids.into_iter().next().ok_or_else(|| StoreError::Internal("the insert returned no order id".into()))?;
    let row = |line: &NewLine| {
        (
            order_lines::order_id.eq(id),
            order_lines::sku_code.eq(line.sku_code.clone()),
            order_lines::quantity.eq(line.quantity),
            order_lines::price.eq(line.price.map(MoneyText::from)),
        )
    };
    let rows: Vec<_> = new.lines.iter().map(row).collect();
    let ids = insert_returning_ids!(c, order_lines::table, rows, order_lines::id);
    let line = |(line, id): (&NewLine, i64)| OrderLine { id, sku_code: line.sku_code.clone(), quantity: line.quantity, price: line.price };
    let lines = new.lines.iter().zip(ids).map(line).collect();
    Ok(StoredOrder {
        id,
        number: new.number,
        customer: new.customer.clone(),
        customer_name: new.customer_name.clone(),
        email: new.email.clone(),
        status,
        total,
        reason: rejected,
        created_at: now,
        hidden: false,
        trace: Some(trace),
        lines,
    })
}

pub(super) async fn insert_key(c: &mut Conn, key: &IdempotencyKey, order_id: i64, now: i64) -> Result<(), StoreError> {
    let row = (
        idempotency_keys::scope.eq(&key.scope),
        idempotency_keys::idem_key.eq(&key.key),
        idempotency_keys::fingerprint.eq(&key.fingerprint),
        idempotency_keys::order_id.eq(order_id),
        idempotency_keys::created_at.eq(now),
    );
    diesel::insert_into(idempotency_keys::table).values(row).execute(c).await?;
    Ok(())
}

pub(super) async fn delete_key_of(c: &mut Conn, order_id: i64) -> Result<(), StoreError> {
    diesel::delete(idempotency_keys::table.filter(idempotency_keys::order_id.eq(order_id))).execute(c).await?;
    Ok(())
}

pub(super) async fn delete_keys_before(c: &mut Conn, before: i64) -> Result<(), StoreError> {
    diesel::delete(idempotency_keys::table.filter(idempotency_keys::created_at.lt(before))).execute(c).await?;
    Ok(())
}

pub(super) async fn end_order(c: &mut Conn, order: &StoredOrder, action: PendingReservationAction) -> Result<bool, StoreError> {
    let pending = orders::table.filter(orders::id.eq(order.id).and(orders::status.eq(PENDING)));
    let change = (
        orders::status.eq(order.status.text()),
        orders::settle.eq(action_text(action)),
        orders::reason.eq(order.reason.as_ref().map(types::to_json).transpose()?),
    );
    Ok(CachedQuery(diesel::update(pending).set(change)).execute(c).await? == 1)
}

/// `false` if the order is no longer PLACED.
pub(super) async fn cancel_order(c: &mut Conn, id: i64) -> Result<bool, StoreError> {
    let placed = orders::table.filter(orders::id.eq(id).and(orders::status.eq(OrderStatus::Placed.text())));
    let change = (orders::status.eq(OrderStatus::Cancelled.text()), orders::settle.eq(action_text(PendingReservationAction::Release)));
    Ok(CachedQuery(diesel::update(placed).set(change)).execute(c).await? == 1)
}

pub(super) async fn hide_order(c: &mut Conn, id: i64) -> Result<(), StoreError> {
    diesel::update(orders::table.find(id)).set(orders::hidden.eq(true)).execute(c).await?;
    Ok(())
}

/// PENDING orders whose lease ended before `now`, or ends after the latest credible end.
#[diesel::dsl::auto_type]
fn expired(now: i64, latest: i64) -> _ {
    let pending: &'static str = PENDING;
    orders::table.filter(orders::status.eq(pending).and(orders::lease_until.lt(now).or(orders::lease_until.gt(latest))))
}

pub(super) async fn has_expired(c: &mut Conn, now: i64, latest: i64) -> Result<bool, StoreError> {
    Ok(expired(now, latest).select(orders::id).first::<i64>(c).await.optional()?.is_some())
}

/// Acquires the leases of [`expired`] orders until `until`. Skips rows locked by other processes. Leases unreadable rows too, so that they do not return at once.
pub(super) async fn acquire_expired(
    c: &mut Conn,
    unreadable: &UnreadableRows,
    now: i64,
    latest: i64,
    until: i64,
    limit: i64,
) -> Result<Vec<StoredOrder>, StoreError> {
    let rows = expired(now, latest);
    let rows = for_update_skip_locked!(rows.select(OrderRow::as_select()).order(orders::lease_until).limit(limit)).load(c).await?;
    let loaded = load_lines(c, rows).await?;
    let ids: Vec<i64> = loaded.iter().map(|(id, _)| *id).collect();
    diesel::update(orders::table.filter(orders::id.eq_any(ids))).set(orders::lease_until.eq(until)).execute(c).await?;
    Ok(unreadable.without(loaded))
}

pub(super) async fn pending_actions(
    c: &mut Conn,
    unreadable: &UnreadableRows,
    limit: i64,
) -> Result<Vec<(Uuid, PendingReservationAction)>, StoreError> {
    let mut actions = Vec::new();
    // one query per action: each is a range scan of the index, oldest first, independent of the number of orders
    for action in [PendingReservationAction::Commit, PendingReservationAction::Release] {
        let rows =
            orders::table.filter(orders::settle.eq(action_text(action))).select((orders::id, orders::order_number)).order(orders::id);
        for (id, number) in rows.limit(limit).load::<(i64, String)>(c).await? {
            match parse_number(&number) {
                Ok(number) => actions.push((number, action)),
                Err(cause) => unreadable.skip(id, &cause),
            }
        }
    }
    Ok(actions)
}

pub(super) async fn mark_done(c: &mut Conn, done: &[(Uuid, PendingReservationAction)]) -> Result<(), StoreError> {
    for action in [PendingReservationAction::Commit, PendingReservationAction::Release] {
        let numbers: Vec<String> =
            done.iter().filter(|(_, completed)| *completed == action).map(|(number, _)| number.to_string()).collect();
        if numbers.is_empty() {
            continue;
        }
        let rows = orders::table.filter(orders::order_number.eq_any(numbers).and(orders::settle.eq(action_text(action))));
        diesel::update(rows).set(orders::settle.eq(None::<String>)).execute(c).await?;
    }
    Ok(())
}

pub(super) async fn unfinished_stats(c: &mut Conn) -> Result<UnfinishedOrderStats, StoreError> {
    let pending = orders::table.filter(orders::status.eq(PENDING)).select((count_star(), min(orders::created_at)));
    let (pending, oldest_pending) = pending.first(c).await?;
    let unsettled = orders::table.filter(orders::settle.is_not_null()).count().get_result(c).await?;
    Ok(UnfinishedOrderStats { pending, oldest_pending, unsettled })
}
