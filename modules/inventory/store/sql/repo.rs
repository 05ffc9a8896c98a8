//! The SQL store of stock and reservations.

use super::backend::{Conn, Db};
use super::events::outbox::SqlOutbox;
use super::{reservations, stock};
use crate::data::ListPositions;
use crate::events::bus::Outbox;
use crate::kernel::clock;
use crate::kernel::error::StoreError;
use crate::kernel::page::PageRequest;
use crate::modules::invariants::{self, Violation};
use crate::modules::inventory::api::{InventoryError, Quantities, Reservation, ReservationState, SettleInput, Stock, StockCheck};
use crate::modules::inventory::events::Cause;
use crate::modules::inventory::store::types::{Levels, StockStore};
use crate::observe::trace::Trace;
use crate::settings;
use async_trait::async_trait;
use std::sync::Arc;
use uuid::Uuid;

/// Expired reservations per round.
const EXPIRED_BATCH: i64 = 100;

/// See [`StockStore`].
pub(in crate::modules::inventory::store) struct Repo {
    db: Db,
    low_threshold: i64,
    reservation_ms: i64,
    positions: Arc<ListPositions<()>>,
}

impl Repo {
    pub(in crate::modules::inventory::store) fn new(db: Db, settings: &settings::Inventory) -> Self {
        let reservation_ms = i64::try_from(settings.reservation_seconds.saturating_mul(1000)).unwrap_or(i64::MAX / 4);
        Self { db, low_threshold: settings.low_stock_threshold, reservation_ms, positions: Arc::default() }
    }
}

#[async_trait(?Send)]
impl StockStore for Repo {
    async fn page(&self, request: PageRequest) -> Result<(Vec<Stock>, i64), StoreError> {
        let positions = self.positions.clone();
        self.db.list(async move |c| stock::page(c, &positions, request).await).await
    }

    async fn following(&self, after: i64, count: u32) -> Result<Vec<Stock>, StoreError> {
        self.db.list(async move |c| stock::following(c, after, count.into()).await).await
    }

    async fn get(&self, id: i64) -> Result<Option<Stock>, StoreError> {
        self.db.read(async move |c| Ok(stock::find(c, id).await?.map(Stock::from))).await
    }

    async fn create(&self, sku_code: String, quantity: i64, trace: Trace) -> Result<Stock, InventoryError> {
        self.db
            .write(async move |c| {
                let row = stock::create(c, &sku_code, quantity).await?;
                let changes = Quantities::from([(sku_code.clone(), quantity)]);
                stock::append_stock_changed_event(c, Cause::Adjusted, None, &changes, trace).await?;
                Ok(row.into())
            })
            .await
    }

    async fn adjust(&self, id: i64, amount: i64, trace: Trace) -> Result<Stock, InventoryError> {
        let low_threshold = self.low_threshold;
        self.db
            .write(async move |c| {
                let row = stock::adjust(c, id, amount).await?;
                let changes = Quantities::from([(row.sku_code.clone(), amount)]);
                stock::append_stock_changed_event(c, Cause::Adjusted, None, &changes, trace).await?;
                stock::append_stock_low_event(c, &row.sku_code, row.quantity - amount, row.quantity, low_threshold, trace).await?;
                Ok(row.into())
            })
            .await
    }

    async fn take(&self, sold: Quantities, trace: Trace) -> Result<Vec<Stock>, InventoryError> {
        let low_threshold = self.low_threshold;
        self.db
            .write(async move |c| {
                let rows = stock::take(c, &sold).await?;
                let changes = sold.iter().map(|(sku, n)| (sku.clone(), -n)).collect();
                stock::append_stock_changed_event(c, Cause::Sold, None, &changes, trace).await?;
                for row in &rows {
                    let before = row.quantity + sold.get(&row.sku_code).copied().unwrap_or_default();
                    stock::append_stock_low_event(c, &row.sku_code, before, row.quantity, low_threshold, trace).await?;
                }
                Ok(rows.into_iter().map(Stock::from).collect())
            })
            .await
    }

    async fn remove(&self, id: i64, trace: Trace) -> Result<(), InventoryError> {
        self.db
            .write(async move |c| {
                let row = stock::remove(c, id).await?;
                let changes = Quantities::from([(row.sku_code, -row.quantity)]);
                stock::append_stock_changed_event(c, Cause::Removed, None, &changes, trace).await?;
                Ok(())
            })
            .await
    }

    async fn check(&self, wanted: Quantities) -> Result<StockCheck, StoreError> {
        self.db.read(async move |c| Ok(stock::classify(&stock::rows(c, &wanted).await?, &wanted))).await
    }

    async fn reserve(&self, order: Uuid, lines: Quantities, trace: Trace) -> Result<Reservation, StoreError> {
        let (low_threshold, expires_at) = (self.low_threshold, clock::now_ms() + self.reservation_ms);
        self.db.write(async move |c| reservations::reserve(c, order, &lines, expires_at, low_threshold, trace).await).await
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
                let (mut settled, not_committed): (Vec<Uuid>, Vec<Uuid>) =
                    orders.commit.iter().copied().partition(|order| found.get(order) == Some(&ReservationState::Committed));
                for order in not_committed {
                    // cancelled concurrently: order releases it in a later call
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
        let latest = clock::latest_end(now, self.reservation_ms);
        self.db.read(async move |c| reservations::expired(c, now, latest, EXPIRED_BATCH).await).await
    }

    async fn extend(&self, order: Uuid) -> Result<(), StoreError> {
        let until = clock::now_ms() + self.reservation_ms;
        self.db.write(async move |c| reservations::extend(c, order, until).await).await
    }

    async fn levels(&self) -> Result<Levels, StoreError> {
        let low_threshold = self.low_threshold;
        self.db.read(async move |c| stock::levels(c, low_threshold).await).await
    }

    async fn count_broken(&self) -> Result<[(&'static str, usize); 2], StoreError> {
        let read = async |c: &mut Conn| Ok::<_, StoreError>(invariants::stock(stock::suspects(c).await?, reservations::held(c).await?));
        let violations = self.db.read(read).await?;
        let breaks = |of_sku: &[Violation], invariant| of_sku.iter().any(|violation| violation.invariant == invariant);
        Ok(["INV-1", "INV-2"].map(|invariant| (invariant, violations.values().filter(|of_sku| breaks(of_sku, invariant)).count())))
    }

    fn outbox(&self) -> Arc<dyn Outbox> {
        Arc::new(SqlOutbox(self.db.clone(), "inventory"))
    }
}
