//! The order store's contract: what every backend keeps and does.

use crate::data::Lease;
use crate::events::bus::Outbox;
use crate::kernel::error::StoreError;
use crate::kernel::money::Money;
use crate::kernel::page::PageRequest;
use crate::modules::inventory::api::StockCheck;
use crate::modules::order::api::{OrderLine, OrderStatus};
use crate::observe::trace::Trace;
use async_trait::async_trait;
use futures_util::future::LocalBoxFuture;
use std::sync::Arc;
use uuid::Uuid;

/// A checked order that is not stored yet.
#[derive(Debug, Clone)]
pub(in crate::modules::order) struct NewOrder {
    /// Chosen by us.
    pub(in crate::modules::order) number: Uuid,
    /// `sub` of the token.
    pub(in crate::modules::order) customer: String,
    /// Name for people.
    pub(in crate::modules::order) customer_name: String,
    /// For mail.
    pub(in crate::modules::order) email: Option<String>,
    /// At least one.
    pub(in crate::modules::order) lines: Vec<NewLine>,
    /// The caller's key, if one was sent.
    pub(in crate::modules::order) key: Option<Key>,
}

/// A checked line.
#[derive(Debug, Clone)]
pub(in crate::modules::order) struct NewLine {
    /// What.
    pub(in crate::modules::order) sku_code: String,
    /// How many, at least 1.
    pub(in crate::modules::order) quantity: i64,
    /// What one costs.
    pub(in crate::modules::order) price: Option<Money>,
}

/// An `Idempotency-Key` with what it was sent for.
#[derive(Debug, Clone)]
pub(in crate::modules::order) struct Key {
    /// Caller and route.
    pub(in crate::modules::order) scope: String,
    /// As sent.
    pub(in crate::modules::order) key: String,
    /// Of the request.
    pub(in crate::modules::order) fingerprint: String,
}

/// An order as it is kept.
#[derive(Debug, Clone)]
pub(in crate::modules::order) struct StoredOrder {
    pub(in crate::modules::order) id: i64,
    pub(in crate::modules::order) number: Uuid,
    pub(in crate::modules::order) customer: String,
    pub(in crate::modules::order) customer_name: String,
    pub(in crate::modules::order) email: Option<String>,
    pub(in crate::modules::order) status: OrderStatus,
    pub(in crate::modules::order) total: Money,
    /// Why it was rejected, where stock was the reason.
    pub(in crate::modules::order) reason: Option<StockCheck>,
    pub(in crate::modules::order) created_at: i64,
    pub(in crate::modules::order) hidden: bool,
    /// The step in which it was placed; none of orders from before there were traces.
    pub(in crate::modules::order) trace: Option<Trace>,
    pub(in crate::modules::order) lines: Vec<OrderLine>,
}

/// What became of the attempt to begin an order.
#[derive(Debug)]
pub(in crate::modules::order) enum Begun {
    /// It is stored.
    New(StoredOrder),
    /// The key was used for the same request, and this came of it.
    Ended(StoredOrder),
    /// The key's first request is under way.
    InFlight,
    /// The key was used for another request.
    OtherRequest,
}

/// What is still to be done with the reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::modules::order) enum Settle {
    /// Nothing.
    Nothing,
    /// It is to be committed.
    Commit,
    /// It is to be released.
    Release,
}

/// What became of the attempt to cancel.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::modules::order) enum Cancelled {
    /// Just now, by this call.
    Now,
    /// Earlier.
    Before,
    /// Not at all: it is in this state.
    Not(OrderStatus),
}

/// Orders that are not at their end.
#[derive(Debug, Clone, Copy)]
pub(in crate::modules::order) struct OpenEnds {
    /// How many are PENDING.
    pub(in crate::modules::order) pending: i64,
    /// When the oldest of them came, in milliseconds since 1970.
    pub(in crate::modules::order) oldest_pending: Option<i64>,
    /// How many have a reservation that is still to be committed or released.
    pub(in crate::modules::order) unsettled: i64,
}

impl OrderStatus {
    /// As it is kept and shown.
    pub(in crate::modules::order) fn text(self) -> &'static str {
        match self {
            OrderStatus::Pending => "PENDING",
            OrderStatus::Placed => "PLACED",
            OrderStatus::Rejected => "REJECTED",
            OrderStatus::Cancelled => "CANCELLED",
        }
    }
}

/// Orders. Each method is one transaction.
#[async_trait(?Send)]
pub(in crate::modules::order) trait OrderStore: Send + Sync {
    /// What a key stands for, if it was used.
    async fn known(&self, key: Key) -> Result<Option<Begun>, StoreError>;
    /// Stores an order as PENDING, or as REJECTED where the reason is known already.
    async fn begin(&self, new: NewOrder, total: Money, rejected: Option<StockCheck>, trace: Trace) -> Result<Begun, StoreError>;
    /// From PENDING to `order.status`; `false` where it was not PENDING any more. A rejection that is not
    /// about stock answers nothing for good: its key is free again.
    async fn end(&self, order: &StoredOrder, settle: Settle, trace: Trace) -> Result<bool, StoreError>;
    /// From PENDING to REJECTED without a reason of stock; `false` where it was not PENDING any more.
    async fn give_up(&self, order: &StoredOrder, trace: Trace) -> Result<bool, StoreError>;
    /// From PLACED to CANCELLED; with `hide`, off the lists as well.
    async fn cancel(&self, id: i64, hide: bool, trace: Trace) -> Result<Cancelled, StoreError>;
    /// One order.
    async fn get(&self, id: i64) -> Result<Option<StoredOrder>, StoreError>;
    /// One order by its number.
    async fn by_number(&self, number: Uuid) -> Result<Option<StoredOrder>, StoreError>;
    /// A page of placed and cancelled orders by id, of one customer or of all, and how many there are.
    async fn page(&self, request: PageRequest, customer: Option<String>) -> Result<(Vec<StoredOrder>, i64), StoreError>;
    /// PENDING orders whose lease has run out; their lease begins anew.
    async fn abandoned(&self) -> Result<Vec<StoredOrder>, StoreError>;
    /// Orders whose reservation is still to be committed or released, oldest first.
    async fn unsettled(&self) -> Result<Vec<(Uuid, Settle)>, StoreError>;
    /// Notes that these were done; what was decided otherwise meanwhile stays to be done.
    async fn settled(&self, done: Vec<(Uuid, Settle)>) -> Result<(), StoreError>;
    /// What is not at its end.
    async fn open_ends(&self) -> Result<OpenEnds, StoreError>;
    /// Forgets keys older than this; the answers to them are not kept for ever.
    async fn forget_keys(&self, hours: u64) -> Result<(), StoreError>;
    /// Waits for the next commit of this process. Register before looking at the data.
    fn committed(&self) -> LocalBoxFuture<'_, ()>;
    /// Our side of a lease of this name.
    fn lease(&self, name: &'static str) -> Lease;
    /// Its outbox.
    fn outbox(&self) -> Arc<dyn Outbox>;
}
