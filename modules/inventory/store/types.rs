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

/// Stock of all SKUs, in sums.
#[derive(Debug, Clone, Copy, QueryableByName)]
pub(in crate::modules::inventory) struct Levels {
    /// SKUs of which there are more pieces than the threshold of `stock.low`.
    #[diesel(sql_type = BigInt)]
    pub(in crate::modules::inventory) available: i64,
    /// SKUs of which there are some, but no more than that.
    #[diesel(sql_type = BigInt)]
    pub(in crate::modules::inventory) low: i64,
    /// SKUs of which there are none.
    #[diesel(sql_type = BigInt)]
    pub(in crate::modules::inventory) none_left: i64,
    /// Pieces that can be ordered.
    #[diesel(sql_type = BigInt)]
    pub(in crate::modules::inventory) quantity: i64,
    /// Pieces that are reserved.
    #[diesel(sql_type = BigInt)]
    pub(in crate::modules::inventory) held: i64,
    /// Pieces that are sold, also of SKUs that are no longer kept.
    #[diesel(sql_type = BigInt)]
    pub(in crate::modules::inventory) sold: i64,
    /// SKUs that break INV-1: quantity + held + sold is not what was received.
    #[diesel(sql_type = BigInt)]
    pub(in crate::modules::inventory) not_conserved: i64,
    /// SKUs that break INV-2: a quantity below zero.
    #[diesel(sql_type = BigInt)]
    pub(in crate::modules::inventory) negative: i64,
}

/// Stock and reservations. Each method is one transaction.
#[async_trait(?Send)]
pub(in crate::modules::inventory) trait StockStore: Send + Sync {
    /// A page by id, and how many rows there are.
    async fn page(&self, request: PageRequest) -> Result<(Vec<Stock>, i64), StoreError>;
    /// One row.
    async fn get(&self, id: i64) -> Result<Option<Stock>, StoreError>;
    /// Begins to keep stock of a SKU.
    async fn create(&self, sku_code: String, quantity: i64, trace: Trace) -> Result<Stock, InventoryError>;
    /// Adds to a quantity, or takes away.
    async fn adjust(&self, id: i64, amount: i64, trace: Trace) -> Result<Stock, InventoryError>;
    /// Sells pieces outside the order path, all or none.
    async fn take(&self, sold: Quantities, trace: Trace) -> Result<Vec<Stock>, InventoryError>;
    /// Stops keeping stock of a SKU; its history stays, so that returns still add up.
    async fn remove(&self, id: i64, trace: Trace) -> Result<(), InventoryError>;
    /// Says of each SKU whether there is enough.
    async fn check(&self, wanted: Quantities) -> Result<StockCheck, StoreError>;
    /// Holds all lines or none; again for the same order answers where its reservation stands.
    async fn reserve(&self, order: Uuid, lines: Quantities, trace: Trace) -> Result<Reservation, StoreError>;
    /// Held becomes sold.
    async fn commit(&self, order: Uuid) -> Result<ReservationState, InventoryError>;
    /// Held or sold comes back; an order never heard of is remembered, so that a late reservation is refused.
    async fn release(&self, order: Uuid, trace: Trace) -> Result<ReservationState, StoreError>;
    /// Many at once; answers those that stand as asked.
    async fn settle(&self, orders: SettleInput, trace: Trace) -> Result<Vec<Uuid>, StoreError>;
    /// Orders whose reservation is held beyond its time, oldest first.
    async fn expired(&self) -> Result<Vec<Uuid>, StoreError>;
    /// Gives a reservation another term.
    async fn extend(&self, order: Uuid) -> Result<(), StoreError>;
    /// How much there is of everything.
    async fn levels(&self) -> Result<Levels, StoreError>;
    /// Its outbox.
    fn outbox(&self) -> Arc<dyn Outbox>;
}
