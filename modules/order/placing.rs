//! Placing an order, without a distributed transaction, without overselling, without losing it.
//!
//! 1. product: prices of all SKUs. Nothing is written yet, so a catalogue that is away costs nobody anything.
//! 2. order: the order is written as PENDING, with its prices and its idempotency key.
//! 3. inventory: all lines are reserved or none, idempotently by order number.
//! 4. order: PLACED, its event and the note that the reservation is to be committed, in one transaction.
//!    Or REJECTED, and the note that it is to be released.
//! 5. inventory commits or releases: soon, from that note, in bulk ([`super::settlement::settle`]).
//!
//! A crash after any step leaves an order that [`super::recovery::run`] drives on by the same steps.

use super::api::{OrderError, OrderStatus};
use super::metrics::{OrderMetrics, Outcome};
use super::store::{Begun, NewOrder, OrderStore, Settle, StoredOrder};
use crate::kernel::money::Money;
use crate::kernel::problem::{Problem, TypedError};
use crate::modules::inventory::api::{InventoryApi, Quantities, Reservation, ReservationState, ReserveInput, StockCheck};
use crate::modules::product::api::ProductApi;
use crate::observe::trace;
use crate::observe::trace::Span;
use crate::rpc::context::Cx;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The order path and what it stands on.
pub(super) struct OrderPath {
    /// Orders.
    pub(super) store: Arc<dyn OrderStore>,
    /// Prices.
    pub(super) product: Arc<dyn ProductApi>,
    /// Stock.
    pub(super) inventory: Arc<dyn InventoryApi>,
    /// What became of orders.
    pub(super) metrics: OrderMetrics,
    /// How long placing waits for its peers, all steps together.
    pub(super) patience: Duration,
}

/// Pieces by SKU: several lines of one SKU are reserved as their sum.
fn wanted(order: &[(String, i64)]) -> Quantities {
    let mut sums = Quantities::new();
    for (sku, quantity) in order {
        *sums.entry(sku.clone()).or_default() += quantity;
    }
    sums
}

impl OrderPath {
    /// From a checked request to an end state. A caller hears of a peer that is away, or hangs, within a
    /// second, whichever peer it is.
    pub(super) async fn place(&self, cx: &Cx, mut new: NewOrder) -> Result<StoredOrder, OrderError> {
        let cx = &cx.within(self.patience);
        if let Some(span) = trace::current().filter(Span::is_recorded) {
            span.set("tradepost.order_number", new.number.to_string());
        }
        let skus: BTreeSet<String> = new.lines.iter().map(|l| l.sku_code.clone()).collect();
        let prices = self.product.prices(cx, skus.iter().cloned().collect()).await.map_err(|e| self.missed(e.into_problem()))?;
        let unknown: Vec<String> = skus.into_iter().filter(|sku| !prices.contains_key(sku)).collect();
        let total = price(&mut new, &prices)?;
        let rejected = if unknown.is_empty() { None } else { Some(self.explain(cx, &new, unknown).await?) };
        let begun = self.store.begin(new, total, rejected.clone(), cx.trace).await;
        match begun.inspect_err(|_| self.metrics.ended(Outcome::StoreUnavailable))? {
            Begun::New(order) => match rejected {
                None => self.see_through(cx, order).await,
                Some(stock) => {
                    self.metrics.ended(Outcome::refused(Some(&stock)));
                    Err(OrderError::refused(&stock))
                }
            },
            Begun::Ended(order) => first_answer(order),
            Begun::InFlight => Err(OrderError::KeyInFlight),
            Begun::OtherRequest => Err(OrderError::KeyReused),
        }
    }

    /// Products that do not exist, and what is wrong with the other lines, so that one answer names all.
    async fn explain(&self, cx: &Cx, new: &NewOrder, unknown: Vec<String>) -> Result<StockCheck, OrderError> {
        let lines: Vec<_> = new.lines.iter().filter(|l| !unknown.contains(&l.sku_code)).map(|l| (l.sku_code.clone(), l.quantity)).collect();
        let mut stock = StockCheck::default();
        if !lines.is_empty() {
            stock = self.inventory.check_stock(cx, wanted(&lines)).await.map_err(|e| self.missed(e.into_problem()))?;
        }
        stock.invalid.extend(unknown);
        stock.invalid.sort();
        stock.available.clear();
        Ok(stock)
    }

    /// For a caller who is told what went wrong before anything was written.
    fn missed(&self, problem: Problem) -> OrderError {
        if problem.is_transient() {
            self.metrics.ended(Outcome::PeerUnavailable);
        }
        problem.into()
    }

    /// From PENDING to an end state while the caller waits: where that does not work, to REJECTED.
    async fn see_through(&self, cx: &Cx, order: StoredOrder) -> Result<StoredOrder, OrderError> {
        let (missing, ended) = match self.reserve(cx, &order).await {
            Ok(reservation) => (Outcome::StoreUnavailable, self.conclude(cx, order.clone(), reservation).await),
            Err(cause) => (Outcome::PeerUnavailable, Err(cause)),
        };
        match ended {
            Err(cause @ OrderError::Platform(_)) => Err(self.give_up(cx, &order, missing, cause).await),
            ended => ended,
        }
    }

    /// From PENDING to an end state; every step may be repeated. A peer that is away leaves it PENDING.
    pub(super) async fn drive(&self, cx: &Cx, order: StoredOrder) -> Result<StoredOrder, OrderError> {
        let reservation = self.reserve(cx, &order).await?;
        self.conclude(cx, order, reservation).await
    }

    async fn reserve(&self, cx: &Cx, order: &StoredOrder) -> Result<Reservation, OrderError> {
        let lines: Vec<_> = order.lines.iter().map(|l| (l.sku_code.clone(), l.quantity)).collect();
        let input = ReserveInput { order_number: order.number, lines: wanted(&lines) };
        self.inventory.reserve(cx, input).await.map_err(|cause| {
            let problem = cause.into_problem();
            if problem.is_transient() { problem } else { Problem::internal(problem.for_log()) }.into()
        })
    }

    async fn conclude(&self, cx: &Cx, order: StoredOrder, reservation: Reservation) -> Result<StoredOrder, OrderError> {
        match reservation.state {
            ReservationState::Held | ReservationState::Committed => self.end(cx, order, OrderStatus::Placed, None, Settle::Commit).await,
            ReservationState::Refused => {
                let stock = StockCheck { available: Vec::new(), ..reservation.stock };
                self.end(cx, order, OrderStatus::Rejected, Some(stock), Settle::Nothing).await
            }
            ReservationState::Released => self.end(cx, order, OrderStatus::Rejected, None, Settle::Nothing).await,
        }
    }

    /// For a caller who was told that it did not work: the order ends as REJECTED and its key is free
    /// again. Whether stock was reserved is not known; releasing it makes sure that it is not.
    async fn give_up(&self, cx: &Cx, order: &StoredOrder, missing: Outcome, cause: OrderError) -> OrderError {
        tracing::warn!(order_number = %order.number, cause = cause.for_log(), "order could not be placed");
        match self.store.give_up(order, cx.trace).await {
            Ok(true) => self.metrics.ended(missing),
            // it has ended otherwise, and was counted there
            Ok(false) => {}
            Err(cause) => {
                self.metrics.ended(missing);
                tracing::error!(order_number = %order.number, %cause, "order stays PENDING until it is recovered");
            }
        }
        cause
    }

    async fn end(
        &self,
        cx: &Cx,
        order: StoredOrder,
        status: OrderStatus,
        reason: Option<StockCheck>,
        settle: Settle,
    ) -> Result<StoredOrder, OrderError> {
        let number = order.number;
        let ended = StoredOrder { status, reason, ..order };
        if self.store.end(&ended, settle, cx.trace).await? {
            match status {
                OrderStatus::Placed => self.metrics.placed(ended.total),
                _ => self.metrics.ended(Outcome::refused(ended.reason.as_ref())),
            }
            return finished(ended);
        }
        // somebody else drove it on meanwhile: their word counts
        match self.store.by_number(number).await? {
            Some(order) => finished(order),
            None => Err(OrderError::UnknownNumber { order_number: number }),
        }
    }
}

/// What the caller of an ended order is told.
fn finished(order: StoredOrder) -> Result<StoredOrder, OrderError> {
    match (order.status, &order.reason) {
        (OrderStatus::Rejected, Some(stock)) => Err(OrderError::refused(stock)),
        (OrderStatus::Rejected, None) => Err(Problem::unavailable("the order could not be placed right now; nothing was taken").into()),
        (OrderStatus::Pending, _) => Err(OrderError::KeyInFlight),
        _ => Ok(order),
    }
}

/// What the repetition of an ended order's request gets: the first answer, whatever became of the order since.
pub(super) fn first_answer(order: StoredOrder) -> Result<StoredOrder, OrderError> {
    match order.status {
        OrderStatus::Cancelled => finished(StoredOrder { status: OrderStatus::Placed, ..order }),
        _ => finished(order),
    }
}

/// Puts the catalogue's prices on the lines; answers the total.
fn price(new: &mut NewOrder, prices: &BTreeMap<String, Money>) -> Result<Money, Problem> {
    let mut total = Money::ZERO;
    for line in &mut new.lines {
        line.price = prices.get(&line.sku_code).copied();
        let amount = line.price.map_or(Some(Money::ZERO), |price| price.times(line.quantity));
        let sum = amount.and_then(|amount| total.plus(amount));
        total = sum.ok_or_else(|| Problem::field("orderLineItems", "the order's total is too large"))?;
    }
    Ok(total)
}
