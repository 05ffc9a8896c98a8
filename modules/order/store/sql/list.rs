//! Lists of placed and cancelled orders. `plans.rs` checks that SQLite answers them from indexes.

use super::backend::{Backend, Conn};
use super::queries::{LoadedOrder, OrderRow, UnreadableRows, load_lines};
use super::tables::{order_lines, orders};
use crate::data::{CachedQuery, IdList, ListPositions};
use crate::kernel::error::StoreError;
use crate::kernel::page::PageRequest;
use crate::modules::order::store::types::{OrderPage, StoredOrder};
use async_trait::async_trait;
use diesel::dsl::{AsSelect, SqlTypeOf, count_star, sql};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool};
use diesel_async::RunQueryDsl;
use std::collections::HashMap;

/// Constant text, so that SQLite can use the partial indexes `orders_listed` and `orders_customer_listed`: their condition
/// is the same.
const LISTED: &str = "status IN ('PLACED', 'CANCELLED') AND hidden = 0";

/// Positions of the list of all orders (`None`), and of customers' lists.
pub(super) type OrderPositions = ListPositions<Option<String>>;

/// The orders of one customer, or of all.
pub(super) struct Listed(pub(super) Option<String>);

impl Listed {
    /// In ascending order.
    fn after(&self, id: i64) -> orders::BoxedQuery<'static, Backend> {
        let query = orders::table.filter(sql::<Bool>(LISTED)).filter(orders::id.gt(id)).into_boxed();
        match &self.0 {
            Some(customer) => query.filter(orders::customer.eq(customer.clone())),
            None => query,
        }
    }

    pub(super) fn id_query(&self, after: i64, skip: i64) -> orders::BoxedQuery<'static, Backend, BigInt> {
        self.after(after).select(orders::id).order(orders::id).limit(1).offset(skip)
    }

    pub(super) fn count_query(&self, after: i64) -> orders::BoxedQuery<'static, Backend, BigInt> {
        self.after(after).select(count_star())
    }

    pub(super) fn rows_query(
        &self,
        after: i64,
        limit: i64,
    ) -> orders::BoxedQuery<'static, Backend, SqlTypeOf<AsSelect<OrderRow, Backend>>> {
        self.after(after).select(OrderRow::as_select()).order(orders::id).limit(limit)
    }
}

#[async_trait(?Send)]
impl IdList<Conn> for Listed {
    async fn id_after(&self, c: &mut Conn, id: i64, skip: i64) -> Result<Option<i64>, StoreError> {
        Ok(CachedQuery(self.id_query(id, skip)).get_result(c).await.optional()?)
    }

    async fn count_after(&self, c: &mut Conn, id: i64) -> Result<i64, StoreError> {
        Ok(CachedQuery(self.count_query(id)).get_result(c).await?)
    }
}

/// Consecutive orders of a list.
struct Run {
    orders: Vec<LoadedOrder>,
    more: bool,
    /// The orders have more lines than allowed; only the first ones are here.
    cut: bool,
}

/// Up to `count` orders after this id with at most `max_lines` lines in all (`None`: no limit), but at least one order.
async fn run_after(c: &mut Conn, list: &Listed, id: i64, count: i64, max_lines: Option<i64>) -> Result<Run, StoreError> {
    // reads one more than requested, to know whether more follow
    let mut rows: Vec<OrderRow> = CachedQuery(list.rows_query(id, count + 1)).load(c).await?;
    let wanted = rows.len().min(usize::try_from(count).unwrap_or(usize::MAX));
    let fitting = match max_lines {
        Some(max_lines) => count_fitting(c, rows.iter().take(wanted).map(|row| row.id).collect(), max_lines).await?,
        None => wanted,
    };
    let more = fitting < rows.len();
    rows.truncate(fitting);
    Ok(Run { orders: load_lines(c, rows).await?, more, cut: fitting < wanted })
}

/// How many of these orders, from the first one on, have at most `max_lines` lines in all; at least one.
async fn count_fitting(c: &mut Conn, ids: Vec<i64>, max_lines: i64) -> Result<usize, StoreError> {
    let lines = order_lines::table.filter(order_lines::order_id.eq_any(&ids)).group_by(order_lines::order_id);
    let counts: HashMap<i64, i64> = lines.select((order_lines::order_id, count_star())).load(c).await?.into_iter().collect();
    let mut sum = 0;
    let fitting = ids.iter().take_while(|id| {
        sum += counts.get(id).copied().unwrap_or_default();
        sum <= max_lines
    });
    Ok(fitting.count().max(1).min(ids.len()))
}

pub(super) async fn page(
    c: &mut Conn,
    positions: &OrderPositions,
    unreadable: &UnreadableRows,
    list: &Listed,
    request: PageRequest,
    max_lines: Option<i64>,
) -> Result<OrderPage, StoreError> {
    let slice = positions.page(c, list.0.clone(), list, request).await?;
    if slice.limit == 0 {
        return Ok(OrderPage { total: slice.total, ..OrderPage::default() });
    }
    let run = run_after(c, list, slice.after, slice.limit, max_lines).await?;
    Ok(OrderPage { orders: unreadable.without(run.orders), total: slice.total, cut: run.cut })
}

pub(super) async fn following(
    c: &mut Conn,
    unreadable: &UnreadableRows,
    list: &Listed,
    mut after: i64,
    count: i64,
    max_lines: i64,
) -> Result<(Vec<StoredOrder>, bool), StoreError> {
    loop {
        let run = run_after(c, list, after, count, Some(max_lines)).await?;
        let last = run.orders.last().map(|(id, _)| *id);
        let orders = unreadable.without(run.orders);
        match last {
            // a client could not continue after a page without an order
            Some(last) if orders.is_empty() && run.more => after = last,
            _ => return Ok((orders, run.more)),
        }
    }
}
