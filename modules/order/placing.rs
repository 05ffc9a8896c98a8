//! Placing an order: without a distributed transaction, without overselling, without losing the order.
//!
//! 1. product: returns the prices of all SKUs. Nothing is written yet, so nothing has to be undone if product is down.
//! 2. order: stores the order as PENDING, with its prices and its idempotency key.
//! 3. inventory: reserves all lines or none, idempotently by order number.
//! 4. order: in one transaction, stores the end state and its event: PLACED with the pending action to commit
//!    the reservation; or REJECTED, after a failure with the pending action to release it.
//! 5. inventory: settlement commits or releases the reservation, in batches ([`super::settlement::run`]).
//!
//! A crash after any step leaves an order that [`super::recovery::run`] resumes with the same steps.

use super::api::{OrderError, OrderStatus};
use super::metrics::{OrderMetrics, Outcome};
use super::store::{BeginOutcome, NewOrder, OrderStore, PendingReservationAction, StoredOrder};
use crate::kernel::error::StoreError;
use crate::kernel::money::Money;
use crate::kernel::problem::{Problem, TypedError};
use crate::modules::contracts::inventory::{InventoryApi, Quantities, Reservation, ReservationState, ReserveInput, StockCheck};
use crate::modules::contracts::product::ProductApi;
use crate::observe::trace;
use crate::observe::trace::Span;
use crate::rpc::context::Cx;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// For reading an order whose commit was not confirmed. Short: an overloaded store gives the same error, and the caller
/// has waited already.
const READ_BACK_TIMEOUT: Duration = Duration::from_secs(1);

/// The order path with its dependencies.
pub(super) struct OrderPath {
    pub(super) store: Arc<dyn OrderStore>,
    pub(super) product: Arc<dyn ProductApi>,
    pub(super) inventory: Arc<dyn InventoryApi>,
    pub(super) metrics: OrderMetrics,
    /// Deadline for all peer calls of one order together.
    pub(super) peer_timeout: Duration,
}

/// Several lines of one SKU are reserved as their sum.
fn sum_by_sku(order: &[(String, i64)]) -> Quantities {
    let mut sums = Quantities::new();
    for (sku, quantity) in order {
        *sums.entry(sku.clone()).or_default() += quantity;
    }
    sums
}

impl OrderPath {
    /// Takes a validated request to an end state. If a peer is down or hangs, fails after `peer_timeout`.
    pub(super) async fn place(&self, cx: &Cx, mut new: NewOrder) -> Result<StoredOrder, OrderError> {
        let cx = &cx.within(self.peer_timeout);
        if let Some(span) = trace::current().filter(Span::is_recorded) {
            span.set("tradepost.order_number", new.number.to_string());
        }
        let skus: BTreeSet<String> = new.lines.iter().map(|l| l.sku_code.clone()).collect();
        let prices =
            self.product.prices(cx, skus.iter().cloned().collect()).await.map_err(|e| self.record_unavailable(e.into_problem()))?;
        let unknown: Vec<String> = skus.into_iter().filter(|sku| !prices.contains_key(sku)).collect();
        let total = apply_prices(&mut new, &prices)?;
        let rejected = if unknown.is_empty() { None } else { Some(self.check_remaining_lines(cx, &new, unknown).await?) };
        match self.begin(cx, new, total, rejected.clone()).await.inspect_err(|_| self.metrics.record(Outcome::StoreUnavailable))? {
            BeginOutcome::Created(order) => match rejected {
                None => self.complete_order(cx, order).await,
                Some(stock) => {
                    self.metrics.record(Outcome::rejected(Some(&stock)));
                    Err(OrderError::refused(&stock))
                }
            },
            BeginOutcome::Ended(order) => first_response(order),
            BeginOutcome::InFlight => Err(OrderError::KeyInFlight),
            BeginOutcome::KeyReused => Err(OrderError::KeyReused),
        }
    }

    /// Stores the order. If the store does not confirm the commit, reads the order back and continues with it.
    async fn begin(&self, cx: &Cx, new: NewOrder, total: Money, rejected: Option<StockCheck>) -> Result<BeginOutcome, StoreError> {
        let number = new.number;
        match self.store.begin(new, total, rejected, cx.trace).await {
            Err(cause @ StoreError::Unavailable { .. }) => {
                match tokio::time::timeout(READ_BACK_TIMEOUT, self.store.by_number(number)).await {
                    Ok(Ok(Some(order))) => Ok(BeginOutcome::Created(order)),
                    Ok(Ok(None) | Err(_)) | Err(_) => Err(cause),
                }
            }
            outcome => outcome,
        }
    }

    /// Checks the stock of the known products too, so that one response lists every problem.
    async fn check_remaining_lines(&self, cx: &Cx, new: &NewOrder, unknown: Vec<String>) -> Result<StockCheck, OrderError> {
        let lines: Vec<_> = new.lines.iter().filter(|l| !unknown.contains(&l.sku_code)).map(|l| (l.sku_code.clone(), l.quantity)).collect();
        let mut stock = StockCheck::default();
        if !lines.is_empty() {
            stock = self.inventory.check_stock(cx, sum_by_sku(&lines)).await.map_err(|e| self.record_unavailable(e.into_problem()))?;
        }
        stock.invalid.extend(unknown);
        stock.invalid.sort();
        stock.available.clear();
        Ok(stock)
    }

    /// Counts a failed peer call before the order is stored.
    fn record_unavailable(&self, problem: Problem) -> OrderError {
        if problem.is_transient() {
            self.metrics.record(Outcome::PeerUnavailable);
        }
        problem.into()
    }

    /// Takes a PENDING order to an end state while the caller waits; on failure, to REJECTED.
    async fn complete_order(&self, cx: &Cx, order: StoredOrder) -> Result<StoredOrder, OrderError> {
        let (unavailable_outcome, ended) = match self.reserve(cx, &order).await {
            Ok(reservation) => (Outcome::StoreUnavailable, self.apply_reservation(cx, order.clone(), reservation).await),
            Err(cause) => (Outcome::PeerUnavailable, Err(cause)),
        };
        match ended {
            Err(cause @ OrderError::Platform(_)) => self.abort(cx, &order, unavailable_outcome, cause).await,
            ended => ended,
        }
    }

    /// Takes a PENDING order to an end state; each step is idempotent. If a peer is down, the order stays PENDING.
    pub(super) async fn resume_order(&self, cx: &Cx, order: StoredOrder) -> Result<StoredOrder, OrderError> {
        let reservation = self.reserve(cx, &order).await?;
        self.apply_reservation(cx, order, reservation).await
    }

    async fn reserve(&self, cx: &Cx, order: &StoredOrder) -> Result<Reservation, OrderError> {
        let lines: Vec<_> = order.lines.iter().map(|l| (l.sku_code.clone(), l.quantity)).collect();
        let input = ReserveInput { order_number: order.number, lines: sum_by_sku(&lines) };
        self.inventory.reserve(cx, input).await.map_err(|cause| {
            let problem = cause.into_problem();
            if problem.is_transient() { problem } else { Problem::internal(problem.for_log()) }.into()
        })
    }

    async fn apply_reservation(&self, cx: &Cx, order: StoredOrder, reservation: Reservation) -> Result<StoredOrder, OrderError> {
        match reservation.state {
            ReservationState::Held | ReservationState::Committed => {
                self.end(cx, order, OrderStatus::Placed, None, PendingReservationAction::Commit).await
            }
            ReservationState::Refused => {
                let stock = StockCheck { available: Vec::new(), ..reservation.stock };
                self.end(cx, order, OrderStatus::Rejected, Some(stock), PendingReservationAction::Nothing).await
            }
            ReservationState::Released => self.end(cx, order, OrderStatus::Rejected, None, PendingReservationAction::Nothing).await,
        }
    }

    /// The caller gets an error, so the order becomes REJECTED and its key can be used again. It is unknown
    /// whether inventory reserved stock; the pending release covers both cases.
    ///
    /// If the order has an end state already, the caller gets that: another worker has ended it, or the store had ended
    /// it and could not confirm it.
    async fn abort(
        &self,
        cx: &Cx,
        order: &StoredOrder,
        unavailable_outcome: Outcome,
        cause: OrderError,
    ) -> Result<StoredOrder, OrderError> {
        match self.store.abort(order, cx.trace).await {
            Ok(true) => self.metrics.record(unavailable_outcome),
            Ok(false) => match self.store.by_number(order.number).await {
                Ok(Some(ended)) if ended.status != OrderStatus::Pending => return to_result(ended),
                Ok(_) | Err(_) => {}
            },
            Err(cause) => {
                self.metrics.record(unavailable_outcome);
                tracing::error!(order_number = %order.number, %cause, "order not rejected; it stays PENDING until recovery");
            }
        }
        tracing::warn!(order_number = %order.number, cause = cause.for_log(), "order not placed");
        Err(cause)
    }

    async fn end(
        &self,
        cx: &Cx,
        order: StoredOrder,
        status: OrderStatus,
        reason: Option<StockCheck>,
        action: PendingReservationAction,
    ) -> Result<StoredOrder, OrderError> {
        let number = order.number;
        let ended = StoredOrder { status, reason, ..order };
        if self.store.end(&ended, action, cx.trace).await? {
            match status {
                OrderStatus::Placed => self.metrics.record_placed(ended.total),
                _ => self.metrics.record(Outcome::rejected(ended.reason.as_ref())),
            }
            return to_result(ended);
        }
        // another worker has ended the order; return its result
        match self.store.by_number(number).await? {
            Some(order) => to_result(order),
            None => Err(OrderError::UnknownNumber { order_number: number }),
        }
    }
}

/// The result that the caller gets for an order.
fn to_result(order: StoredOrder) -> Result<StoredOrder, OrderError> {
    match (order.status, &order.reason) {
        (OrderStatus::Rejected, Some(stock)) => Err(OrderError::refused(stock)),
        (OrderStatus::Rejected, None) => Err(Problem::unavailable("the order could not be placed right now; nothing was taken").into()),
        (OrderStatus::Pending, _) => Err(OrderError::KeyInFlight),
        _ => Ok(order),
    }
}

/// A retried request gets the response of the first one, even if the order has been cancelled since.
pub(super) fn first_response(order: StoredOrder) -> Result<StoredOrder, OrderError> {
    match order.status {
        OrderStatus::Cancelled => to_result(StoredOrder { status: OrderStatus::Placed, ..order }),
        _ => to_result(order),
    }
}

/// Sets the lines' prices; returns the total.
fn apply_prices(new: &mut NewOrder, prices: &BTreeMap<String, Money>) -> Result<Money, Problem> {
    let mut total = Money::ZERO;
    for line in &mut new.lines {
        line.price = prices.get(&line.sku_code).copied();
        let amount = line.price.map_or(Some(Money::ZERO), |price| price.checked_mul(line.quantity));
        let sum = amount.and_then(|amount| total.checked_add(amount));
        total = sum
            .filter(|sum| *sum <= Money::LIMIT)
            .ok_or_else(|| Problem::invalid_field("orderLineItems", format!("the order's total is above {}; order less", Money::LIMIT)))?;
    }
    Ok(total)
}
