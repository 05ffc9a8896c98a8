//! The order store in SQL.

use super::backend::Db;
use super::events::outbox::{self, SqlOutbox};
use super::list::{self, Listed, OrderPositions};
use super::queries::{self, UnreadableRows};
use crate::data::Lease;
use crate::events::bus::Outbox;
use crate::kernel::clock;
use crate::kernel::error::StoreError;
use crate::kernel::money::Money;
use crate::kernel::page::PageRequest;
use crate::modules::contracts::inventory::StockCheck;
use crate::modules::order::api::OrderStatus;
use crate::modules::order::events;
use crate::modules::order::store::types::{
    BeginOutcome, CancelOutcome, IdempotencyKey, NewOrder, OrderPage, OrderStore, PendingReservationAction, StoredOrder,
    UnfinishedOrderStats,
};
use crate::observe::trace::Trace;
use async_trait::async_trait;
use futures_util::future::LocalBoxFuture;
use prometheus::IntCounter;
use std::sync::Arc;
use uuid::Uuid;

/// Maximum number of orders per recovery round and per settlement round.
const BATCH_SIZE: i64 = 200;

pub(in crate::modules::order::store) struct Repo {
    db: Db,
    lease_ms: i64,
    unreadable: UnreadableRows,
    positions: Arc<OrderPositions>,
}

impl Repo {
    /// Recovery skips a PENDING order until its lease expires.
    pub(in crate::modules::order::store) fn new(db: Db, lease_seconds: u64, unreadable: IntCounter) -> Self {
        let lease_ms = i64::try_from(lease_seconds.saturating_mul(1000)).unwrap_or(i64::MAX / 4);
        Self { db, lease_ms, unreadable: UnreadableRows(unreadable), positions: Arc::default() }
    }
}

#[async_trait(?Send)]
impl OrderStore for Repo {
    async fn find_key(&self, key: IdempotencyKey) -> Result<Option<BeginOutcome>, StoreError> {
        self.db.read(async move |c| queries::find_key(c, &key).await).await
    }

    async fn begin(&self, new: NewOrder, total: Money, rejected: Option<StockCheck>, trace: Trace) -> Result<BeginOutcome, StoreError> {
        let (now, lease_until) = (clock::now_ms(), clock::now_ms() + self.lease_ms);
        let key = new.key.clone();
        let outcome = self
            .db
            .write(async move |c| {
                if let Some(key) = &new.key
                    && let Some(outcome) = queries::find_key(c, key).await?
                {
                    return Ok(outcome);
                }
                let order = queries::insert_order(c, &new, total, rejected.clone(), now, lease_until, trace).await?;
                if let Some(key) = &new.key {
                    queries::insert_key(c, key, order.id, now).await?;
                }
                if rejected.is_some() {
                    let event = events::order_event(&order, events::REJECTED, Some("stock"), trace)?;
                    outbox::append(c, &event).await?;
                }
                Ok(BeginOutcome::Created(order))
            })
            .await;
        match (outcome, key) {
            // a concurrent request with the same key has committed first; this transaction is rolled back
            (Err(StoreError::DuplicateKey(_)), Some(key)) => Ok(self.find_key(key).await?.unwrap_or(BeginOutcome::InFlight)),
            (outcome, _) => outcome,
        }
    }

    async fn end(&self, order: &StoredOrder, action: PendingReservationAction, trace: Trace) -> Result<bool, StoreError> {
        let order = order.clone();
        self.db
            .write(async move |c| {
                if !queries::end_order(c, &order, action).await? {
                    return Ok(false);
                }
                let (kind, reason) = match (order.status, &order.reason) {
                    (OrderStatus::Placed, _) => (events::PLACED, None),
                    (_, Some(_)) => (events::REJECTED, Some("stock")),
                    (_, None) => (events::REJECTED, Some("unavailable")),
                };
                if reason == Some("unavailable") {
                    queries::delete_key_of(c, order.id).await?;
                }
                outbox::append(c, &events::order_event(&order, kind, reason, trace)?).await?;
                Ok(true)
            })
            .await
    }

    async fn abort(&self, order: &StoredOrder, trace: Trace) -> Result<bool, StoreError> {
        let order = StoredOrder { status: OrderStatus::Rejected, reason: None, ..order.clone() };
        self.end(&order, PendingReservationAction::Release, trace).await
    }

    async fn cancel(&self, id: i64, hide: bool, trace: Trace) -> Result<CancelOutcome, StoreError> {
        self.db
            .write(async move |c| {
                let Some(order) = queries::by_id(c, id).await? else { return Ok(CancelOutcome::NotCancellable(OrderStatus::Rejected)) };
                if hide && order.status != OrderStatus::Pending {
                    queries::hide_order(c, id).await?;
                }
                match order.status {
                    OrderStatus::Placed if !queries::cancel_order(c, id).await? => Ok(CancelOutcome::AlreadyCancelled),
                    OrderStatus::Placed => {
                        let order = StoredOrder { status: OrderStatus::Cancelled, ..order };
                        outbox::append(c, &events::order_event(&order, events::CANCELLED, None, trace)?).await?;
                        Ok(CancelOutcome::Cancelled)
                    }
                    OrderStatus::Cancelled => Ok(CancelOutcome::AlreadyCancelled),
                    other => Ok(CancelOutcome::NotCancellable(other)),
                }
            })
            .await
    }

    async fn get(&self, id: i64) -> Result<Option<StoredOrder>, StoreError> {
        self.db.read(async move |c| queries::by_id(c, id).await).await
    }

    async fn by_number(&self, number: Uuid) -> Result<Option<StoredOrder>, StoreError> {
        self.db.read(async move |c| queries::by_number(c, number).await).await
    }

    async fn page(&self, request: PageRequest, customer: Option<String>, max_lines: Option<i64>) -> Result<OrderPage, StoreError> {
        let (unreadable, positions, listed) = (self.unreadable.clone(), self.positions.clone(), Listed(customer));
        self.db.list(async move |c| list::page(c, &positions, &unreadable, &listed, request, max_lines).await).await
    }

    async fn following(
        &self,
        after: i64,
        count: i64,
        customer: Option<String>,
        max_lines: i64,
    ) -> Result<(Vec<StoredOrder>, bool), StoreError> {
        let (unreadable, listed) = (self.unreadable.clone(), Listed(customer));
        self.db.list(async move |c| list::following(c, &unreadable, &listed, after, count, max_lines).await).await
    }

    async fn acquire_expired(&self) -> Result<Vec<StoredOrder>, StoreError> {
        let (now, lease_ms, unreadable) = (clock::now_ms(), self.lease_ms, self.unreadable.clone());
        let latest = clock::latest_end(now, lease_ms);
        if !self.db.read(async move |c| queries::has_expired(c, now, latest).await).await? {
            return Ok(Vec::new());
        }
        self.db.write(async move |c| queries::acquire_expired(c, &unreadable, now, latest, now + lease_ms, BATCH_SIZE).await).await
    }

    async fn pending_actions(&self) -> Result<Vec<(Uuid, PendingReservationAction)>, StoreError> {
        let unreadable = self.unreadable.clone();
        self.db.read(async move |c| queries::pending_actions(c, &unreadable, BATCH_SIZE).await).await
    }

    async fn mark_done(&self, done: Vec<(Uuid, PendingReservationAction)>) -> Result<(), StoreError> {
        self.db.write(async move |c| queries::mark_done(c, &done).await).await
    }

    async fn unfinished_stats(&self) -> Result<UnfinishedOrderStats, StoreError> {
        self.db.read(async |c| queries::unfinished_stats(c).await).await
    }

    async fn delete_old_keys(&self, hours: u64) -> Result<(), StoreError> {
        let before = clock::now_ms() - i64::try_from(hours.saturating_mul(3_600_000)).unwrap_or(i64::MAX / 4);
        self.db.write(async move |c| queries::delete_keys_before(c, before).await).await
    }

    fn next_commit(&self) -> LocalBoxFuture<'_, ()> {
        Box::pin(self.db.next_commit())
    }

    fn lease(&self, name: &'static str) -> Lease {
        Lease::new(self.db.clone(), name)
    }

    fn outbox(&self) -> Arc<dyn Outbox> {
        Arc::new(SqlOutbox(self.db.clone(), "order"))
    }
}
