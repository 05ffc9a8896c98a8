//! The worker thread of a database: it drives the connections, and runs each transaction as a task.

use super::backend::Conn;
use super::connections;
use super::credentials::Credentials;
use super::error::{AttemptError, ErrorClass};
use super::error_observer::ErrorObserver;
use crate::kernel::error::StoreError;
use crate::observe::trace::statements;
use crate::settings::MySql;
use diesel_async::SimpleAsyncConnection;
use diesel_async::pooled_connection::deadpool::{Object, Pool};
use futures_util::future::LocalBoxFuture;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// Maximum number of attempts at one transaction.
const ATTEMPTS: u32 = 12;
const FIRST_BACKOFF: Duration = Duration::from_millis(2);
const MAX_BACKOFF: Duration = Duration::from_millis(200);
/// Pause between two closes of connections with old credentials.
const RETIRE_INTERVAL: Duration = Duration::from_millis(50);

pub(super) type Job = Box<dyn FnOnce(Rc<ConnectionWorker>) -> LocalBoxFuture<'static, ()> + Send>;

/// Shared by the tasks of a database.
pub(super) struct ConnectionWorker {
    name: String,
    credentials: Arc<Credentials>,
    pool: Pool<Conn>,
    acquire_timeout: Duration,
    transaction_timeout: Duration,
}

/// Runs until all senders of the queue are dropped and the last job is done.
pub(super) fn run(worker: ConnectionWorker, mut queue: mpsc::Receiver<Job>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(cause) => return tracing::error!(%cause, store = worker.name, "no runtime for the connections"),
    };
    let worker = Rc::new(worker);
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async move {
        while let Some(job) = queue.recv().await {
            tokio::task::spawn_local(job(worker.clone()));
        }
    });
}

impl ConnectionWorker {
    pub(super) fn new(credentials: Arc<Credentials>, settings: &MySql, name: String) -> Result<Self, StoreError> {
        Ok(Self {
            name,
            pool: connections::pool(&credentials, settings)?,
            credentials,
            acquire_timeout: Duration::from_millis(settings.acquire_ms),
            transaction_timeout: Duration::from_millis(settings.transaction_ms),
        })
    }

    pub(super) fn pool(&self) -> &Pool<Conn> {
        &self.pool
    }

    fn unavailable(&self, cause: impl std::fmt::Display) -> StoreError {
        StoreError::Unavailable { store: self.name.clone(), cause: cause.to_string() }
    }

    /// Closes the connections with old credentials: idle ones one after the other, so that not all callers wait for new
    /// connections at once; the others when they return to the pool.
    pub(super) async fn retire_connections(&self) {
        let now = std::time::Instant::now();
        for _ in 0..self.pool.status().max_size {
            let mut close_one = true;
            self.pool.retain(|_, metrics| metrics.created >= now || !std::mem::take(&mut close_one));
            tokio::time::sleep(RETIRE_INTERVAL).await;
        }
        self.credentials.invalidate_before(now);
        tokio::time::sleep(self.transaction_timeout).await;
        self.pool.retain(|_, metrics| metrics.created >= now);
    }

    /// Runs one transaction within its timeout, and retries it on conflicts.
    pub(super) async fn transact<T, E: From<StoreError>>(
        &self,
        begin: &str,
        work: &impl AsyncFn(&mut Conn) -> Result<T, E>,
    ) -> Result<T, E> {
        let deadline = Instant::now() + self.transaction_timeout;
        for attempt in 0..ATTEMPTS {
            statements::reset();
            let acquired = connections::acquire(&self.pool, &self.credentials, self.acquire_timeout).await;
            let mut conn = acquired.map_err(|cause| self.unavailable(cause))?;
            let observer = ErrorObserver::attach(&mut conn);
            let ended = timeout_at(deadline, attempt_once(&mut conn, &observer, begin, work)).await;
            if ended.is_err() || observer.class() == Some(ErrorClass::Lost) {
                // closing the connection ends its transaction; the same cause may have broken idle connections, too
                drop(Object::take(conn));
                self.pool.retain(|_, _| false);
            }
            let cause = match ended {
                Err(_) => return Err(self.unavailable("a transaction was not finished in time").into()),
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(AttemptError::Work(error))) => return Err(error),
                Ok(Err(AttemptError::Sql(cause))) => return Err(StoreError::from(cause).into()),
                Ok(Err(AttemptError::Final(cause))) => return Err(self.unavailable(cause).into()),
                Ok(Err(AttemptError::Retryable(cause))) => cause,
            };
            tracing::debug!(store = self.name, attempt, cause, "transaction will be retried");
            if observer.class() == Some(ErrorClass::Conflict) {
                tokio::time::sleep_until(deadline.min(Instant::now() + backoff(attempt))).await;
            }
        }
        Err(self.unavailable(format!("a transaction conflicted with others {ATTEMPTS} times")).into())
    }
}

async fn attempt_once<T, E>(
    conn: &mut Conn,
    observer: &ErrorObserver,
    begin: &str,
    work: &impl AsyncFn(&mut Conn) -> Result<T, E>,
) -> Result<T, AttemptError<E>> {
    if !begin.is_empty() {
        conn.batch_execute(begin).await.map_err(|cause| observer.explain(cause))?;
    }
    let done = work(conn).await;
    // after a deadlock the server has rolled back everything, even if the work returned Ok
    if let Some(error) = observer.attempt_error() {
        let _ = conn.batch_execute("ROLLBACK").await;
        return Err(error);
    }
    match done {
        Err(error) => {
            conn.batch_execute("ROLLBACK").await.map_err(|cause| observer.explain(cause))?;
            Err(AttemptError::Work(error))
        }
        Ok(value) => match conn.batch_execute("COMMIT").await {
            Ok(()) => Ok(value),
            Err(cause) if observer.class() == Some(ErrorClass::Lost) => {
                Err(AttemptError::Final(format!("whether a transaction was committed is not known: {cause}")))
            }
            Err(cause) => Err(observer.explain(cause)),
        },
    }
}

/// Exponential, with jitter: two transactions that conflicted must not conflict again.
fn backoff(attempt: u32) -> Duration {
    FIRST_BACKOFF.saturating_mul(1 << attempt.min(10)).min(MAX_BACKOFF).mul_f64(rand::random_range(0.5..=1.5))
}
