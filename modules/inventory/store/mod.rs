//! Stock and reservations in SQL. Each public method is one transaction.

mod reservations;
mod stock;

use super::api::{InventoryError, Quantities, Reservation, ReservationState, SettleInput, Stock, StockCheck};
use super::events::Cause;
use crate::platform::clock;
use crate::platform::cx::Trace;
use crate::platform::page::PageRequest;
use crate::platform::store::StoreError;
use crate::platform::store::sqlite::Db;
use diesel::prelude::*;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use std::path::Path;
use uuid::Uuid;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/inventory/sqlite");

mod tables {
    diesel::table! {
        stock (id) {
            id -> BigInt,
            sku_code -> Text,
            quantity -> BigInt,
            held -> BigInt,
            sold -> BigInt,
            received -> BigInt,
            removed -> Bool,
        }
    }
    diesel::table! {
        reservations (order_number) {
            order_number -> Text,
            state -> Text,
            lines -> Text,
            expires_at -> BigInt,
        }
    }
}

/// Reservations looked into at once.
const EXPIRED_BATCH: i64 = 100;

/// Where inventory keeps its data.
pub(super) struct StockStore {
    db: Db,
    low: i64,
    reservation_ms: i64,
}

/// A row of the stock table.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = tables::stock)]
pub(super) struct Row {
    id: i64,
    sku_code: String,
    quantity: i64,
    held: i64,
    sold: i64,
    received: i64,
}

impl From<Row> for Stock {
    fn from(row: Row) -> Self {
        debug_assert!(crate::invariants::conserved(row.quantity, row.held, row.sold, row.received), "INV-1 {row:?}");
        debug_assert!(row.quantity >= 0, "INV-2 {row:?}");
        Stock { id: row.id, sku_code: row.sku_code, quantity: row.quantity, held: row.held, sold: row.sold, received: row.received }
    }
}

impl StockStore {
    /// Opens or creates it; `low` is the threshold of `stock.low`.
    pub(super) fn open(path: &Path, low: i64, reservation_seconds: u64) -> Result<Self, StoreError> {
        let reservation_ms = i64::try_from(reservation_seconds.saturating_mul(1000)).unwrap_or(i64::MAX / 4);
        Ok(Self { db: Db::open(path, MIGRATIONS)?, low, reservation_ms })
    }

    /// The database, for its outbox.
    pub(super) fn db(&self) -> &Db {
        &self.db
    }

    /// A page by id, and how many rows there are.
    pub(super) async fn page(&self, request: PageRequest) -> Result<(Vec<Stock>, i64), StoreError> {
        self.db.read(async move |c| stock::page(c, request).await).await
    }

    /// One row.
    pub(super) async fn get(&self, id: i64) -> Result<Option<Stock>, StoreError> {
        self.db.read(async move |c| Ok(stock::find(c, id).await?.map(Stock::from))).await
    }

    /// Begins to keep stock of a SKU.
    pub(super) async fn create(&self, sku_code: String, quantity: i64, trace: Trace) -> Result<Stock, InventoryError> {
        self.db
            .write(async move |c| {
                let row = stock::create(c, &sku_code, quantity).await?;
                let moved = Quantities::from([(sku_code.clone(), quantity)]);
                stock::tell_changed(c, Cause::Adjusted, None, &moved, trace).await?;
                Ok(row.into())
            })
            .await
    }

    /// Adds to a quantity, or takes away.
    pub(super) async fn adjust(&self, id: i64, amount: i64, trace: Trace) -> Result<Stock, InventoryError> {
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

    /// Sells pieces outside the order path, all or none.
    pub(super) async fn take(&self, sold: Quantities, trace: Trace) -> Result<Vec<Stock>, InventoryError> {
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

    /// Stops keeping stock of a SKU; its history stays, so that returns still add up.
    pub(super) async fn remove(&self, id: i64, trace: Trace) -> Result<(), InventoryError> {
        self.db
            .write(async move |c| {
                let row = stock::remove(c, id).await?;
                let moved = Quantities::from([(row.sku_code, -row.quantity)]);
                stock::tell_changed(c, Cause::Removed, None, &moved, trace).await?;
                Ok(())
            })
            .await
    }

    /// Says of each SKU whether there is enough.
    pub(super) async fn check(&self, wanted: Quantities) -> Result<StockCheck, StoreError> {
        self.db.read(async move |c| Ok(stock::classify(&stock::rows(c, &wanted).await?, &wanted))).await
    }

    /// Holds all lines or none; again for the same order answers where its reservation stands.
    pub(super) async fn reserve(&self, order: Uuid, lines: Quantities, trace: Trace) -> Result<Reservation, StoreError> {
        let (low, expires_at) = (self.low, clock::now_ms() + self.reservation_ms);
        self.db.write(async move |c| reservations::reserve(c, order, &lines, expires_at, low, trace).await).await
    }

    /// Held becomes sold.
    pub(super) async fn commit(&self, order: Uuid) -> Result<ReservationState, InventoryError> {
        self.db.write(async move |c| reservations::commit(c, order).await).await
    }

    /// Held or sold comes back; an order never heard of is remembered, so that a late reservation is refused.
    pub(super) async fn release(&self, order: Uuid, trace: Trace) -> Result<ReservationState, StoreError> {
        self.db.write(async move |c| reservations::release(c, order, trace).await).await
    }

    /// Many at once; answers those that stand as asked.
    pub(super) async fn settle(&self, orders: SettleInput, trace: Trace) -> Result<Vec<Uuid>, StoreError> {
        self.db
            .write(async move |c| {
                let mut settled = Vec::new();
                for order in &orders.commit {
                    match reservations::commit(c, *order).await {
                        Ok(_) => settled.push(*order),
                        Err(InventoryError::Platform(problem)) => return Err(StoreError::Broken(problem.message)),
                        Err(cause) => tracing::error!(order_number = %order, %cause, "reservation not committed"),
                    }
                }
                for order in &orders.release {
                    reservations::release(c, *order, trace).await?;
                    settled.push(*order);
                }
                Ok(settled)
            })
            .await
    }

    /// Orders whose reservation is held beyond its time, oldest first.
    pub(super) async fn expired(&self) -> Result<Vec<Uuid>, StoreError> {
        let now = clock::now_ms();
        self.db.read(async move |c| reservations::expired(c, now, EXPIRED_BATCH).await).await
    }

    /// Gives a reservation another term.
    pub(super) async fn extend(&self, order: Uuid) -> Result<(), StoreError> {
        let until = clock::now_ms() + self.reservation_ms;
        self.db.write(async move |c| reservations::extend(c, order, until).await).await
    }
}
