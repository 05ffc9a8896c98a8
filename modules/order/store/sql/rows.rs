//! The statements behind [`super::repo`].

use super::backend::{Conn, claimed, insert_returning_ids};
use super::tables::{idempotency_keys, order_lines, orders};
use crate::data::types::MoneyText;
use crate::data::{CachedQuery, types};
use crate::kernel::error::StoreError;
use crate::kernel::money::Money;
use crate::kernel::page::PageRequest;
use crate::modules::inventory::api::StockCheck;
use crate::modules::order::api::{OrderLine, OrderStatus};
use crate::modules::order::store::types::{Begun, Key, NewLine, NewOrder, OpenEnds, Settle, StoredOrder};
use crate::observe::trace::Trace;
use diesel::dsl::{count_star, min};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use std::collections::HashMap;
use uuid::Uuid;

const PENDING: &str = "PENDING";
/// Shown in lists.
const LISTED: [&str; 2] = ["PLACED", "CANCELLED"];

#[derive(Queryable, Selectable)]
#[diesel(table_name = orders)]
struct Row {
    id: i64,
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

fn status_of(text: &str) -> Result<OrderStatus, StoreError> {
    [OrderStatus::Pending, OrderStatus::Placed, OrderStatus::Rejected, OrderStatus::Cancelled]
        .into_iter()
        .find(|status| status.text() == text)
        .ok_or_else(|| StoreError::Broken(format!("an order in status {text}")))
}

fn settle_text(settle: Settle) -> Option<&'static str> {
    match settle {
        Settle::Nothing => None,
        Settle::Commit => Some("COMMIT"),
        Settle::Release => Some("RELEASE"),
    }
}

fn money(text: MoneyText) -> Result<Money, StoreError> {
    Money::try_from(text).map_err(|wrong| StoreError::Broken(wrong.to_string()))
}

fn number_of(text: &str) -> Result<Uuid, StoreError> {
    text.parse().map_err(|_| StoreError::Broken(format!("an order with number `{text}`")))
}

/// Rows with their lines, in the rows' order.
async fn with_lines(c: &mut Conn, rows: Vec<Row>) -> Result<Vec<StoredOrder>, StoreError> {
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    let lines = order_lines::table.filter(order_lines::order_id.eq_any(&ids)).select(LineRow::as_select()).order(order_lines::id);
    let mut by_order: HashMap<i64, Vec<OrderLine>> = HashMap::new();
    for line in lines.load::<LineRow>(c).await? {
        let price = line.price.map(money).transpose()?;
        by_order.entry(line.order_id).or_default().push(OrderLine { id: line.id, sku_code: line.sku_code, quantity: line.quantity, price });
    }
    rows.into_iter()
        .map(|row| {
            Ok(StoredOrder {
                id: row.id,
                number: number_of(&row.order_number)?,
                customer: row.customer,
                customer_name: row.customer_name,
                email: row.email,
                status: status_of(&row.status)?,
                total: money(row.total)?,
                reason: row.reason.as_deref().map(types::from_json).transpose()?,
                created_at: row.created_at,
                hidden: row.hidden,
                trace: row.traceparent.as_deref().and_then(Trace::parse),
                lines: by_order.remove(&row.id).unwrap_or_default(),
            })
        })
        .collect()
}

pub(super) async fn by_id(c: &mut Conn, id: i64) -> Result<Option<StoredOrder>, StoreError> {
    let row: Option<Row> = orders::table.find(id).select(Row::as_select()).first(c).await.optional()?;
    Ok(with_lines(c, row.into_iter().collect()).await?.pop())
}

pub(super) async fn by_number(c: &mut Conn, number: Uuid) -> Result<Option<StoredOrder>, StoreError> {
    let row = orders::table.filter(orders::order_number.eq(number.to_string())).select(Row::as_select());
    let row: Option<Row> = row.first(c).await.optional()?;
    Ok(with_lines(c, row.into_iter().collect()).await?.pop())
}

pub(super) async fn page(c: &mut Conn, request: PageRequest, customer: Option<&str>) -> Result<(Vec<StoredOrder>, i64), StoreError> {
    let listed = || {
        let mut query = orders::table.filter(orders::status.eq_any(LISTED).and(orders::hidden.eq(false))).into_boxed();
        if let Some(customer) = customer {
            query = query.filter(orders::customer.eq(customer.to_string()));
        }
        query
    };
    let total = listed().count().get_result(c).await?;
    let rows = listed().select(Row::as_select()).order(orders::id).limit(i64::from(request.size)).offset(request.offset());
    let rows = rows.load(c).await?;
    Ok((with_lines(c, rows).await?, total))
}

pub(super) async fn known(c: &mut Conn, key: &Key) -> Result<Option<Begun>, StoreError> {
    let row = idempotency_keys::table.find((&key.scope, &key.key)).select((idempotency_keys::fingerprint, idempotency_keys::order_id));
    let row: Option<(String, i64)> = row.first(c).await.optional()?;
    let Some((fingerprint, order_id)) = row else { return Ok(None) };
    if fingerprint != key.fingerprint {
        return Ok(Some(Begun::OtherRequest));
    }
    let order = by_id(c, order_id).await?.ok_or_else(|| StoreError::Broken(format!("a key of order {order_id}, which is not there")))?;
    Ok(Some(if order.status == OrderStatus::Pending { Begun::InFlight } else { Begun::Ended(order) }))
}

pub(super) async fn insert(
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
    let id = ids.into_iter().next().ok_or_else(|| StoreError::Broken("an order was given no id".into()))?;
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

pub(super) async fn remember(c: &mut Conn, key: &Key, order_id: i64, now: i64) -> Result<(), StoreError> {
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

pub(super) async fn forget_key_of(c: &mut Conn, order_id: i64) -> Result<(), StoreError> {
    diesel::delete(idempotency_keys::table.filter(idempotency_keys::order_id.eq(order_id))).execute(c).await?;
    Ok(())
}

pub(super) async fn forget_keys(c: &mut Conn, before: i64) -> Result<(), StoreError> {
    diesel::delete(idempotency_keys::table.filter(idempotency_keys::created_at.lt(before))).execute(c).await?;
    Ok(())
}

pub(super) async fn end(c: &mut Conn, order: &StoredOrder, settle: Settle) -> Result<bool, StoreError> {
    let pending = orders::table.filter(orders::id.eq(order.id).and(orders::status.eq(PENDING)));
    let change = (
        orders::status.eq(order.status.text()),
        orders::settle.eq(settle_text(settle)),
        orders::reason.eq(order.reason.as_ref().map(types::to_json).transpose()?),
    );
    Ok(CachedQuery(diesel::update(pending).set(change)).execute(c).await? == 1)
}

/// False where it is not PLACED any more.
pub(super) async fn cancel(c: &mut Conn, id: i64) -> Result<bool, StoreError> {
    let placed = orders::table.filter(orders::id.eq(id).and(orders::status.eq(OrderStatus::Placed.text())));
    let change = (orders::status.eq(OrderStatus::Cancelled.text()), orders::settle.eq(settle_text(Settle::Release)));
    Ok(CachedQuery(diesel::update(placed).set(change)).execute(c).await? == 1)
}

pub(super) async fn hide(c: &mut Conn, id: i64) -> Result<(), StoreError> {
    diesel::update(orders::table.find(id)).set(orders::hidden.eq(true)).execute(c).await?;
    Ok(())
}

pub(super) async fn is_any_abandoned(c: &mut Conn, now: i64) -> Result<bool, StoreError> {
    let rows = orders::table.filter(orders::status.eq(PENDING).and(orders::lease_until.lt(now)));
    Ok(rows.select(orders::id).first::<i64>(c).await.optional()?.is_some())
}

/// Those that no other process is just taking up.
pub(super) async fn abandoned(c: &mut Conn, now: i64, limit: i64) -> Result<Vec<StoredOrder>, StoreError> {
    let rows = orders::table.filter(orders::status.eq(PENDING).and(orders::lease_until.lt(now)));
    let rows = claimed!(rows.select(Row::as_select()).order(orders::lease_until).limit(limit)).load(c).await?;
    with_lines(c, rows).await
}

pub(super) async fn lease(c: &mut Conn, orders_: &[StoredOrder], until: i64) -> Result<(), StoreError> {
    let ids: Vec<i64> = orders_.iter().map(|order| order.id).collect();
    diesel::update(orders::table.filter(orders::id.eq_any(ids))).set(orders::lease_until.eq(until)).execute(c).await?;
    Ok(())
}

pub(super) async fn unsettled(c: &mut Conn, limit: i64) -> Result<Vec<(Uuid, Settle)>, StoreError> {
    let mut open = Vec::new();
    // one after the other: each is a stretch of an index, oldest first, however many orders there are
    for settle in [Settle::Commit, Settle::Release] {
        let rows = orders::table.filter(orders::settle.eq(settle_text(settle))).select(orders::order_number).order(orders::id);
        for number in rows.limit(limit).load::<String>(c).await? {
            open.push((number_of(&number)?, settle));
        }
    }
    Ok(open)
}

pub(super) async fn settled(c: &mut Conn, done: &[(Uuid, Settle)]) -> Result<(), StoreError> {
    for settle in [Settle::Commit, Settle::Release] {
        let numbers: Vec<String> = done.iter().filter(|(_, s)| *s == settle).map(|(number, _)| number.to_string()).collect();
        if numbers.is_empty() {
            continue;
        }
        let rows = orders::table.filter(orders::order_number.eq_any(numbers).and(orders::settle.eq(settle_text(settle))));
        diesel::update(rows).set(orders::settle.eq(None::<String>)).execute(c).await?;
    }
    Ok(())
}

pub(super) async fn open_ends(c: &mut Conn) -> Result<OpenEnds, StoreError> {
    let pending = orders::table.filter(orders::status.eq(PENDING)).select((count_star(), min(orders::created_at)));
    let (pending, oldest_pending) = pending.first(c).await?;
    let unsettled = orders::table.filter(orders::settle.is_not_null()).count().get_result(c).await?;
    Ok(OpenEnds { pending, oldest_pending, unsettled })
}
