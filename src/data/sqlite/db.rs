//! A SQLite database: its writer, and its pool of readers.

use super::connection::{Conn, connect};
use super::corruption;
use super::file_guard::FileGuard;
use super::gauges;
use super::transaction::{in_snapshot, run};
use super::writer::{Job, WriteRequest, write_loop};
use crate::data::permits::Permits;
use crate::kernel::error::{StartError, StoreError};
use crate::observe::metrics::Pool;
use crate::observe::trace;
use crate::observe::trace::Span;
use crate::observe::trace::statements;
use diesel::connection::SimpleConnection;
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};
use parking_lot::Mutex;
use prometheus::Registry;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;
use tokio::sync::{Notify, mpsc, oneshot};

/// OpenTelemetry's `db.system.name`.
const SYSTEM: &str = "sqlite";

/// Maximum number of requests queued for the writer; further callers wait for a free place.
const MAX_QUEUE: usize = 4096;
pub(super) const READERS: usize = 4;

/// Lists read on at most half of the cores, so that each look-up finds a free one.
pub(super) fn max_lists() -> usize {
    (available_parallelism().map_or(1, usize::from) / 2).clamp(1, READERS)
}

/// One SQLite database. Cheap to clone; the writer ends when the last clone is dropped.
#[derive(Clone)]
pub struct Db(Arc<Inner>);

struct Inner {
    name: String,
    path: PathBuf,
    file: Arc<FileGuard>,
    queue: mpsc::Sender<Job>,
    idle_readers: Mutex<Vec<Conn>>,
    look_ups: Permits,
    lists: Permits,
    committed: Notify,
}

impl Db {
    /// Opens or creates the database, migrates its schema and starts its writer.
    pub fn open(path: &Path, migrations: EmbeddedMigrations) -> Result<Self, StoreError> {
        let name = path.file_stem().and_then(|s| s.to_str()).unwrap_or("sqlite").to_string();
        let mut writer = connect(path)?;
        // of several processes that start at once, one migrates; the others wait and find nothing pending
        let migrated = writer.immediate_transaction(|writer| {
            let failed = |cause: String| match corruption::is_corruption(&cause) {
                true => StoreError::Corrupt { store: path.display().to_string(), cause },
                false => StoreError::Internal(format!("migrations of {name}: {cause}")),
            };
            writer.run_pending_migrations(migrations).map(drop).map_err(|e| failed(e.to_string()))
        });
        migrated?;
        let file = Arc::new(FileGuard::new(&name, path)?);
        // SQLite's busy handler is unfair; see `lock_wait`
        writer.batch_execute("PRAGMA busy_timeout = 0")?;
        let (queue, jobs) = mpsc::channel(MAX_QUEUE);
        let db = Db(Arc::new(Inner {
            name: name.clone(),
            path: path.to_path_buf(),
            file: file.clone(),
            queue,
            idle_readers: Mutex::new(Vec::new()),
            look_ups: Permits::new(READERS),
            lists: Permits::new(max_lists()),
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
                write_loop(SyncConnectionWrapper::new(writer), jobs, &file, notify);
            })
            .map_err(|e| StoreError::Internal(format!("no thread for the writer of {name}: {e}")))?;
        Ok(db)
    }

    /// Owning module's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Waits for the next commit of this process. Register before reading the data:
    /// `let next = db.next_commit(); read().await; next.await`.
    pub fn next_commit(&self) -> impl Future<Output = ()> + '_ {
        self.0.committed.notified()
    }

    /// Runs `work` as one transaction, atomically and durably: `Ok` is returned after the commit, `Err` after the
    /// rollback.
    ///
    /// `work` may run more than once (here if another request of its group fails, on MySQL after a deadlock): it must
    /// change nothing but the database, and await nothing but the connection.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: AsyncFn(&mut Conn) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, replied) = oneshot::channel();
        let span = trace::store_span(SYSTEM, &self.0.name);
        let job: Job = Box::new(WriteRequest::new(self.0.file.clone(), work, span, reply));
        let gone = || E::from(StoreError::Unavailable { store: self.0.name.clone(), cause: "its writer has stopped".into() });
        self.0.queue.send(job).await.map_err(|_| gone())?;
        replied.await.map_err(|_| gone())?
    }

    /// Runs `work` on a reading connection, on a thread that may block. It sees one snapshot. Not for lists.
    pub async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: AsyncFn(&mut Conn) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.read_with(&self.0.look_ups, work).await
    }

    /// Like `read`, for lists and searches: they have few permits of their own, and no look-up waits for them.
    pub async fn list<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: AsyncFn(&mut Conn) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.read_with(&self.0.lists, work).await
    }

    async fn read_with<T, E, F>(&self, permits: &Permits, work: F) -> Result<T, E>
    where
        F: AsyncFn(&mut Conn) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let unavailable = |cause: String| E::from(StoreError::Unavailable { store: self.0.name.clone(), cause });
        let permit = permits.acquire().await.map_err(|e| unavailable(e.to_string()))?;
        let (inner, span) = (self.0.clone(), trace::store_span(SYSTEM, &self.0.name));
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            inner.file.check()?;
            inner.file.observe(|| {
                let mut conn = inner.reader()?;
                let result = traced(span, || in_snapshot(&mut conn, &work));
                inner.put_back(conn);
                result
            })
        });
        done.await.map_err(|e| unavailable(e.to_string()))?
    }

    /// Reads by key on the calling thread: a few pages, nearly always in memory, cost less than a switch to another
    /// thread and back. Not for scans. Each statement sees its own snapshot.
    pub fn read_inline<T, E: From<StoreError>>(&self, work: impl AsyncFn(&mut Conn) -> Result<T, E>) -> Result<T, E> {
        self.0.file.fault()?;
        self.0.file.observe(|| {
            let mut conn = self.0.reader()?;
            let result = traced(trace::store_span(SYSTEM, &self.0.name), || run(&mut conn, &work));
            self.0.put_back(conn);
            result
        })
    }

    /// Whether the database is in service: an error if its file was lost or is damaged.
    pub fn check_file(&self) -> Result<(), StoreError> {
        self.0.file.check()
    }

    /// Registers the metrics of the writer's queue, the readers, the permits for lists, and the file. `store` is the module's
    /// name. The metrics do not keep the database open.
    pub fn register_metrics(&self, store: &str, registry: &Registry) -> Result<(), StartError> {
        let (writing, reading) = (Arc::downgrade(&self.0), Arc::downgrade(&self.0));
        let listing = reading.clone();
        let depth = move || writing.upgrade().map_or(0, |db| db.queue.max_capacity() - db.queue.capacity());
        let readers = move || reading.upgrade().map_or_else(Pool::default, |db| db.look_ups.pool(Some(db.idle_readers.lock().len())));
        let lists = move || listing.upgrade().map_or_else(Pool::default, |db| db.lists.pool(None));
        gauges::register(registry, store, MAX_QUEUE, depth, readers, lists)?;
        let checked = Arc::downgrade(&self.0);
        gauges::register_fault(registry, store, move || checked.upgrade().and_then(|db| db.file.check().err()))
    }
}

impl Inner {
    fn reader(&self) -> Result<Conn, StoreError> {
        if let Some(idle) = self.idle_readers.lock().pop() {
            return Ok(idle);
        }
        // connecting to a lost file would create another one
        self.file.check()?;
        connect(&self.path).map(SyncConnectionWrapper::new)
    }

    fn put_back(&self, conn: Conn) {
        self.idle_readers.lock().push(conn);
    }
}

/// Runs work on a reading connection, and records its statements in the span.
fn traced<T>(span: Option<Span>, work: impl FnOnce() -> T) -> T {
    let Some(span) = span else { return work() };
    let (done, statements) = span.sync_scope(|| statements::collect(work));
    statements.record_on(&span);
    done
}
