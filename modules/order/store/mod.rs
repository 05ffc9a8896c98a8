//! Orders in SQL. Each public method is one transaction.

mod rows;

use super::api::{OrderLine, OrderStatus};
use super::events;
use crate::platform::clock;
use crate::platform::cx::Trace;
use crate::platform::money::Money;
use crate::platform::outbox;
use crate::platform::page::PageRequest;
use crate::platform::store::StoreError;
use crate::platform::store::sqlite::Db;
use crate::shop::inventory::api::StockCheck;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use std::path::Path;
use uuid::Uuid;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/order/sqlite");

/// Orders recovered at once, and settled at once.
const BATCH: i64 = 200;

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

/// Where order keeps its data.
pub(super) struct OrderStore {
    db: Db,
    lease_ms: i64,
}

impl OrderStore {
    /// Opens or creates it; a PENDING order is left alone for the lease.
    pub(super) fn open(path: &Path, lease_seconds: u64) -> Result<Self, StoreError> {
        let lease_ms = i64::try_from(lease_seconds.saturating_mul(1000)).unwrap_or(i64::MAX / 4);
        Ok(Self { db: Db::open(path, MIGRATIONS)?, lease_ms })
    }

    /// The database, for its outbox.
    pub(super) fn db(&self) -> &Db {
        &self.db
    }

    /// What a key stands for, if it was used.
    pub(super) async fn known(&self, key: Key) -> Result<Option<Begun>, StoreError> {
        self.db.read(async move |c| rows::known(c, &key).await).await
    }

    /// Stores an order as PENDING, or as REJECTED where the reason is known already.
    pub(super) async fn begin(&self, new: NewOrder, total: Money, rejected: Option<StockCheck>, trace: Trace) -> Result<Begun, StoreError> {
        let (now, lease_until) = (clock::now_ms(), clock::now_ms() + self.lease_ms);
        self.db
            .write(async move |c| {
                if let Some(key) = &new.key
                    && let Some(begun) = rows::known(c, key).await?
                {
                    return Ok(begun);
                }
                let order = rows::insert(c, &new, total, rejected.clone(), now, lease_until).await?;
                if let Some(key) = &new.key {
                    rows::remember(c, key, order.id, now).await?;
                }
                if rejected.is_some() {
                    let event = events::about(&order, events::REJECTED, Some("stock"), trace)?;
                    outbox::append(c, &event).await?;
                }
                Ok(Begun::New(order))
            })
            .await
    }

    /// From PENDING to `order.status`; `false` where it was not PENDING any more. A rejection that is not
    /// about stock answers nothing for good: its key is free again.
    pub(super) async fn end(&self, order: &StoredOrder, settle: Settle, trace: Trace) -> Result<bool, StoreError> {
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

    /// From PENDING to REJECTED without a reason of stock.
    pub(super) async fn give_up(&self, order: &StoredOrder, trace: Trace) -> Result<(), StoreError> {
        let order = StoredOrder { status: OrderStatus::Rejected, reason: None, ..order.clone() };
        self.end(&order, Settle::Release, trace).await.map(drop)
    }

    /// From PLACED to CANCELLED; with `hide`, off the lists as well.
    pub(super) async fn cancel(&self, id: i64, hide: bool, trace: Trace) -> Result<Cancelled, StoreError> {
        self.db
            .write(async move |c| {
                let Some(order) = rows::by_id(c, id).await? else { return Ok(Cancelled::Not(OrderStatus::Rejected)) };
                if hide && order.status != OrderStatus::Pending {
                    rows::hide(c, id).await?;
                }
                match order.status {
                    OrderStatus::Placed => {
                        rows::cancel(c, id).await?;
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

    /// One order.
    pub(super) async fn get(&self, id: i64) -> Result<Option<StoredOrder>, StoreError> {
        self.db.read(async move |c| rows::by_id(c, id).await).await
    }

    /// One order by its number.
    pub(super) async fn by_number(&self, number: Uuid) -> Result<Option<StoredOrder>, StoreError> {
        self.db.read(async move |c| rows::by_number(c, number).await).await
    }

    /// A page of placed and cancelled orders by id, of one customer or of all, and how many there are.
    pub(super) async fn page(&self, request: PageRequest, customer: Option<String>) -> Result<(Vec<StoredOrder>, i64), StoreError> {
        self.db.read(async move |c| rows::page(c, request, customer.as_deref()).await).await
    }

    /// PENDING orders whose lease has run out; their lease begins anew.
    pub(super) async fn abandoned(&self) -> Result<Vec<StoredOrder>, StoreError> {
        let (now, lease_ms) = (clock::now_ms(), self.lease_ms);
        if self.db.read(async move |c| rows::abandoned(c, now, 1).await).await?.is_empty() {
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

    /// Orders whose reservation is still to be committed or released, oldest first.
    pub(super) async fn unsettled(&self) -> Result<Vec<(Uuid, Settle)>, StoreError> {
        self.db.read(async |c| rows::unsettled(c, BATCH).await).await
    }

    /// Notes that these were done; what was decided otherwise meanwhile stays to be done.
    pub(super) async fn settled(&self, done: Vec<(Uuid, Settle)>) -> Result<(), StoreError> {
        self.db.write(async move |c| rows::settled(c, &done).await).await
    }

    /// How many orders are PENDING, and how many are unsettled.
    pub(super) async fn open_ends(&self) -> Result<(i64, i64), StoreError> {
        self.db.read(async |c| rows::open_ends(c).await).await
    }

    /// Forgets keys older than this; the answers to them are not kept for ever.
    pub(super) async fn forget_keys(&self, hours: u64) -> Result<(), StoreError> {
        let before = clock::now_ms() - i64::try_from(hours.saturating_mul(3_600_000)).unwrap_or(i64::MAX / 4);
        self.db.write(async move |c| rows::forget_keys(c, before).await).await
    }
}
