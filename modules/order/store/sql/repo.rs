//! Orders in SQL.

use super::backend::Db;
use super::events::outbox::{self, SqlOutbox};
use super::rows;
use crate::data::Lease;
use crate::events::bus::Outbox;
use crate::kernel::clock;
use crate::kernel::error::StoreError;
use crate::kernel::money::Money;
use crate::kernel::page::PageRequest;
use crate::modules::inventory::api::StockCheck;
use crate::modules::order::api::OrderStatus;
use crate::modules::order::events;
use crate::modules::order::store::types::{Begun, Cancelled, Key, NewOrder, OpenEnds, OrderStore, Settle, StoredOrder};
use crate::observe::trace::Trace;
use async_trait::async_trait;
use futures_util::future::LocalBoxFuture;
use std::sync::Arc;
use uuid::Uuid;

/// Orders recovered at once, and settled at once.
const BATCH: i64 = 200;

/// See [`OrderStore`].
pub(in crate::modules::order::store) struct Repo {
    db: Db,
    lease_ms: i64,
}

impl Repo {
    /// On this database; a PENDING order is left alone for the lease.
    pub(in crate::modules::order::store) fn on(db: Db, lease_seconds: u64) -> Self {
        let lease_ms = i64::try_from(lease_seconds.saturating_mul(1000)).unwrap_or(i64::MAX / 4);
        Self { db, lease_ms }
    }
}

#[async_trait(?Send)]
impl OrderStore for Repo {
    async fn known(&self, key: Key) -> Result<Option<Begun>, StoreError> {
        self.db.read(async move |c| rows::known(c, &key).await).await
    }

    async fn begin(&self, new: NewOrder, total: Money, rejected: Option<StockCheck>, trace: Trace) -> Result<Begun, StoreError> {
        let (now, lease_until) = (clock::now_ms(), clock::now_ms() + self.lease_ms);
        let key = new.key.clone();
        let begun = self
            .db
            .write(async move |c| {
                if let Some(key) = &new.key
                    && let Some(begun) = rows::known(c, key).await?
                {
                    return Ok(begun);
                }
                let order = rows::insert(c, &new, total, rejected.clone(), now, lease_until, trace).await?;
                if let Some(key) = &new.key {
                    rows::remember(c, key, order.id, now).await?;
                }
                if rejected.is_some() {
                    let event = events::about(&order, events::REJECTED, Some("stock"), trace)?;
                    outbox::append(c, &event).await?;
                }
                Ok(Begun::New(order))
            })
            .await;
        match (begun, key) {
            // by a request that began when ours did: it has the order, and ours is undone
            (Err(StoreError::Taken(_)), Some(key)) => Ok(self.known(key).await?.unwrap_or(Begun::InFlight)),
            (begun, _) => begun,
        }
    }

    async fn end(&self, order: &StoredOrder, settle: Settle, trace: Trace) -> Result<bool, StoreError> {
        let order = order.clone();
        self.db
            .write(async move |c| {
                if !rows::end(c, &order, settle).await? {
                    return Ok(false);
                }
                let (kind, reason) = match (order.status, &order.reason) {
                    (OrderStatus::Placed, _) => (events::PLACED, None),
                    (_, Some(_)) => (events::REJECTED, Some("stock")),
                    (_, None) => (events::REJECTED, Some("unavailable")),
                };
                if reason == Some("unavailable") {
                    rows::forget_key_of(c, order.id).await?;
                }
                outbox::append(c, &events::about(&order, kind, reason, trace)?).await?;
                Ok(true)
            })
            .await
    }

    async fn give_up(&self, order: &StoredOrder, trace: Trace) -> Result<bool, StoreError> {
        let order = StoredOrder { status: OrderStatus::Rejected, reason: None, ..order.clone() };
        self.end(&order, Settle::Release, trace).await
    }

    async fn cancel(&self, id: i64, hide: bool, trace: Trace) -> Result<Cancelled, StoreError> {
        self.db
            .write(async move |c| {
                let Some(order) = rows::by_id(c, id).await? else { return Ok(Cancelled::Not(OrderStatus::Rejected)) };
                if hide && order.status != OrderStatus::Pending {
                    rows::hide(c, id).await?;
                }
                match order.status {
                    OrderStatus::Placed if !rows::cancel(c, id).await? => Ok(Cancelled::Before),
                    OrderStatus::Placed => {
                        let order = StoredOrder { status: OrderStatus::Cancelled, ..order };
                        outbox::append(c, &events::about(&order, events::CANCELLED, None, trace)?).await?;
                        Ok(Cancelled::Now)
                    }
                    OrderStatus::Cancelled => Ok(Cancelled::Before),
                    other => Ok(Cancelled::Not(other)),
                }
            })
            .await
    }

    async fn get(&self, id: i64) -> Result<Option<StoredOrder>, StoreError> {
        self.db.read(async move |c| rows::by_id(c, id).await).await
    }

    async fn by_number(&self, number: Uuid) -> Result<Option<StoredOrder>, StoreError> {
        self.db.read(async move |c| rows::by_number(c, number).await).await
    }

    async fn page(&self, request: PageRequest, customer: Option<String>) -> Result<(Vec<StoredOrder>, i64), StoreError> {
        self.db.read(async move |c| rows::page(c, request, customer.as_deref()).await).await
    }

    async fn abandoned(&self) -> Result<Vec<StoredOrder>, StoreError> {
        let (now, lease_ms) = (clock::now_ms(), self.lease_ms);
        if !self.db.read(async move |c| rows::is_any_abandoned(c, now).await).await? {
            return Ok(Vec::new());
        }
        self.db
            .write(async move |c| {
                let orders = rows::abandoned(c, now, BATCH).await?;
                rows::lease(c, &orders, now + lease_ms).await?;
                Ok(orders)
            })
            .await
    }

    async fn unsettled(&self) -> Result<Vec<(Uuid, Settle)>, StoreError> {
        self.db.read(async |c| rows::unsettled(c, BATCH).await).await
    }

    async fn settled(&self, done: Vec<(Uuid, Settle)>) -> Result<(), StoreError> {
        self.db.write(async move |c| rows::settled(c, &done).await).await
    }

    async fn open_ends(&self) -> Result<OpenEnds, StoreError> {
        self.db.read(async |c| rows::open_ends(c).await).await
    }

    async fn forget_keys(&self, hours: u64) -> Result<(), StoreError> {
        let before = clock::now_ms() - i64::try_from(hours.saturating_mul(3_600_000)).unwrap_or(i64::MAX / 4);
        self.db.write(async move |c| rows::forget_keys(c, before).await).await
    }

    fn committed(&self) -> LocalBoxFuture<'_, ()> {
        Box::pin(self.db.committed())
    }

    fn lease(&self, name: &'static str) -> Lease {
        Lease::new(self.db.clone(), name)
    }

    fn outbox(&self) -> Arc<dyn Outbox> {
        Arc::new(SqlOutbox(self.db.clone(), "order"))
    }
}
