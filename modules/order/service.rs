//! Order's API: validation, ownership, idempotency keys. [`super::placing`] places the orders.

use super::api::{LineInput, Order, OrderApi, OrderError, OrderInput, OrderStatus};
use super::metrics::Outcome;
use super::placing::{OrderPath, first_response};
use super::store::{BeginOutcome, CancelOutcome, IdempotencyKey, NewLine, NewOrder, OrderPage, StoredOrder};
use crate::kernel::page::{AfterId, Page, PageNumber, PageRequest, PageSize};
use crate::kernel::problem::{FieldError, Problem};
use crate::kernel::sku;
use crate::modules::contracts::inventory::Quantities;
use crate::observe::trace;
use crate::observe::trace::Trace;
use crate::rpc::context::{Caller, Cx, Principal};
use crate::rpc::contract::Text;
use async_trait::async_trait;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use uuid::Uuid;

/// Clients of the contract read 32-bit integers.
const MAX_QUANTITY: i64 = i32::MAX as i64;
/// Stripe's limit, recommended by the IETF draft `Idempotency-Key`.
const MAX_KEY_LEN: usize = 255;
/// A page of up to this many orders, the default of `size`, is never refused, however many lines they have.
const NEVER_REFUSED: usize = 10;

pub(super) struct OrderService {
    path: Arc<OrderPath>,
    max_lines: usize,
}

impl OrderService {
    pub(super) fn new(path: Arc<OrderPath>, max_lines: usize) -> Self {
        Self { path, max_lines }
    }

    /// The error lists every invalid field.
    fn validate(&self, order: OrderInput) -> Result<Vec<NewLine>, Problem> {
        let items = order.order_line_items.unwrap_or_default();
        if items.is_empty() || items.len() > self.max_lines {
            return Err(Problem::invalid_field("orderLineItems", format!("is required, 1 to {} lines", self.max_lines)));
        }
        let mut errors = Vec::new();
        let mut lines = Vec::with_capacity(items.len());
        for (i, LineInput { sku_code, quantity }) in items.into_iter().enumerate() {
            let sku_code = sku::required(sku_code, &format!("orderLineItems[{i}].skuCode"), &mut errors);
            match quantity {
                Some(quantity) if (1..=MAX_QUANTITY).contains(&quantity) => lines.push(NewLine { sku_code, quantity, price: None }),
                _ => errors.push(FieldError::new(
                    format!("orderLineItems[{i}].quantity"),
                    format!("is required, a whole number from 1 to {MAX_QUANTITY}"),
                )),
            }
        }
        let mut sums = Quantities::new();
        for line in &lines {
            let sum = sums.entry(line.sku_code.clone()).or_default();
            *sum += line.quantity;
            if *sum > MAX_QUANTITY {
                errors
                    .push(FieldError::new("orderLineItems", format!("the lines of {} add up to more than {MAX_QUANTITY}", line.sku_code)));
            }
        }
        if errors.is_empty() { Ok(lines) } else { Err(Problem::invalid(errors)) }
    }

    /// Bounds the memory of a list.
    fn max_lines_per_page(&self) -> i64 {
        i64::try_from(self.max_lines.saturating_mul(NEVER_REFUSED)).unwrap_or(i64::MAX)
    }

    /// Customer whose orders the caller may access; `None` for all customers.
    fn visible_customer(cx: &Cx) -> Result<Option<String>, Problem> {
        match &cx.caller {
            Caller::Module(_) => Ok(None),
            _ if cx.has_role("admin") => Ok(None),
            _ => Ok(Some(cx.principal()?.subject.clone())),
        }
    }

    async fn find(&self, cx: &Cx, id: i64) -> Result<StoredOrder, OrderError> {
        let visible = Self::visible_customer(cx)?;
        let order = self.path.store.get(id).await?.filter(|o| !o.hidden && visible.as_ref().is_none_or(|customer| *customer == o.customer));
        order.ok_or(OrderError::NotFound { id })
    }

    async fn cancel_order(&self, cx: &Cx, id: i64, hide: bool) -> Result<StoredOrder, OrderError> {
        let order = self.find(cx, id).await?;
        match self.path.store.cancel(id, hide, cx.trace).await? {
            CancelOutcome::Cancelled => {
                let own = cx.principal().is_ok_and(|principal| principal.subject == order.customer);
                self.path.metrics.record(if own { Outcome::CancelledByCustomer } else { Outcome::CancelledByAdmin });
                self.path.release_stock(cx, order.number).await;
                Ok(StoredOrder { status: OrderStatus::Cancelled, ..order })
            }
            CancelOutcome::AlreadyCancelled => Ok(StoredOrder { status: OrderStatus::Cancelled, ..order }),
            CancelOutcome::NotCancellable(OrderStatus::Rejected) if hide => Ok(order),
            CancelOutcome::NotCancellable(status) => Err(OrderError::NotCancellable { id, state: status.text().into() }),
        }
    }
}

fn parse_key(header: Option<String>, principal: &Principal, lines: &[NewLine]) -> Result<Option<IdempotencyKey>, Problem> {
    let Some(key) = header else { return Ok(None) };
    // some databases ignore a trailing space in comparisons, and most HTTP intermediaries trim header values
    if key.is_empty() || key.len() > MAX_KEY_LEN || !key.bytes().all(|b| (0x20..0x7f).contains(&b)) || key.trim() != key {
        return Err(Problem::invalid_field("Idempotency-Key", format!("expected 1 to {MAX_KEY_LEN} printable ASCII characters")));
    }
    let fingerprint = fingerprint(lines.iter().map(|line| (line.sku_code.as_str(), line.quantity)));
    Ok(Some(IdempotencyKey { scope: key_scope(&principal.subject), key, fingerprint }))
}

/// Hash of the lines of a request, in their order.
pub(super) fn fingerprint<'a>(lines: impl Iterator<Item = (&'a str, i64)>) -> String {
    let mut hash = Sha256::new();
    for (sku_code, quantity) in lines {
        hash.update((sku_code.len() as u64).to_le_bytes());
        hash.update(sku_code);
        hash.update(quantity.to_le_bytes());
    }
    hex::encode(hash.finalize())
}

/// The scope of a customer's idempotency keys.
pub(super) fn key_scope(customer: &str) -> String {
    format!("POST /api/v1/orders {customer}")
}

#[async_trait(?Send)]
impl OrderApi for OrderService {
    async fn list(&self, cx: &Cx, page: PageNumber, size: PageSize, after: Option<AfterId>) -> Result<Page<Order>, OrderError> {
        let (store, customer, max_lines) = (&self.path.store, Self::visible_customer(cx)?, self.max_lines_per_page());
        let shown = |orders: Vec<StoredOrder>| orders.into_iter().map(|order| to_api(cx, order)).collect();
        if let Some(AfterId(after)) = after {
            let request = PageRequest::following(page, size)?;
            let (orders, more) = store.following(after, request.size.into(), customer, max_lines).await?;
            return Ok(Page::following(request, shown(orders), more));
        }
        let request = PageRequest::of(page, size);
        // the limit of an order may have been higher when these were placed
        let limit = (request.size as usize > NEVER_REFUSED).then_some(max_lines);
        let OrderPage { orders, total, cut } = store.page(request, customer, limit).await?;
        if cut {
            // a shorter page would hide orders: clients request the next one by its number
            let error = format!("its orders have more than {max_lines} lines; request up to {NEVER_REFUSED} orders, or pages by after");
            return Err(Problem::invalid_field("size", error).into());
        }
        Ok(Page::new(request, shown(orders), total))
    }

    async fn get(&self, cx: &Cx, id: i64) -> Result<Order, OrderError> {
        self.find(cx, id).await.map(|order| to_api(cx, order))
    }

    async fn by_number(&self, cx: &Cx, order_number: Uuid) -> Result<Order, OrderError> {
        let visible = Self::visible_customer(cx)?;
        let found = self.path.store.by_number(order_number).await?;
        let own = found.filter(|o| !o.hidden && visible.as_ref().is_none_or(|customer| *customer == o.customer));
        own.map(|order| to_api(cx, order)).ok_or(OrderError::UnknownNumber { order_number })
    }

    async fn status_of(&self, _: &Cx, order_number: Uuid) -> Result<OrderStatus, OrderError> {
        let found = self.path.store.by_number(order_number).await?;
        found.map(|o| o.status).ok_or(OrderError::UnknownNumber { order_number })
    }

    async fn place(&self, cx: &Cx, idempotency_key: Option<String>, order: OrderInput) -> Result<Order, OrderError> {
        let lines = self.validate(order)?;
        let principal = cx.principal()?.clone();
        let key = parse_key(idempotency_key, &principal, &lines)?;
        if let Some(key) = &key
            && let Some(outcome) = self.path.find_key(key.clone()).await?
        {
            return replay_response(outcome).map(|order| to_api(cx, order));
        }
        let new = NewOrder {
            number: Uuid::now_v7(),
            customer: principal.subject.clone(),
            customer_name: principal.username.clone(),
            email: principal.email.clone(),
            lines,
            key,
        };
        let (path, cx_of_task) = (self.path.clone(), cx.clone());
        // a separate task: if the client disconnects, the order still completes
        let placed = actix_web::rt::spawn(trace::in_current_span(async move { path.place(&cx_of_task, new).await })).await;
        placed.map_err(Problem::internal)?.map(|order| to_api(cx, order))
    }

    async fn cancel(&self, cx: &Cx, id: i64) -> Result<Order, OrderError> {
        self.cancel_order(cx, id, false).await.map(|order| to_api(cx, order))
    }

    async fn delete(&self, cx: &Cx, id: i64) -> Result<Text, OrderError> {
        self.cancel_order(cx, id, true).await?;
        Ok(Text(format!("Order with id {id} successfully deleted!")))
    }
}

/// Only administrators see the trace id.
fn to_api(cx: &Cx, order: StoredOrder) -> Order {
    Order {
        id: order.id,
        order_number: order.number,
        order_line_items: order.lines,
        status: order.status,
        total: order.total,
        placed_at: crate::kernel::clock::rfc3339(order.created_at),
        trace_id: order.trace.filter(|_| cx.has_role("admin")).map(Trace::id),
    }
}

impl OrderPath {
    async fn find_key(&self, key: IdempotencyKey) -> Result<Option<BeginOutcome>, OrderError> {
        Ok(self.store.find_key(key).await.inspect_err(|_| self.metrics.record(Outcome::StoreUnavailable))?)
    }
}

/// A retried request gets the response of the first one.
fn replay_response(outcome: BeginOutcome) -> Result<StoredOrder, OrderError> {
    match outcome {
        BeginOutcome::Created(order) | BeginOutcome::Ended(order) => first_response(order),
        BeginOutcome::InFlight => Err(OrderError::KeyInFlight),
        BeginOutcome::KeyReused => Err(OrderError::KeyReused),
    }
}
