//! The store's interface and the types it shares with its backends.

use crate::events::bus::Outbox;
use crate::kernel::error::StoreError;
use crate::kernel::page::PageRequest;
use crate::modules::inventory::api::{InventoryError, Quantities, Reservation, ReservationState, SettleInput, Stock, StockCheck};
use crate::observe::trace::Trace;
use async_trait::async_trait;
use diesel::QueryableByName;
use diesel::sql_types::BigInt;
use std::sync::Arc;
use uuid::Uuid;

/// Largest quantity of a SKU: the contract's clients read 32-bit integers.
pub(in crate::modules::inventory) const MAX_QUANTITY: i64 = i32::MAX as i64;

impl From<diesel::result::Error> for InventoryError {
    fn from(error: diesel::result::Error) -> Self {
        StoreError::from(error).into()
    }
}

/// Totals over all SKUs.
#[derive(Debug, Clone, Copy, QueryableByName)]
pub(in crate::modules::inventory) struct Levels {
    /// SKUs above the threshold of `stock.low`.
    #[diesel(sql_type = BigInt)]
    pub(in crate::modules::inventory) available: i64,
    /// SKUs at or below the threshold, but above 0.
    #[diesel(sql_type = BigInt)]
    pub(in crate::modules::inventory) low: i64,
    /// SKUs without pieces.
    #[diesel(sql_type = BigInt)]
    pub(in crate::modules::inventory) out_of_stock: i64,
    /// Pieces that can be ordered.
    #[diesel(sql_type = BigInt)]
    pub(in crate::modules::inventory) quantity: i64,
    #[diesel(sql_type = BigInt)]
    pub(in crate::modules::inventory) held: i64,
    /// Pieces sold, also of removed SKUs.
    #[diesel(sql_type = BigInt)]
    pub(in crate::modules::inventory) sold: i64,
}

/// Stock and reservations. Each method is one transaction.
#[async_trait(?Send)]
pub(in crate::modules::inventory) trait StockStore: Send + Sync {
    /// A page ordered by id, and the total number of rows.
    async fn page(&self, request: PageRequest) -> Result<(Vec<Stock>, i64), StoreError>;
    /// Up to `count` rows after this id.
    async fn following(&self, after: i64, count: u32) -> Result<Vec<Stock>, StoreError>;
    async fn get(&self, id: i64) -> Result<Option<Stock>, StoreError>;
    async fn create(&self, sku_code: String, quantity: i64, trace: Trace) -> Result<Stock, InventoryError>;
    /// Adds to a quantity; a negative amount subtracts.
    async fn adjust(&self, id: i64, amount: i64, trace: Trace) -> Result<Stock, InventoryError>;
    /// Sells pieces outside the order path, all or none.
    async fn take(&self, sold: Quantities, trace: Trace) -> Result<Vec<Stock>, InventoryError>;
    /// Removes a SKU from stock. The row stays, so that later returns conserve stock.
    async fn remove(&self, id: i64, trace: Trace) -> Result<(), InventoryError>;
    async fn check(&self, wanted: Quantities) -> Result<StockCheck, StoreError>;
    /// Holds all lines or none. Repeated for the same order, returns the reservation's state.
    async fn reserve(&self, order: Uuid, lines: Quantities, trace: Trace) -> Result<Reservation, StoreError>;
    /// Moves held pieces to sold.
    async fn commit(&self, order: Uuid) -> Result<ReservationState, InventoryError>;
    /// Returns held or sold pieces to stock. Records unknown orders as released, so that a late reservation is
    /// rejected.
    async fn release(&self, order: Uuid, trace: Trace) -> Result<ReservationState, StoreError>;
    /// Commits and releases many reservations; returns the orders that have the requested state.
    async fn settle(&self, orders: SettleInput, trace: Trace) -> Result<Vec<Uuid>, StoreError>;
    /// Orders with expired reservations, oldest first.
    async fn expired(&self) -> Result<Vec<Uuid>, StoreError>;
    /// Restarts a reservation's time limit.
    async fn extend(&self, order: Uuid) -> Result<(), StoreError>;
    async fn levels(&self) -> Result<Levels, StoreError>;
    /// Number of SKUs that violate INV-1 and INV-2. `sold` is not compared with the COMMITTED reservations: they are many.
    async fn count_broken(&self) -> Result<[(&'static str, usize); 2], StoreError>;
    fn outbox(&self) -> Arc<dyn Outbox>;
}
