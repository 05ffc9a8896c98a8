//! Stock and reservations in SQL.

use super::backend::Db;
use super::events::outbox::SqlOutbox;
use super::{reservations, stock};
use crate::events::bus::Outbox;
use crate::kernel::clock;
use crate::kernel::error::StoreError;
use crate::kernel::page::PageRequest;
use crate::modules::inventory::api::{InventoryError, Quantities, Reservation, ReservationState, SettleInput, Stock, StockCheck};
use crate::modules::inventory::events::Cause;
use crate::modules::inventory::store::types::{Levels, StockStore};
use crate::observe::trace::Trace;
use crate::settings;
use async_trait::async_trait;
use std::sync::Arc;
use uuid::Uuid;

/// Reservations looked into at once.
const EXPIRED_BATCH: i64 = 100;

/// See [`StockStore`].
pub(in crate::modules::inventory::store) struct Repo {
    db: Db,
    low: i64,
    reservation_ms: i64,
}

impl Repo {
    /// On this database.
    pub(in crate::modules::inventory::store) fn on(db: Db, settings: &settings::Inventory) -> Self {
        let reservation_ms = i64::try_from(settings.reservation_seconds.saturating_mul(1000)).unwrap_or(i64::MAX / 4);
        Self { db, low: settings.low, reservation_ms }
    }
}

#[async_trait(?Send)]
impl StockStore for Repo {
    async fn page(&self, request: PageRequest) -> Result<(Vec<Stock>, i64), StoreError> {
        self.db.read(async move |c| stock::page(c, request).await).await
    }

    async fn get(&self, id: i64) -> Result<Option<Stock>, StoreError> {
        self.db.read(async move |c| Ok(stock::find(c, id).await?.map(Stock::from))).await
    }

    async fn create(&self, sku_code: String, quantity: i64, trace: Trace) -> Result<Stock, InventoryError> {
        self.db
            .write(async move |c| {
                let row = stock::create(c, &sku_code, quantity).await?;
                let moved = Quantities::from([(sku_code.clone(), quantity)]);
                stock::tell_changed(c, Cause::Adjusted, None, &moved, trace).await?;
                Ok(row.into())
            })
            .await
    }

    async fn adjust(&self, id: i64, amount: i64, trace: Trace) -> Result<Stock, InventoryError> {
        let low = self.low;
        self.db
            .write(async move |c| {
                let row = stock::adjust(c, id, amount).await?;
                let moved = Quantities::from([(row.sku_code.clone(), amount)]);
                stock::tell_changed(c, Cause::Adjusted, None, &moved, trace).await?;
                stock::tell_low(c, &row.sku_code, row.quantity - amount, row.quantity, low, trace).await?;
                Ok(row.into())
            })
            .await
    }

    async fn take(&self, sold: Quantities, trace: Trace) -> Result<Vec<Stock>, InventoryError> {
        let low = self.low;
        self.db
            .write(async move |c| {
                let rows = stock::take(c, &sold).await?;
                let moved = sold.iter().map(|(sku, n)| (sku.clone(), -n)).collect();
                stock::tell_changed(c, Cause::Sold, None, &moved, trace).await?;
                for row in &rows {
                    let before = row.quantity + sold.get(&row.sku_code).copied().unwrap_or_default();
                    stock::tell_low(c, &row.sku_code, before, row.quantity, low, trace).await?;
                }
                Ok(rows.into_iter().map(Stock::from).collect())
            })
            .await
    }

    async fn remove(&self, id: i64, trace: Trace) -> Result<(), InventoryError> {
        self.db
            .write(async move |c| {
                let row = stock::remove(c, id).await?;
                let moved = Quantities::from([(row.sku_code, -row.quantity)]);
                stock::tell_changed(c, Cause::Removed, None, &moved, trace).await?;
                Ok(())
            })
            .await
    }

    async fn check(&self, wanted: Quantities) -> Result<StockCheck, StoreError> {
        self.db.read(async move |c| Ok(stock::classify(&stock::rows(c, &wanted).await?, &wanted))).await
    }

    async fn reserve(&self, order: Uuid, lines: Quantities, trace: Trace) -> Result<Reservation, StoreError> {
        let (low, expires_at) = (self.low, clock::now_ms() + self.reservation_ms);
        self.db.write(async move |c| reservations::reserve(c, order, &lines, expires_at, low, trace).await).await
    }

    async fn commit(&self, order: Uuid) -> Result<ReservationState, InventoryError> {
        let found = self.db.write(async move |c| reservations::commit(c, &[order]).await).await?;
        match found.get(&order) {
            None => Err(InventoryError::NoReservation { order_number: order }),
            Some(ReservationState::Committed) => Ok(ReservationState::Committed),
            Some(_) => Err(InventoryError::AlreadyReleased { order_number: order }),
        }
    }

    async fn release(&self, order: Uuid, trace: Trace) -> Result<ReservationState, StoreError> {
        self.db.write(async move |c| reservations::release(c, order, trace).await).await
    }

    async fn settle(&self, orders: SettleInput, trace: Trace) -> Result<Vec<Uuid>, StoreError> {
        self.db
            .write(async move |c| {
                let found = reservations::commit(c, &orders.commit).await?;
                let (mut settled, others): (Vec<Uuid>, Vec<Uuid>) =
                    orders.commit.iter().copied().partition(|order| found.get(order) == Some(&ReservationState::Committed));
                for order in others {
                    // one that was cancelled meanwhile has decided otherwise, and says so the next time
                    if found.get(&order) == Some(&ReservationState::Released) {
                        continue;
                    }
                    tracing::error!(order_number = %order, state = ?found.get(&order), "reservation not committed");
                }
                for order in &orders.release {
                    reservations::release(c, *order, trace).await?;
                    settled.push(*order);
                }
                Ok(settled)
            })
            .await
    }

    async fn expired(&self) -> Result<Vec<Uuid>, StoreError> {
        let now = clock::now_ms();
        self.db.read(async move |c| reservations::expired(c, now, EXPIRED_BATCH).await).await
    }

    async fn extend(&self, order: Uuid) -> Result<(), StoreError> {
        let until = clock::now_ms() + self.reservation_ms;
        self.db.write(async move |c| reservations::extend(c, order, until).await).await
    }

    async fn levels(&self) -> Result<Levels, StoreError> {
        let low = self.low;
        self.db.read(async move |c| stock::levels(c, low).await).await
    }

    fn outbox(&self) -> Arc<dyn Outbox> {
        Arc::new(SqlOutbox(self.db.clone(), "inventory"))
    }
}
