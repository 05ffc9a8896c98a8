//! The SQL store of inboxes and deliveries.

use super::backend::{Backend, Conn, Db};
use super::events::inbox;
use super::list::{DeliveryPositions, InboxPositions, ListedDeliveries, ListedInbox};
use super::tables::{deliveries, notifications};
use crate::data::CachedQuery;
use crate::kernel::clock;
use crate::kernel::error::StoreError;
use crate::kernel::page::PageRequest;
use crate::modules::notification::api::{Delivery, DeliveryState, Notification};
use crate::modules::notification::store::types::{
    AttemptResult, Channel, ClaimFilter, DueDelivery, MAX_BACKOFF, NotificationStore, ProcessedEvent,
};
use async_trait::async_trait;
use diesel::dsl::{And, Eq, Filter};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use futures_util::future::LocalBoxFuture;
use std::sync::Arc;

#[derive(Queryable, Selectable)]
#[diesel(table_name = notifications, check_for_backend(Backend))]
struct NotificationRow {
    id: i64,
    kind: String,
    order_number: Option<String>,
    title: String,
    message: String,
    created_at: i64,
    read: bool,
}

impl From<NotificationRow> for Notification {
    fn from(row: NotificationRow) -> Self {
        let NotificationRow { id, kind, order_number, title, message, created_at, read } = row;
        Notification { id, kind, order_number, title, message, created_at: clock::rfc3339(created_at), read }
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = deliveries, check_for_backend(Backend))]
struct DeliveryRow {
    id: i64,
    channel: String,
    target: String,
    event_id: String,
    event_type: String,
    state: String,
    attempts: i64,
    last_error: Option<String>,
    next_attempt_at: Option<i64>,
}

impl TryFrom<DeliveryRow> for Delivery {
    type Error = StoreError;

    fn try_from(row: DeliveryRow) -> Result<Self, StoreError> {
        let DeliveryRow { id, channel, target, event_id, event_type, state, attempts, last_error, next_attempt_at } = row;
        let state =
            DeliveryState::by_name(&state).ok_or_else(|| StoreError::Internal(format!("delivery {id} has the unknown state {state}")))?;
        let next_attempt_at = next_attempt_at.map(clock::rfc3339);
        Ok(Delivery { id, channel, target, event_id, event_type, state, attempts, last_error, next_attempt_at })
    }
}

/// See [`NotificationStore`].
pub(in crate::modules::notification::store) struct Repo {
    db: Db,
    inboxes: Arc<InboxPositions>,
    deliveries: Arc<DeliveryPositions>,
}

impl Repo {
    pub(in crate::modules::notification::store) fn new(db: Db) -> Self {
        Self { db, inboxes: Arc::default(), deliveries: Arc::default() }
    }
}

/// Times of a next attempt that are due.
#[derive(Clone, Copy)]
enum DueRange {
    Past,
    /// Stored before the clock was set back.
    NotCredible,
}

/// Latest credible time of a next attempt; see [`clock::latest_end`].
fn latest_attempt(now: i64) -> i64 {
    clock::latest_end(now, MAX_BACKOFF.as_millis() as i64)
}

type IsPending = And<Eq<deliveries::id, i64>, Eq<deliveries::state, &'static str>>;

fn pending(id: i64) -> Filter<deliveries::table, IsPending> {
    deliveries::table.filter(deliveries::id.eq(id).and(deliveries::state.eq(DeliveryState::Pending.name())))
}

async fn apply_event(c: &mut Conn, processed: &ProcessedEvent) -> Result<(), StoreError> {
    if !inbox::mark_applied(c, &processed.event).await? {
        return Ok(());
    }
    let (event_id, now) = (processed.event.id.to_string(), clock::now_ms());
    if let Some(new) = &processed.notification {
        let row = (
            notifications::event_id.eq(&event_id),
            notifications::customer.eq(&new.customer),
            notifications::kind.eq(&processed.event.kind),
            notifications::order_number.eq(&new.order_number),
            notifications::title.eq(&new.title),
            notifications::message.eq(&new.message),
            notifications::created_at.eq(now),
            notifications::read.eq(false),
        );
        diesel::insert_into(notifications::table).values(row).execute(c).await?;
    }
    for new in &processed.deliveries {
        let row = (
            deliveries::event_id.eq(&event_id),
            deliveries::channel.eq(new.channel.name()),
            deliveries::target.eq(&new.target),
            deliveries::event_type.eq(&processed.event.kind),
            deliveries::body.eq(&new.body),
            deliveries::state.eq(DeliveryState::Pending.name()),
            deliveries::attempts.eq(0),
            deliveries::next_attempt_at.eq(now),
        );
        diesel::insert_into(deliveries::table).values(row).execute(c).await?;
    }
    Ok(())
}

#[async_trait(?Send)]
impl NotificationStore for Repo {
    async fn apply(&self, events: Vec<ProcessedEvent>) -> Result<(), StoreError> {
        self.db
            .write(async move |c| {
                for event in &events {
                    apply_event(c, event).await?;
                }
                Ok(())
            })
            .await
    }

    async fn page(&self, customer: &str, request: PageRequest) -> Result<(Vec<Notification>, i64), StoreError> {
        let (inbox, positions) = (ListedInbox(customer.to_string()), self.inboxes.clone());
        self.db
            .list(async move |c| {
                let slice = positions.page_newest_first(c, inbox.0.clone(), &inbox, request).await?;
                let page = inbox.after(slice.after).select(NotificationRow::as_select()).order(notifications::id).limit(slice.limit);
                let rows: Vec<NotificationRow> = CachedQuery(page).load(c).await?;
                Ok((rows.into_iter().rev().map(Notification::from).collect(), slice.total))
            })
            .await
    }

    async fn before(&self, customer: &str, id: i64, limit: i64) -> Result<Vec<Notification>, StoreError> {
        let customer = customer.to_string();
        self.db
            .list(async move |c| {
                let older = notifications::table.filter(notifications::customer.eq(&customer).and(notifications::id.lt(id)));
                let query = older.order(notifications::id.desc()).limit(limit).select(NotificationRow::as_select());
                let rows: Vec<NotificationRow> = query.load(c).await?;
                Ok(rows.into_iter().map(Notification::from).collect())
            })
            .await
    }

    async fn after(&self, customer: &str, id: i64, limit: i64) -> Result<Vec<Notification>, StoreError> {
        let customer = customer.to_string();
        self.db
            .read(async move |c| {
                let new = notifications::table.filter(notifications::customer.eq(&customer).and(notifications::id.gt(id)));
                let query = new.order(notifications::id).limit(limit).select(NotificationRow::as_select());
                let rows: Vec<NotificationRow> = query.load(c).await?;
                Ok(rows.into_iter().map(Notification::from).collect())
            })
            .await
    }

    async fn mark_read(&self, customer: &str, id: i64) -> Result<Option<Notification>, StoreError> {
        let customer = customer.to_string();
        self.db
            .write(async move |c| {
                let matching = || notifications::table.filter(notifications::id.eq(id).and(notifications::customer.eq(&customer)));
                diesel::update(matching()).set(notifications::read.eq(true)).execute(c).await?;
                let row: Option<NotificationRow> = matching().select(NotificationRow::as_select()).first(c).await.optional()?;
                Ok(row.map(Notification::from))
            })
            .await
    }

    async fn latest(&self) -> Result<i64, StoreError> {
        self.db
            .read(async |c| {
                let id: Option<i64> = notifications::table.select(diesel::dsl::max(notifications::id)).first(c).await?;
                Ok(id.unwrap_or(0))
            })
            .await
    }

    async fn customers_after(&self, id: i64, limit: i64) -> Result<Vec<(i64, String)>, StoreError> {
        self.db
            .read(async move |c| {
                let new = notifications::table.filter(notifications::id.gt(id)).order(notifications::id).limit(limit);
                Ok(new.select((notifications::id, notifications::customer)).load(c).await?)
            })
            .await
    }

    async fn deliveries(&self, request: PageRequest, state: Option<DeliveryState>) -> Result<(Vec<Delivery>, i64), StoreError> {
        let positions = self.deliveries.clone();
        self.db
            .list(async move |c| {
                let list = ListedDeliveries(state);
                let slice = positions.page_newest_first(c, state, &list, request).await?;
                let page = list.all().filter(deliveries::id.gt(slice.after)).order(deliveries::id).limit(slice.limit);
                let rows: Vec<DeliveryRow> = CachedQuery(page.select(DeliveryRow::as_select())).load(c).await?;
                Ok((rows.into_iter().rev().map(Delivery::try_from).collect::<Result<_, _>>()?, slice.total))
            })
            .await
    }

    async fn deliveries_before(&self, id: i64, limit: i64, state: Option<DeliveryState>) -> Result<Vec<Delivery>, StoreError> {
        self.db
            .list(async move |c| {
                let older = ListedDeliveries(state).all().filter(deliveries::id.lt(id)).order(deliveries::id.desc()).limit(limit);
                let rows: Vec<DeliveryRow> = CachedQuery(older.select(DeliveryRow::as_select())).load(c).await?;
                rows.into_iter().map(Delivery::try_from).collect()
            })
            .await
    }

    async fn delivery(&self, id: i64) -> Result<Option<Delivery>, StoreError> {
        self.db
            .read(async move |c| {
                let query = deliveries::table.find(id).select(DeliveryRow::as_select());
                let row: Option<DeliveryRow> = query.first(c).await.optional()?;
                row.map(Delivery::try_from).transpose()
            })
            .await
    }

    async fn replay(&self, id: i64, now: i64) -> Result<bool, StoreError> {
        self.db
            .write(async move |c| {
                let dead = deliveries::table.filter(deliveries::id.eq(id).and(deliveries::state.eq(DeliveryState::Dead.name())));
                let changes =
                    (deliveries::state.eq(DeliveryState::Pending.name()), deliveries::attempts.eq(0), deliveries::next_attempt_at.eq(now));
                Ok(diesel::update(dead).set(changes).execute(c).await? == 1)
            })
            .await
    }

    async fn due(&self, now: i64, filter: ClaimFilter, limit: i64) -> Result<Vec<DueDelivery>, StoreError> {
        self.db
            .read(async move |c| {
                let columns =
                    (deliveries::id, deliveries::event_id, deliveries::channel, deliveries::target, deliveries::body, deliveries::attempts);
                let mut rows: Vec<(i64, String, String, String, String, i64)> = Vec::new();
                // one query each: SQLite reads a range of the index for one comparison, but all pending rows for an OR of two
                for range in [DueRange::Past, DueRange::NotCredible] {
                    let mut query = deliveries::table
                        .filter(deliveries::state.eq(DeliveryState::Pending.name()))
                        .filter(deliveries::id.ne_all(&filter.excluded_ids))
                        .filter(deliveries::target.ne_all(&filter.excluded_webhooks))
                        .into_boxed();
                    query = match range {
                        DueRange::Past => query.filter(deliveries::next_attempt_at.le(now)),
                        DueRange::NotCredible => query.filter(deliveries::next_attempt_at.gt(latest_attempt(now))),
                    };
                    if filter.exclude_email {
                        query = query.filter(deliveries::channel.ne(Channel::Email.name()));
                    }
                    let query = query.order((deliveries::next_attempt_at, deliveries::id)).limit(limit - rows.len() as i64);
                    rows.extend(query.select(columns).load::<(i64, String, String, String, String, i64)>(c).await?);
                }
                let due = |(id, event_id, channel, target, body, attempts)| {
                    let channel = if channel == Channel::Email.name() { Channel::Email } else { Channel::Webhook };
                    DueDelivery { id, event_id, channel, target, body, attempts }
                };
                Ok(rows.into_iter().map(due).collect())
            })
            .await
    }

    async fn claim(&self, due: Vec<DueDelivery>, now: i64, until: i64) -> Result<Vec<DueDelivery>, StoreError> {
        self.db
            .write(async move |c| {
                let mut claimed = Vec::with_capacity(due.len());
                for delivery in &due {
                    let is_due = deliveries::next_attempt_at.le(now).or(deliveries::next_attempt_at.gt(latest_attempt(now)));
                    let claimable = pending(delivery.id).filter(deliveries::attempts.eq(delivery.attempts)).filter(is_due);
                    if diesel::update(claimable).set(deliveries::next_attempt_at.eq(until)).execute(c).await? == 1 {
                        claimed.push(delivery.clone());
                    }
                }
                Ok(claimed)
            })
            .await
    }

    async fn set_claim_end(&self, ids: Vec<i64>, until: i64) -> Result<(), StoreError> {
        self.db
            .write(async move |c| {
                for id in &ids {
                    diesel::update(pending(*id)).set(deliveries::next_attempt_at.eq(until)).execute(c).await?;
                }
                Ok(())
            })
            .await
    }

    async fn next_due(&self, now: i64) -> Result<Option<i64>, StoreError> {
        self.db
            .read(async move |c| {
                let later = deliveries::table
                    .filter(deliveries::state.eq(DeliveryState::Pending.name()))
                    .filter(deliveries::next_attempt_at.gt(now));
                Ok(later.select(diesel::dsl::min(deliveries::next_attempt_at)).first(c).await?)
            })
            .await
    }

    async fn record(&self, id: i64, attempts: i64, result: AttemptResult) -> Result<(), StoreError> {
        self.db
            .write(async move |c| {
                let (state, error, at) = match &result {
                    AttemptResult::Delivered => (DeliveryState::Delivered, None, None),
                    AttemptResult::Retry { error, at } => (DeliveryState::Pending, Some(error), Some(*at)),
                    AttemptResult::Dead { error } => (DeliveryState::Dead, Some(error), None),
                };
                let changes = (
                    deliveries::state.eq(state.name()),
                    deliveries::attempts.eq(attempts),
                    deliveries::last_error.eq(error),
                    deliveries::next_attempt_at.eq(at),
                );
                if result == AttemptResult::Delivered {
                    diesel::update(pending(id)).set(changes).execute(c).await?;
                    // delivered bodies are never sent again: delete the customer's data
                    diesel::update(deliveries::table.find(id)).set(deliveries::body.eq("")).execute(c).await?;
                } else {
                    diesel::update(pending(id).filter(deliveries::attempts.eq(attempts - 1))).set(changes).execute(c).await?;
                }
                Ok(())
            })
            .await
    }

    async fn count(&self, state: DeliveryState) -> Result<i64, StoreError> {
        self.db
            .read(async move |c| {
                let of_state = deliveries::table.filter(deliveries::state.eq(state.name()));
                Ok(of_state.count().get_result(c).await?)
            })
            .await
    }

    fn next_commit(&self) -> LocalBoxFuture<'_, ()> {
        Box::pin(self.db.next_commit())
    }
}
