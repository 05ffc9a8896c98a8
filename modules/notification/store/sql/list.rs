//! The lists of notifications and of deliveries, by the ids in their indexes.

use super::backend::{Backend, Conn};
use super::tables::{deliveries, notifications};
use crate::data::{CachedQuery, IdList, ListPositions};
use crate::kernel::error::StoreError;
use crate::modules::notification::api::DeliveryState;
use async_trait::async_trait;
use diesel::dsl::count_star;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

/// By customer.
pub(super) type InboxPositions = ListPositions<String>;
/// By state; `None` is the list of all deliveries.
pub(super) type DeliveryPositions = ListPositions<Option<DeliveryState>>;

/// A customer's notifications; the index `notifications_customer` covers them.
pub(super) struct ListedInbox(pub(super) String);

impl ListedInbox {
    pub(super) fn after(&self, id: i64) -> notifications::BoxedQuery<'static, Backend> {
        notifications::table.filter(notifications::customer.eq(self.0.clone())).filter(notifications::id.gt(id)).into_boxed()
    }
}

#[async_trait(?Send)]
impl IdList<Conn> for ListedInbox {
    async fn id_after(&self, c: &mut Conn, id: i64, skip: i64) -> Result<Option<i64>, StoreError> {
        let query = self.after(id).select(notifications::id).order(notifications::id).limit(1).offset(skip);
        Ok(CachedQuery(query).get_result(c).await.optional()?)
    }

    async fn count_after(&self, c: &mut Conn, id: i64) -> Result<i64, StoreError> {
        Ok(CachedQuery(self.after(id).select(count_star())).get_result(c).await?)
    }
}

/// Deliveries in one state, or all; the index `deliveries_state` covers them.
pub(super) struct ListedDeliveries(pub(super) Option<DeliveryState>);

impl ListedDeliveries {
    pub(super) fn all(&self) -> deliveries::BoxedQuery<'static, Backend> {
        match self.0 {
            Some(state) => deliveries::table.filter(deliveries::state.eq(state.name())).into_boxed(),
            None => deliveries::table.into_boxed(),
        }
    }
}

#[async_trait(?Send)]
impl IdList<Conn> for ListedDeliveries {
    async fn id_after(&self, c: &mut Conn, id: i64, skip: i64) -> Result<Option<i64>, StoreError> {
        let query = self.all().filter(deliveries::id.gt(id)).select(deliveries::id).order(deliveries::id).limit(1).offset(skip);
        Ok(CachedQuery(query).get_result(c).await.optional()?)
    }

    async fn count_after(&self, c: &mut Conn, id: i64) -> Result<i64, StoreError> {
        Ok(CachedQuery(self.all().filter(deliveries::id.gt(id)).select(count_star())).get_result(c).await?)
    }
}
