//! The embedded store: SQLite with one writer that commits many requests in one transaction.
//!
//! A commit that a client may rely on costs an fsync (`synchronous=FULL`). Paying it for every
//! request would bound the shop by the disk, so requests that wait while one transaction is being
//! written go into the next one together, and every answer leaves after the commit that made it
//! durable. If one of them fails the group is undone and run again, each in a savepoint of its own, so
//! that it is undone alone: savepoints cost every request, failures are few.
//!
//! Repositories are written against diesel-async's traits, so that the same code serves MySQL.
//! Here those futures never wait: [`Inline`] runs each statement where it is called.

#[cfg(feature = "all-in-one")]
pub mod copy;
mod gauges;
#[path = "sql_lease.rs"]
mod lease;
mod turns;

use crate::kernel::error::StoreError;
use crate::observe::trace;
use crate::observe::trace::Span;
use crate::observe::trace::statements;
use crate::observe::trace::statements::Statements;
use diesel::connection::{InstrumentationEvent, SimpleConnection};
use diesel::sqlite::{Sqlite, SqliteConnection};
use diesel::{Connection, QueryResult};
use diesel_async::sync_connection_wrapper::{SpawnBlocking, SyncConnectionWrapper};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};
use futures_util::future::BoxFuture;
use gauges::Waiting;
use parking_lot::Mutex;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use turns::{Turns, begin, patiently};

/// Its name among database systems, for traces.
const SYSTEM: &str = "sqlite";

/// The connection that repositories see.
pub type Conn = SyncConnectionWrapper<SqliteConnection, Inline>;
/// diesel's name of this backend.
pub type Backend = Sqlite;

/// Where this backend's SQL differs from the others'.
#[allow(unused_macros, unused_imports, reason = "which of them are used depends on the modules compiled in")]
mod sql {
    /// The rows of a query, locked until the transaction ends: there is one writer, so they are.
    macro_rules! locked {
        ($query:expr) => {
            $query
        };
    }
    /// The same, without those that another transaction has locked: there is none.
    macro_rules! claimed {
        ($query:expr) => {
            $query
        };
    }
    /// Runs an update of at most one row. `None`: there was no such row. `Some(Some(_))`: what the column is now.
    macro_rules! update_returning {
        ($conn:expr, $update:expr, $column:expr) => {
            $crate::data::CachedQuery($update.returning($column)).get_result($conn).await.optional()?.map(Some)
        };
    }
    /// Inserts rows; answers their ids, in their order. There is no insert of several rows here.
    macro_rules! insert_returning_ids {
        ($conn:expr, $table:expr, $rows:expr, $id:expr) => {{
            let mut ids: Vec<i64> = Vec::new();
            for row in $rows {
                ids.push(diesel::insert_into($table).values(row).returning($id).get_result($conn).await?);
            }
            ids
        }};
    }
    pub(crate) use {claimed, insert_returning_ids, locked, update_returning};
}
#[allow(unused_imports, reason = "as above")]
pub(crate) use sql::*;

/// diesel-async's hook for where statements run: right here, on the calling thread.
pub struct Inline;

impl SpawnBlocking for Inline {
    fn spawn_blocking<'a, R>(&mut self, task: impl FnOnce() -> R + Send + 'static) -> BoxFuture<'a, Result<R, Box<dyn Error + Send + Sync>>>
    where
        R: Send + 'static,
    {
        let result = task();
        Box::pin(std::future::ready(Ok(result)))
    }

    fn get_runtime() -> Self {
        Inline
    }
}

/// Requests in one transaction at most: bounds how long the first of them waits.
const MAX_GROUP: usize = 256;
/// Requests waiting for the writer at most; beyond that, callers wait to be let in.
const MAX_QUEUE: usize = 4096;
const READERS: usize = 4;

/// A request to the writer.
trait Write: Send {
    /// Runs in the group's transaction, in a savepoint or not; may run again. True if it went well.
    fn run(&mut self, conn: &mut Conn, savepoint: bool) -> bool;
    /// Answers after the commit; takes what went wrong with it, or with beginning at all.
    fn finish(self: Box<Self>, failure: Option<&str>);
}

type Job = Box<dyn Write>;

struct Request<T, E, F> {
    store: String,
    work: F,
    /// Where it is recorded, and what it said.
    span: Option<Span>,
    said: Statements,
    result: Option<Result<T, E>>,
    answer: oneshot::Sender<Result<T, E>>,
}

impl<T, E, F> Write for Request<T, E, F>
where
    F: AsyncFn(&mut Conn) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn run(&mut self, conn: &mut Conn, savepoint: bool) -> bool {
        let mut work = || if savepoint { in_savepoint(conn, &self.work) } else { run(conn, &self.work) };
        let result = if self.span.is_some() {
            let (result, said) = statements::collect(work);
            self.said = said;
            result
        } else {
            work()
        };
        self.result.insert(result).is_ok()
    }

    fn finish(mut self: Box<Self>, failure: Option<&str>) {
        if let Some(span) = self.span.take() {
            self.said.failed = self.said.failed.or(failure.map(|_| "not committed"));
            self.said.tell(&span);
        }
        let away = |store, cause: &str| Err(StoreError::Unavailable { store, cause: cause.into() }.into());
        let _ = self.answer.send(match (self.result, failure) {
            (Some(result @ Err(_)), _) | (Some(result), None) => result,
            (_, cause) => away(self.store, cause.unwrap_or("it was not asked")),
        });
    }
}

/// One SQLite database. Cheap to clone; the writer ends when the last clone is dropped.
#[derive(Clone)]
pub struct Db(Arc<Inner>);

struct Inner {
    name: String,
    path: PathBuf,
    queue: mpsc::Sender<Job>,
    idle_readers: Mutex<Vec<Conn>>,
    reader_permits: Semaphore,
    /// Who waits for a permit.
    waiting: AtomicUsize,
    committed: Notify,
}

impl Db {
    /// Opens or creates the database, brings its schema up to date and starts its writer.
    pub fn open(path: &Path, migrations: EmbeddedMigrations) -> Result<Self, StoreError> {
        let name = path.file_stem().and_then(|s| s.to_str()).unwrap_or("sqlite").to_string();
        let mut writer = connect(path)?;
        // one process at a time: the others find it done when they come to look
        let migrated = writer.immediate_transaction(|writer| {
            writer.run_pending_migrations(migrations).map(drop).map_err(|e| StoreError::Broken(format!("migrations of {name}: {e}")))
        });
        migrated?;
        // its own way of waiting is unfair: see `begin`
        writer.batch_execute("PRAGMA busy_timeout = 0")?;
        let (queue, jobs) = mpsc::channel(MAX_QUEUE);
        let db = Db(Arc::new(Inner {
            name: name.clone(),
            path: path.to_path_buf(),
            queue,
            idle_readers: Mutex::new(Vec::new()),
            reader_permits: Semaphore::new(READERS),
            waiting: AtomicUsize::new(0),
            committed: Notify::new(),
        }));
        let weak = Arc::downgrade(&db.0);
        std::thread::Builder::new()
            .name(format!("{name}-writer"))
            .spawn(move || {
                let notify = || {
                    if let Some(inner) = weak.upgrade() {
                        inner.committed.notify_waiters();
                    }
                };
                write_loop(SyncConnectionWrapper::new(writer), jobs, notify);
            })
            .map_err(|e| StoreError::Broken(format!("no thread for the writer of {name}: {e}")))?;
        Ok(db)
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
    /// `Err` after everything was undone.
    ///
    /// `work` may be run again (here because another request of its group failed, on MySQL after a
    /// deadlock), so it changes nothing but the database, and it awaits nothing but the connection.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: AsyncFn(&mut Conn) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let span = trace::on_store(SYSTEM, &self.0.name);
        let job: Job = Box::new(Request { store: self.0.name.clone(), work, span, said: Statements::default(), result: None, answer });
        let gone = || E::from(StoreError::Unavailable { store: self.0.name.clone(), cause: "its writer has stopped".into() });
        self.0.queue.send(job).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Runs `work` on a reading connection, on a thread that may block. It sees one snapshot.
    pub async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: AsyncFn(&mut Conn) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let broken = |cause: String| E::from(StoreError::Unavailable { store: self.0.name.clone(), cause });
        let waiting = Waiting::counted(&self.0.waiting);
        let _permit = self.0.reader_permits.acquire().await.map_err(|e| broken(e.to_string()))?;
        drop(waiting);
        let (inner, span) = (self.0.clone(), trace::on_store(SYSTEM, &self.0.name));
        let done = tokio::task::spawn_blocking(move || {
            let mut conn = inner.reader()?;
            let result = seen_by(span, || in_snapshot(&mut conn, &work));
            inner.put_back(conn);
            Ok(result)
        });
        done.await.map_err(|e| broken(e.to_string()))?.map_err(E::from)?
    }

    /// Looks something up by key on the calling thread: a few pages, which are nearly always in memory,
    /// cost less than the way to another thread and back. Nothing that scans belongs here. Each
    /// statement sees its own moment.
    pub fn look_up<T, E: From<StoreError>>(&self, work: impl AsyncFn(&mut Conn) -> Result<T, E>) -> Result<T, E> {
        let mut conn = self.0.reader()?;
        let result = seen_by(trace::on_store(SYSTEM, &self.0.name), || run(&mut conn, &work));
        self.0.put_back(conn);
        result
    }
}

impl Inner {
    fn reader(&self) -> Result<Conn, StoreError> {
        let idle = self.idle_readers.lock().pop();
        idle.map_or_else(|| connect(&self.path).map(SyncConnectionWrapper::new), Ok)
    }

    fn put_back(&self, conn: Conn) {
        self.idle_readers.lock().push(conn);
    }
}

/// A connection that only reads, as of one moment; it never creates or changes the database. Its schema is taken as
/// it is.
pub(super) fn snapshot(path: &Path) -> Result<SqliteConnection, StoreError> {
    if !path.is_file() {
        return Err(StoreError::Unavailable { store: path.display().to_string(), cause: "there is no such file".into() });
    }
    let mut conn = connect(path)?;
    conn.batch_execute("PRAGMA query_only = ON; BEGIN DEFERRED")?;
    Ok(conn)
}

/// Work on a reading connection, with what it says in its span.
fn seen_by<T>(span: Option<Span>, work: impl FnOnce() -> T) -> T {
    let Some(span) = span else { return work() };
    let (done, said) = span.sync_scope(|| statements::collect(work));
    said.tell(&span);
    done
}

fn connect(path: &Path) -> Result<SqliteConnection, StoreError> {
    let store = path.display().to_string();
    let unavailable = |cause: String| StoreError::Unavailable { store: store.clone(), cause };
    let mut conn = SqliteConnection::establish(&path.to_string_lossy()).map_err(|e| unavailable(e.to_string()))?;
    conn.set_instrumentation(|event: InstrumentationEvent<'_>| statements::on_event(&event));
    // SQLite waits for no lock where two make a file WAL at once
    patiently(|| conn.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL;")).map_err(|e| unavailable(e.to_string()))?;
    conn.batch_execute("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 4000; PRAGMA cache_size = -4000;")
        .map_err(|e| unavailable(e.to_string()))?;
    Ok(conn)
}

fn write_loop(mut conn: Conn, mut jobs: mpsc::Receiver<Job>, notify: impl Fn()) {
    let mut group: Vec<Job> = Vec::with_capacity(MAX_GROUP);
    let mut turns = Turns::new();
    while jobs.blocking_recv_many(&mut group, MAX_GROUP) > 0 {
        if let Err(cause) = begin(&mut conn) {
            tracing::error!(%cause, "no transaction for a group of writes");
            group.drain(..).for_each(|job| job.finish(Some(&cause.to_string())));
            continue;
        }
        let failure = run_group(&mut conn, &mut group).and_then(|()| execute(&mut conn, "COMMIT")).err().map(|cause| {
            tracing::error!(%cause, "a group of writes was not committed");
            let _ = execute(&mut conn, "ROLLBACK");
            cause.to_string()
        });
        for job in group.drain(..) {
            job.finish(failure.as_deref());
        }
        if failure.is_none() {
            notify();
        }
        turns.over(&mut conn, !jobs.is_empty());
    }
}

/// All of a group within the transaction that has begun; of those that fail, nothing stays.
fn run_group(conn: &mut Conn, group: &mut [Job]) -> QueryResult<()> {
    if group.iter_mut().all(|job| job.run(conn, false)) {
        return Ok(());
    }
    // after some errors SQLite has rolled back by itself: then there is nothing left to roll back
    let _ = execute(conn, "ROLLBACK");
    begin(conn)?;
    // alone it is undone already
    if group.len() > 1 {
        group.iter_mut().for_each(|job| _ = job.run(conn, true));
    }
    Ok(())
}

fn execute(conn: &mut Conn, sql: &'static str) -> QueryResult<()> {
    futures_util::FutureExt::now_or_never(conn.spawn_blocking(move |c: &mut SqliteConnection| c.batch_execute(sql)))
        .unwrap_or(Err(diesel::result::Error::BrokenTransactionManager))
}

fn in_savepoint<T, E: From<StoreError>>(conn: &mut Conn, work: &impl AsyncFn(&mut Conn) -> Result<T, E>) -> Result<T, E> {
    execute(conn, "SAVEPOINT request").map_err(|e| E::from(e.into()))?;
    let result = run(conn, work);
    let end = if result.is_ok() { "RELEASE request" } else { "ROLLBACK TO request; RELEASE request" };
    match execute(conn, end) {
        Ok(()) => result,
        Err(cause) => result.and(Err(E::from(cause.into()))),
    }
}

fn in_snapshot<T, E: From<StoreError>>(conn: &mut Conn, work: &impl AsyncFn(&mut Conn) -> Result<T, E>) -> Result<T, E> {
    execute(conn, "BEGIN DEFERRED").map_err(|e| E::from(e.into()))?;
    let result = run(conn, work);
    execute(conn, "ROLLBACK").map_err(|e| E::from(e.into()))?;
    result
}

fn run<T, E: From<StoreError>>(conn: &mut Conn, work: &impl AsyncFn(&mut Conn) -> Result<T, E>) -> Result<T, E> {
    // a panic in one request must not take the writer, and with it everybody's writes, away
    let outcome = catch_unwind(AssertUnwindSafe(|| futures_util::FutureExt::now_or_never(work(conn))));
    match outcome {
        Ok(Some(result)) => result,
        Ok(None) => Err(E::from(StoreError::Broken("a transaction waited for something other than its connection".into()))),
        Err(_) => Err(E::from(StoreError::Broken("a transaction panicked".into()))),
    }
}

#[cfg(test)]
mod lease_tests;
#[cfg(test)]
mod tests;
