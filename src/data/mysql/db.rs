//! A MySQL or MariaDB database.

use super::backend::Conn;
use super::connect_options::MySqlUrlError;
use super::credentials::Credentials;
use super::worker::{ConnectionWorker, Job};
use super::{gauges, schema, worker};
use crate::data::credential_renewal::CredentialRenewal;
use crate::data::permits::Permits;
use crate::kernel::error::{StartError, StoreError};
use crate::observe::metrics::Pool;
use crate::observe::trace;
use crate::observe::trace::statements;
use crate::settings::{MySql, MySqlUrl, Settings, StoreUrl};
use diesel_migrations::EmbeddedMigrations;
use prometheus::Registry;
use std::sync::Arc;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot};

/// Maximum number of queued transactions; further callers wait for a free place.
const MAX_QUEUE: usize = 4096;

/// Lists use at most this share of the connections.
const LISTS_SHARE: usize = 4;

/// Sessions have autocommit off, so the first statement begins the transaction.
const BEGIN_WRITE: &str = "";
/// All statements of a read see one snapshot.
const BEGIN_READ: &str = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; START TRANSACTION";

/// OpenTelemetry's `db.system.name`.
const SYSTEM: &str = "mysql";

/// One database on a server. Cheap to clone; its connections close when the last clone is dropped.
#[derive(Clone)]
pub struct Db(Arc<Inner>);

struct Inner {
    name: String,
    credentials: Arc<Credentials>,
    jobs: mpsc::Sender<Job>,
    pool_stats: gauges::PoolStats,
    lists: Permits,
    committed: Notify,
}

impl Db {
    /// Waits for the server as long as settings allow, applies or checks the schema, starts the worker thread. `name` is
    /// the module's.
    pub fn open(server: &MySqlUrl, name: &str, settings: &MySql, migrations: EmbeddedMigrations) -> Result<Self, StoreError> {
        schema::prepare(server, name, settings, migrations)?;
        let (jobs, queue) = mpsc::channel(MAX_QUEUE);
        let credentials = Arc::new(Credentials::new(server, name).map_err(|wrong| StoreError::Internal(wrong.to_string()))?);
        let worker = ConnectionWorker::new(credentials.clone(), settings, name.to_string())?;
        let pool_stats = gauges::pool_stats(worker.pool());
        std::thread::Builder::new()
            .name(format!("{name}-mysql"))
            .spawn(move || worker::run(worker, queue))
            .map_err(|e| StoreError::Internal(format!("no thread for the connections of {name}: {e}")))?;
        let lists = Permits::new((settings.connections / LISTS_SHARE).max(1));
        Ok(Db(Arc::new(Inner { name: name.to_string(), credentials, jobs, pool_stats, lists, committed: Notify::new() })))
    }

    /// How to change the credentials of the open database: from new settings, or earlier if the server refuses the
    /// current ones.
    pub(in crate::data) fn renewal(&self, keys: &'static [&'static str], settings: &Settings) -> CredentialRenewal {
        let auth_failure_signal = settings.vault.url.is_some().then(|| self.0.credentials.refusal_signal());
        let db = self.clone();
        let apply = move |settings: &Settings| match settings.store_url(db.name())? {
            StoreUrl::MySql(server) => Ok(db.replace_credentials(&server)?),
            #[cfg(feature = "sqlite")]
            StoreUrl::Sqlite(_) => Err(MySqlUrlError::OtherStore { module: db.name().into() }.into()),
        };
        CredentialRenewal { keys, apply: Arc::new(apply), auth_failure_signal }
    }

    /// New connections use the new credentials at once. Transactions in progress end on their connections, which then
    /// close: within the transaction timeout.
    fn replace_credentials(&self, server: &MySqlUrl) -> Result<(), MySqlUrlError> {
        self.0.credentials.replace(server, self.name())?;
        tracing::info!(store = self.name(), "new credentials; connections with old ones will close");
        let job: Job = Box::new(move |worker| Box::pin(async move { worker.retire_connections().await }));
        if self.0.jobs.try_send(job).is_err() {
            // the queue is full: each queued transaction drops the old connections that it acquires
            self.0.credentials.invalidate_before(std::time::Instant::now());
        }
        Ok(())
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
    /// rollback. `work` may run more than once, for instance after a deadlock: it must change nothing but the database,
    /// and await nothing but the connection.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: AsyncFn(&mut Conn) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let written = self.run(BEGIN_WRITE, None, work).await?;
        self.0.committed.notify_waiters();
        Ok(written)
    }

    /// Runs `work` on one snapshot, reading only. Not for lists.
    pub async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: AsyncFn(&mut Conn) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.run(BEGIN_READ, None, work).await
    }

    /// Like `read`, for lists and searches: they have few permits of their own, and leave connections to all other work.
    pub async fn list<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: AsyncFn(&mut Conn) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let unavailable = |cause: String| E::from(StoreError::Unavailable { store: self.0.name.clone(), cause });
        let permit = self.0.lists.acquire().await.map_err(|e| unavailable(e.to_string()))?;
        self.run(BEGIN_READ, Some(permit), work).await
    }

    /// Holds the permit until the transaction has ended, also if the caller is cancelled.
    async fn run<T, E, F>(&self, begin: &'static str, permit: Option<OwnedSemaphorePermit>, work: F) -> Result<T, E>
    where
        F: AsyncFn(&mut Conn) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (reply, replied) = oneshot::channel();
        let span = trace::store_span(SYSTEM, &self.0.name);
        let job: Job = Box::new(move |worker| {
            Box::pin(async move {
                let _permit = permit;
                let work = worker.transact(begin, &work);
                let Some(span) = span else {
                    let _ = reply.send(work.await);
                    return;
                };
                let (done, mut statements) = statements::collect_async(span.scope(work)).await;
                // a transaction that succeeds after retries is no failure
                statements.failed =
                    if done.is_ok() { None } else { statements.failed.or((statements.count == 0).then_some("no connection")) };
                statements.record_on(&span);
                let _ = reply.send(done);
            })
        });
        let ended = |cause: &str| E::from(StoreError::Internal(format!("{}: {cause}", self.0.name)));
        self.0.jobs.send(job).await.map_err(|_| ended("its thread has stopped"))?;
        replied.await.map_err(|_| ended("a transaction panicked"))?
    }

    /// Registers the metrics of the queue, of the connections, and of the permits for lists. `store` is the module's name.
    /// The metrics do not keep connections open.
    pub fn register_metrics(&self, store: &str, registry: &Registry) -> Result<(), StartError> {
        let weak = Arc::downgrade(&self.0);
        let listing = weak.clone();
        let depth = move || weak.upgrade().map_or(0, |db| db.jobs.max_capacity() - db.jobs.capacity());
        let lists = move || listing.upgrade().map_or_else(Pool::default, |db| db.lists.pool(None));
        gauges::register(registry, store, MAX_QUEUE, depth, self.0.pool_stats.clone(), lists)
    }
}
