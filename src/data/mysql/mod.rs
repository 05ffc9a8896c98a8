//! MySQL and MariaDB, through diesel-async: no C library.
//!
//! Each database has a thread of its own that drives its connections, and every transaction is a task
//! there. So a caller that gives up leaves no transaction open on a connection that others use next,
//! and connections outlive the HTTP worker that first wanted one.
//!
//! A transaction that the server refuses because others were in its way is run again as a whole; one
//! whose connection breaks before its commit, too, on another connection. Only where the connection
//! breaks at the commit is it not known what became of it: that is told as unavailable.

mod connections;
mod gauges;
mod schema;
mod snapshot;
#[cfg(test)]
mod tests;
mod way;

#[allow(clippy::duplicate_mod, reason = "once per backend")]
#[path = "../sql_lease.rs"]
mod lease;

pub use schema::{Blocking, revert};
pub(super) use snapshot::snapshot;
pub use way::MySqlUrlError;

use super::CachedQuery;
use crate::data::renewal::Renewal;
use crate::kernel::error::StoreError;
use crate::observe::trace;
use crate::observe::trace::statements;
use crate::settings::{MySql, MySqlUrl, Settings, StoreUrl};
use connections::{Access, Failure, Trouble, Watch};
use diesel_async::pooled_connection::deadpool::{Object, Pool};
use diesel_async::{AsyncMysqlConnection, SimpleAsyncConnection};
use diesel_migrations::EmbeddedMigrations;
use futures_util::future::LocalBoxFuture;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

/// The connection that repositories see.
pub type Conn = AsyncMysqlConnection;
/// diesel's name of this backend.
pub type Backend = diesel::mysql::Mysql;

/// Where this backend's SQL differs from the others'.
#[allow(unused_macros, unused_imports, reason = "which of them are used depends on the modules compiled in")]
mod sql {
    /// The rows of a query, locked until the transaction ends: nobody else changes what was decided on.
    macro_rules! locked {
        ($query:expr) => {
            $query.for_update()
        };
    }
    /// The same, without those that another transaction has locked.
    macro_rules! claimed {
        ($query:expr) => {
            $query.for_update().skip_locked()
        };
    }
    /// Runs an update of at most one row. `None`: there was no such row. `Some(None)`: it was changed, and
    /// this backend does not say to what.
    macro_rules! update_returning {
        ($conn:expr, $update:expr, $column:expr) => {{
            let _ = $column;
            ($crate::data::CachedQuery($update).execute($conn).await? > 0).then_some(None)
        }};
    }
    /// Inserts rows; answers their ids, in their order.
    macro_rules! insert_returning_ids {
        ($conn:expr, $table:expr, $rows:expr, $id:expr) => {{
            let (_, mut rows) = ($id, $rows.into_iter().collect::<Vec<_>>());
            let count = rows.len();
            match rows.pop() {
                // alone, its statement is always the same, and prepared once
                Some(row) if count == 1 => diesel::insert_into($table).values(row).execute($conn).await?,
                Some(row) => {
                    rows.push(row);
                    let insert = diesel::insert_into($table).values(rows);
                    if count <= $crate::data::MAX_PREPARED_LIST_LEN {
                        $crate::data::CachedQuery(insert).execute($conn).await?
                    } else {
                        insert.execute($conn).await?
                    }
                }
                None => 0,
            };
            $crate::data::mysql::inserted_ids($conn, count).await?
        }};
    }
    pub(crate) use {claimed, insert_returning_ids, locked, update_returning};
}
#[allow(unused_imports, reason = "as above")]
pub(crate) use sql::*;

/// Transactions waiting for the thread at most; beyond that, callers wait to be let in.
const MAX_QUEUE: usize = 4096;
/// Attempts at one transaction at most.
const ATTEMPTS: u32 = 12;
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// Between two connections that are closed because their credentials are no longer those in force.
const RETIRE: Duration = Duration::from_millis(50);

/// A session that does not commit by itself begins with the first statement: nothing has to be said.
const WRITE: &str = "";
/// Several statements of one read see one moment.
const READ: &str = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; START TRANSACTION";

/// Its name among database systems, for traces.
const SYSTEM: &str = "mysql";

type Job = Box<dyn FnOnce(Rc<Lane>) -> LocalBoxFuture<'static, ()> + Send>;

/// One database on a server. Cheap to clone; its connections close when the last clone is dropped.
#[derive(Clone)]
pub struct Db(Arc<Inner>);

struct Inner {
    name: String,
    access: Arc<Access>,
    jobs: mpsc::Sender<Job>,
    lent: gauges::Look,
    committed: Notify,
}

impl Db {
    /// Waits for the server as long as settings say, applies or checks the schema, starts the thread.
    /// `name` is the module's.
    pub fn open(server: &MySqlUrl, name: &str, settings: &MySql, migrations: EmbeddedMigrations) -> Result<Self, StoreError> {
        schema::prepare(server, name, settings, migrations)?;
        let (jobs, queue) = mpsc::channel(MAX_QUEUE);
        let access = Arc::new(Access::new(server, name).map_err(|wrong| StoreError::Broken(wrong.to_string()))?);
        let lane = Lane::new(access.clone(), settings, name.to_string())?;
        let lent = gauges::look(&lane.pool);
        std::thread::Builder::new()
            .name(format!("{name}-mysql"))
            .spawn(move || drive(lane, queue))
            .map_err(|e| StoreError::Broken(format!("no thread for the connections of {name}: {e}")))?;
        Ok(Db(Arc::new(Inner { name: name.to_string(), access, jobs, lent, committed: Notify::new() })))
    }

    /// Takes credentials while it runs: from these settings, and sooner where the server refuses those in force.
    pub(super) fn renewal(&self, keys: &'static [&'static str], settings: &Settings) -> Renewal {
        let refused = settings.vault.url.is_some().then(|| self.0.access.renewed_by());
        let db = self.clone();
        let apply = move |settings: &Settings| match settings.store(db.name())? {
            StoreUrl::MySql(server) => Ok(db.change(&server)?),
            #[cfg(feature = "sqlite")]
            StoreUrl::Sqlite(_) => Err(MySqlUrlError::OtherStore { module: db.name().into() }.into()),
        };
        Renewal { keys, apply: Arc::new(apply), refused }
    }

    /// New connections have the new credentials at once. Transactions under way end on their connections,
    /// which then close: within the longest time that a transaction has.
    fn change(&self, server: &MySqlUrl) -> Result<(), MySqlUrlError> {
        self.0.access.change(server, self.name())?;
        tracing::info!(store = self.name(), "new credentials; connections that were made with others close");
        let job: Job = Box::new(move |lane| Box::pin(async move { lane.retire().await }));
        if self.0.jobs.try_send(job).is_err() {
            // its queue is full: whoever is in it drops the old ones as they are met
            self.0.access.cut(std::time::Instant::now());
        }
        Ok(())
    }

    /// Whose it is.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Waits for the next commit of this process. Register before looking at the data:
    /// `let woken = db.committed(); look().await; woken.await`.
    pub fn committed(&self) -> impl Future<Output = ()> + '_ {
        self.0.committed.notified()
    }

    /// Runs `work` as one transaction, atomically and durably: `Ok` is returned after the commit,
    /// `Err` after everything was undone. `work` may be run again, after a deadlock for instance, so it
    /// changes nothing but the database, and it awaits nothing but the connection.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: AsyncFn(&mut Conn) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let written = self.run(WRITE, work).await?;
        self.0.committed.notify_waiters();
        Ok(written)
    }

    /// Runs `work` on one snapshot, reading only.
    pub async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: AsyncFn(&mut Conn) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.run(READ, work).await
    }

    async fn run<T, E, F>(&self, begin: &'static str, work: F) -> Result<T, E>
    where
        F: AsyncFn(&mut Conn) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let span = trace::on_store(SYSTEM, &self.0.name);
        let job: Job = Box::new(move |lane| {
            Box::pin(async move {
                let work = lane.transact(begin, &work);
                let Some(span) = span else {
                    let _ = answer.send(work.await);
                    return;
                };
                let (done, mut said) = statements::collecting(span.scope(work)).await;
                // what was repeated and then done is no failure
                said.failed = if done.is_ok() { None } else { said.failed.or((said.count == 0).then_some("no connection")) };
                said.tell(&span);
                let _ = answer.send(done);
            })
        });
        let ended = |cause: &str| E::from(StoreError::Broken(format!("{}: {cause}", self.0.name)));
        self.0.jobs.send(job).await.map_err(|_| ended("its thread has stopped"))?;
        answered.await.map_err(|_| ended("a transaction panicked"))?
    }
}

/// The thread: every job becomes a task, until nobody can send one any more.
fn drive(lane: Lane, mut queue: mpsc::Receiver<Job>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(cause) => return tracing::error!(%cause, store = lane.name, "no runtime for the connections"),
    };
    let lane = Rc::new(lane);
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async move {
        while let Some(job) = queue.recv().await {
            tokio::task::spawn_local(job(lane.clone()));
        }
    });
}

/// What the tasks of a database share.
struct Lane {
    name: String,
    access: Arc<Access>,
    pool: Pool<Conn>,
    acquire: Duration,
    transaction: Duration,
}

impl Lane {
    fn new(access: Arc<Access>, settings: &MySql, name: String) -> Result<Self, StoreError> {
        Ok(Self {
            name,
            pool: connections::pool(&access, settings)?,
            access,
            acquire: Duration::from_millis(settings.acquire_ms),
            transaction: Duration::from_millis(settings.transaction_ms),
        })
    }

    fn unavailable(&self, cause: impl std::fmt::Display) -> StoreError {
        StoreError::Unavailable { store: self.name.clone(), cause: cause.to_string() }
    }

    /// Closes what was connected with other credentials: what lies idle one after the other, so that not all
    /// who want one wait for a new one at once; the rest as it is given back.
    async fn retire(&self) {
        let now = std::time::Instant::now();
        for _ in 0..self.pool.status().max_size {
            let mut one = true;
            self.pool.retain(|_, of| of.created >= now || !std::mem::take(&mut one));
            tokio::time::sleep(RETIRE).await;
        }
        self.access.cut(now);
        tokio::time::sleep(self.transaction).await;
        self.pool.retain(|_, of| of.created >= now);
    }

    /// One transaction, again while others are in its way, within its time.
    async fn transact<T, E: From<StoreError>>(&self, begin: &str, work: &impl AsyncFn(&mut Conn) -> Result<T, E>) -> Result<T, E> {
        let deadline = Instant::now() + self.transaction;
        for attempt in 0..ATTEMPTS {
            statements::anew();
            let mut conn = connections::acquire(&self.pool, &self.access, self.acquire).await.map_err(|cause| self.unavailable(cause))?;
            let watch = Watch::over(&mut conn);
            let ended = timeout_at(deadline, attempt_at(&mut conn, &watch, begin, work)).await;
            if ended.is_err() || watch.seen() == Some(Trouble::Lost) {
                // what it was in the middle of ends with it; those that lie idle may have broken by the same cause
                drop(Object::take(conn));
                self.pool.retain(|_, _| false);
            }
            let cause = match ended {
                Err(_) => return Err(self.unavailable("a transaction was not finished in time").into()),
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(Failure::Refused(error))) => return Err(error),
                Ok(Err(Failure::Sql(cause))) => return Err(StoreError::from(cause).into()),
                Ok(Err(Failure::Given(cause))) => return Err(self.unavailable(cause).into()),
                Ok(Err(Failure::Again(cause))) => cause,
            };
            tracing::debug!(store = self.name, attempt, cause, "transaction to be repeated");
            if watch.seen() == Some(Trouble::Conflict) {
                tokio::time::sleep_until(deadline.min(Instant::now() + pause(attempt))).await;
            }
        }
        Err(self.unavailable(format!("a transaction met others {ATTEMPTS} times")).into())
    }
}

/// Once, from its begin to its end.
async fn attempt_at<T, E>(
    conn: &mut Conn,
    watch: &Watch,
    begin: &str,
    work: &impl AsyncFn(&mut Conn) -> Result<T, E>,
) -> Result<T, Failure<E>> {
    if !begin.is_empty() {
        conn.batch_execute(begin).await.map_err(|cause| watch.explain(cause))?;
    }
    let done = work(conn).await;
    // a deadlock undoes everything on the server, whatever the work made of it
    if let Some(failure) = watch.failure() {
        let _ = conn.batch_execute("ROLLBACK").await;
        return Err(failure);
    }
    match done {
        Err(error) => {
            conn.batch_execute("ROLLBACK").await.map_err(|cause| watch.explain(cause))?;
            Err(Failure::Refused(error))
        }
        Ok(value) => match conn.batch_execute("COMMIT").await {
            Ok(()) => Ok(value),
            Err(cause) if watch.seen() == Some(Trouble::Lost) => {
                Err(Failure::Given(format!("whether a transaction was committed is not known: {cause}")))
            }
            Err(cause) => Err(watch.explain(cause)),
        },
    }
}

/// Doubles with each attempt, and differs: two that met must not meet again.
fn pause(attempt: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << attempt.min(10)).min(LONGEST_PAUSE).mul_f64(rand::random_range(0.5..=1.5))
}

diesel::define_sql_function! {
    /// The first id that this connection's last insert was given.
    fn last_insert_id() -> BigInt;
}

/// The ids that this connection's last insert of so many rows was given: InnoDB hands those of one
/// statement out in a row.
pub async fn inserted_ids(conn: &mut Conn, rows: usize) -> diesel::QueryResult<Vec<i64>> {
    use diesel_async::RunQueryDsl;
    if rows == 1 {
        return Ok(vec![diesel::select(last_insert_id()).get_result(conn).await?]);
    }
    // more than one on a cluster whose members hand out ids in turn
    let step = diesel::dsl::sql::<diesel::sql_types::BigInt>("CAST(@@auto_increment_increment AS SIGNED)");
    let (first, step): (i64, i64) = CachedQuery(diesel::select((last_insert_id(), step))).get_result(conn).await?;
    Ok((0..rows as i64).map(|n| first + n * step).collect())
}
