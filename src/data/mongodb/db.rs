//! A MongoDB database.

use super::connect;
use super::driver_thread::DriverThread;
use super::error::store_error;
use super::schema;
use super::schema::Index;
use crate::kernel::error::StoreError;
use crate::observe::trace;
use crate::settings::{Secret, Settings};
use ::mongodb::bson::Document;
use ::mongodb::error::Error;
use ::mongodb::{Collection, Database};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// OpenTelemetry's `db.system.name`.
const SYSTEM: &str = "mongodb";

/// One database on a server or replica set. Cheap to clone; its connections close when the last clone is dropped.
#[derive(Clone)]
pub struct Db(Arc<Inner>);

struct Inner {
    name: String,
    database: Database,
    thread: DriverThread,
    /// Time limit of one operation.
    limit: Duration,
    committed: Notify,
}

impl Db {
    /// Waits for the server as long as settings allow, then creates or checks the indexes of this collection. `name` is
    /// the module's.
    pub fn open(
        url: &Secret,
        name: &str,
        settings: &Settings,
        collection: &'static str,
        indexes: &'static [Index],
    ) -> Result<Self, StoreError> {
        let db = Self::open_without_checks(url, name, settings)?;
        let migrate = settings.mongodb.migrate;
        let (module, all) = (db.name().to_string(), db.collection(collection));
        db.block_on(async move { schema::prepare(&module, &all, indexes, migrate).await })??;
        Ok(db)
    }

    /// The same without a check of the indexes: for readers.
    pub fn open_without_checks(url: &Secret, name: &str, settings: &Settings) -> Result<Self, StoreError> {
        let thread = DriverThread::start(name)?;
        let (url, module, limits, tls) = (url.clone(), name.to_string(), settings.mongodb.clone(), settings.tls.clone());
        let database = thread.block_on(async move { connect::connect_when_ready(&url, &module, &limits, &tls).await })??;
        let limit = Duration::from_millis(settings.mongodb.acquire_ms.saturating_add(settings.mongodb.statement_ms));
        Ok(Db(Arc::new(Inner { name: name.to_string(), database, thread, limit, committed: Notify::new() })))
    }

    /// Owning module's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// A collection, for operations in [`Self::read`] and [`Self::write`].
    pub fn collection(&self, name: &str) -> Collection<Document> {
        self.0.database.collection(name)
    }

    /// For commands without a method of the driver.
    pub fn database(&self) -> Database {
        self.0.database.clone()
    }

    /// Blocks the calling thread until the work is done: do not use it inside an asynchronous runtime.
    pub fn block_on<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, StoreError> {
        self.0.thread.block_on(work)
    }

    /// Waits for the next write of this process. Register before reading the data:
    /// `let next = db.next_commit(); read().await; next.await`.
    pub fn next_commit(&self) -> impl Future<Output = ()> + '_ {
        self.0.committed.notified()
    }

    /// Runs a writing operation; `name` is its name in traces. After `Unavailable` the outcome may be unknown.
    pub async fn write<T: Send + 'static>(
        &self,
        name: &'static str,
        operation: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let done = self.read(name, operation).await?;
        self.0.committed.notify_waiters();
        Ok(done)
    }

    /// Runs an operation within the time limit; `name` is its name in traces.
    pub async fn read<T: Send + 'static>(
        &self,
        name: &'static str,
        operation: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let unavailable = |cause: &str| StoreError::Unavailable { store: self.0.name.clone(), cause: cause.into() };
        let limit = self.0.limit;
        let span = trace::store_span(SYSTEM, &self.0.name);
        if let Some(span) = &span {
            span.rename(format!("{name} {}", self.0.name));
            span.set("db.operation.name", name);
        }
        // the timeout must be polled on the driver's runtime, too
        let done = match self.0.thread.spawn(async move { tokio::time::timeout(limit, operation).await }).await {
            Ok(Ok(done)) => done.map_err(|cause| store_error(&self.0.name, &cause)),
            Ok(Err(_)) => Err(unavailable("an operation was not finished in time")),
            Err(_) => Err(StoreError::Internal(format!("{}: an operation panicked", self.0.name))),
        };
        if let (Some(span), Err(cause)) = (&span, &done) {
            span.fail(match cause {
                StoreError::Unavailable { .. } => "store unavailable",
                StoreError::DuplicateKey(_) => "unique violation",
                _ => "error",
            });
        }
        done
    }
}
