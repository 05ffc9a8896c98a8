//! Where order keeps its data.

/// Written once, compiled once a backend.
#[cfg(feature = "sqlite")]
#[path = "sql"]
mod sqlite {
    use crate::data::sqlite as backend;
    use crate::events::sqlite as events;
    pub(super) mod repo;
    mod rows;
}
/// The same on MySQL.
#[cfg(feature = "mysql")]
#[path = "sql"]
#[allow(clippy::duplicate_mod, reason = "once a backend")]
mod mysql {
    use crate::data::mysql as backend;
    use crate::events::mysql as events;
    pub(super) mod repo;
    mod rows;
}

use super::api::{OrderLine, OrderStatus};
use crate::data::{Lease, SqlDb, SqlStore};
use crate::events::bus::Outbox;
use crate::kernel::error::StartError;
use crate::kernel::error::StoreError;
use crate::kernel::money::Money;
use crate::kernel::page::PageRequest;
use crate::modules::inventory::api::StockCheck;
use crate::observe::trace::Trace;
use crate::runtime::Parts;
use crate::settings::Settings;
use async_trait::async_trait;
use diesel_migrations::embed_migrations;
use futures_util::future::LocalBoxFuture;
use prometheus::Registry;
use std::sync::Arc;
use uuid::Uuid;

/// The store's setting and migrations.
pub const STORE: SqlStore = SqlStore {
    module: "order",
    setting: &["order.store"],
    #[cfg(feature = "sqlite")]
    sqlite: embed_migrations!("migrations/order/sqlite"),
    #[cfg(feature = "mysql")]
    mysql: embed_migrations!("migrations/order/mysql"),
};

/// Opens the store where settings say.
pub(super) fn open(settings: &Settings, metrics: &Registry, parts: &mut Parts) -> Result<Arc<dyn OrderStore>, StartError> {
    let (db, renewal) = STORE.open(settings, metrics)?;
    parts.renewal(renewal);
    Ok(match db {
        #[cfg(feature = "sqlite")]
        SqlDb::Sqlite(db) => Arc::new(sqlite::repo::Repo::on(db, settings.order.lease_seconds)),
        #[cfg(feature = "mysql")]
        SqlDb::MySql(db) => Arc::new(mysql::repo::Repo::on(db, settings.order.lease_seconds)),
    })
}

/// A checked order that is not stored yet.
#[derive(Debug, Clone)]
pub(super) struct NewOrder {
    /// Chosen by us.
    pub(super) number: Uuid,
    /// `sub` of the token.
    pub(super) customer: String,
    /// Name for people.
    pub(super) customer_name: String,
    /// For mail.
    pub(super) email: Option<String>,
    /// At least one.
    pub(super) lines: Vec<NewLine>,
    /// The caller's key, if one was sent.
    pub(super) key: Option<Key>,
}

/// A checked line.
#[derive(Debug, Clone)]
pub(super) struct NewLine {
    /// What.
    pub(super) sku_code: String,
    /// How many, at least 1.
    pub(super) quantity: i64,
    /// What one costs.
    pub(super) price: Option<Money>,
}

/// An `Idempotency-Key` with what it was sent for.
#[derive(Debug, Clone)]
pub(super) struct Key {
    /// Caller and route.
    pub(super) scope: String,
    /// As sent.
    pub(super) key: String,
    /// Of the request.
    pub(super) fingerprint: String,
}

/// An order as it is kept.
#[derive(Debug, Clone)]
pub(super) struct StoredOrder {
    pub(super) id: i64,
    pub(super) number: Uuid,
    pub(super) customer: String,
    pub(super) customer_name: String,
    pub(super) email: Option<String>,
    pub(super) status: OrderStatus,
    pub(super) total: Money,
    /// Why it was rejected, where stock was the reason.
    pub(super) reason: Option<StockCheck>,
    pub(super) created_at: i64,
    pub(super) hidden: bool,
    /// The step in which it was placed; none of orders from before there were traces.
    pub(super) trace: Option<Trace>,
    pub(super) lines: Vec<OrderLine>,
}

/// What became of the attempt to begin an order.
#[derive(Debug)]
pub(super) enum Begun {
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
pub(super) enum Settle {
    /// Nothing.
    Nothing,
    /// It is to be committed.
    Commit,
    /// It is to be released.
    Release,
}

/// What became of the attempt to cancel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cancelled {
    /// Just now, by this call.
    Now,
    /// Earlier.
    Before,
    /// Not at all: it is in this state.
    Not(OrderStatus),
}

/// Orders that are not at their end.
#[derive(Debug, Clone, Copy)]
pub(super) struct OpenEnds {
    /// How many are PENDING.
    pub(super) pending: i64,
    /// When the oldest of them came, in milliseconds since 1970.
    pub(super) oldest_pending: Option<i64>,
    /// How many have a reservation that is still to be committed or released.
    pub(super) unsettled: i64,
}

impl OrderStatus {
    /// As it is kept and shown.
    pub(super) fn text(self) -> &'static str {
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
pub(super) trait OrderStore: Send + Sync {
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
