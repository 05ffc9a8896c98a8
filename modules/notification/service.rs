//! The contract's implementation.

use super::api::{Delivery, DeliveryState, Notification, NotificationApi, NotificationError};
use super::delivery::masked;
use super::store::{Channel, NotificationStore};
use crate::kernel::clock;
use crate::kernel::page::{AfterId, Page, PageNumber, PageRequest, PageSize};
use crate::rpc::context::Cx;
use async_trait::async_trait;
use std::sync::Arc;

/// See [`NotificationApi`].
pub(super) struct NotificationService {
    store: Arc<dyn NotificationStore>,
}

impl NotificationService {
    pub(super) fn new(store: Arc<dyn NotificationStore>) -> Self {
        Self { store }
    }
}

/// Masks a customer's mail address: admins do not need it to diagnose deliveries.
fn mask_target(mut delivery: Delivery) -> Delivery {
    if delivery.channel == Channel::Email.name() {
        let masked = masked(&delivery.target);
        // mail servers often repeat the address in their errors
        delivery.last_error = delivery.last_error.map(|error| error.replace(&delivery.target, &masked));
        delivery.target = masked;
    }
    delivery
}

#[async_trait(?Send)]
impl NotificationApi for NotificationService {
    async fn list(
        &self,
        cx: &Cx,
        page: PageNumber,
        size: PageSize,
        after: Option<AfterId>,
    ) -> Result<Page<Notification>, NotificationError> {
        let customer = &cx.principal()?.subject;
        if let Some(AfterId(after)) = after {
            let request = PageRequest::following(page, size)?;
            let older = self.store.before(customer, after, i64::from(request.size) + 1).await?;
            return Ok(Page::from_one_more(request, older));
        }
        let request = PageRequest::of(page, size);
        let (notifications, total) = self.store.page(customer, request).await?;
        Ok(Page::new(request, notifications, total))
    }

    async fn mark_read(&self, cx: &Cx, id: i64) -> Result<Notification, NotificationError> {
        let marked = self.store.mark_read(&cx.principal()?.subject, id).await?;
        marked.ok_or(NotificationError::NotFound { id })
    }

    async fn deliveries(
        &self,
        _: &Cx,
        page: PageNumber,
        size: PageSize,
        state: Option<DeliveryState>,
        after: Option<AfterId>,
    ) -> Result<Page<Delivery>, NotificationError> {
        if let Some(AfterId(after)) = after {
            let request = PageRequest::following(page, size)?;
            let older = self.store.deliveries_before(after, i64::from(request.size) + 1, state).await?;
            return Ok(Page::from_one_more(request, older.into_iter().map(mask_target).collect()));
        }
        let request = PageRequest::of(page, size);
        let (deliveries, total) = self.store.deliveries(request, state).await?;
        Ok(Page::new(request, deliveries.into_iter().map(mask_target).collect(), total))
    }

    async fn replay(&self, _: &Cx, id: i64) -> Result<Delivery, NotificationError> {
        let replayed = self.store.replay(id, clock::now_ms()).await?;
        let Some(delivery) = self.store.delivery(id).await? else { return Err(NotificationError::DeliveryNotFound { id }) };
        if replayed { Ok(mask_target(delivery)) } else { Err(NotificationError::NotDead { id, state: delivery.state.name().into() }) }
    }
}
