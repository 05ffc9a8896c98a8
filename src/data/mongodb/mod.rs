//! MongoDB, by the official driver.
//!
//! Each database has a thread of its own that the driver, its connections and every operation live on. So an
//! operation whose caller gives up comes to its end, and a connection outlives the HTTP worker that first
//! wanted it.
//!
//! There are no transactions here, and none are needed: a change is one update of one document, and carries
//! its event in it (see [`outbox`]). That works on a single server as it does on a replica set. A write is
//! answered once a majority has it in its journal, and only what a majority has is read, so that nothing is
//! told or published that a new primary might not know. Where a connection breaks the driver sends a write
//! once more by itself if it is safe to (on a replica set), and a read always.

mod connect;
mod lease;
mod schema;

pub use schema::Index;

use crate::kernel::error::StoreError;
use crate::observe::trace;
use crate::settings::{Secret, Settings};
use ::mongodb::bson::Document;
use ::mongodb::error::{Error, ErrorKind, WriteFailure};
use ::mongodb::{Collection, Database};
use connect::Home;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Its name among database systems, for traces.
const SYSTEM: &str = "mongodb";

/// A key that is taken.
const DUPLICATE: i32 = 11000;
/// Codes by which a server says that it is not the one to ask now: it stops, steps down, is too busy, or has
/// no room in a document for another waiting event.
const NOT_NOW: [i32; 14] = [6, 7, 50, 89, 91, 189, 262, 10107, 10334, 11600, 11602, 13435, 13436, 17419];

/// One database on a server or replica set. Cheap to clone; its connections close when the last clone is dropped.
#[derive(Clone)]
pub struct Db(Arc<Inner>);

struct Inner {
    name: String,
    database: Database,
    home: Home,
    limit: Duration,
    committed: Notify,
}

impl Db {
    /// Waits for the server as long as settings say, then creates or checks the indexes of this collection.
    /// `name` is the module's.
    pub fn open(
        url: &Secret,
        name: &str,
        settings: &Settings,
        collection: &'static str,
        indexes: &'static [Index],
    ) -> Result<Self, StoreError> {
        let db = Self::look(url, name, settings)?;
        let migrate = settings.mongodb.migrate;
        let (module, all) = (db.name().to_string(), db.collection(collection));
        db.block(async move { schema::prepare(&module, &all, indexes, migrate).await })??;
        Ok(db)
    }

    /// The same, with its indexes taken as they are: to read.
    pub fn look(url: &Secret, name: &str, settings: &Settings) -> Result<Self, StoreError> {
        let home = Home::new(name)?;
        let (url, module, limits, tls) = (url.clone(), name.to_string(), settings.mongodb.clone(), settings.tls.clone());
        let database = home.block(async move { connect::reach(&url, &module, &limits, &tls).await })??;
        let limit = Duration::from_millis(settings.mongodb.acquire_ms.saturating_add(settings.mongodb.statement_ms));
        Ok(Db(Arc::new(Inner { name: name.to_string(), database, home, limit, committed: Notify::new() })))
    }

    /// Whose it is.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// A collection, to be asked in [`Self::read`] and [`Self::write`].
    pub fn collection(&self, name: &str) -> Collection<Document> {
        self.0.database.collection(name)
    }

    /// The database, for commands.
    pub fn database(&self) -> Database {
        self.0.database.clone()
    }

    /// Waits for this on the calling thread: not for use inside an asynchronous runtime.
    pub fn block<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, StoreError> {
        self.0.home.block(work)
    }

    /// Waits for the next write of this process. Register before looking at the data:
    /// `let woken = db.committed(); look().await; woken.await`.
    pub fn committed(&self) -> impl Future<Output = ()> + '_ {
        self.0.committed.notified()
    }

    /// Runs an operation of this name that changes something. `Unavailable` may mean that nobody knows whether it was done.
    pub async fn write<T: Send + 'static>(
        &self,
        name: &'static str,
        operation: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let done = self.read(name, operation).await?;
        self.0.committed.notify_waiters();
        Ok(done)
    }

    /// Runs an operation of this name, within its time.
    pub async fn read<T: Send + 'static>(
        &self,
        name: &'static str,
        operation: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let unavailable = |cause: &str| StoreError::Unavailable { store: self.0.name.clone(), cause: cause.into() };
        let limit = self.0.limit;
        let span = trace::on_store(SYSTEM, &self.0.name);
        if let Some(span) = &span {
            span.rename(format!("{name} {}", self.0.name));
            span.set("db.operation.name", name);
        }
        // the clock is the thread's, too
        let done = match self.0.home.spawn(async move { tokio::time::timeout(limit, operation).await }).await {
            Ok(Ok(done)) => done.map_err(|cause| explain(&self.0.name, &cause)),
            Ok(Err(_)) => Err(unavailable("an operation was not finished in time")),
            Err(_) => Err(StoreError::Broken(format!("{}: an operation panicked", self.0.name))),
        };
        if let (Some(span), Err(cause)) = (&span, &done) {
            span.fail(match cause {
                StoreError::Unavailable { .. } => "store away",
                StoreError::Taken(_) => "unique violation",
                _ => "error",
            });
        }
        done
    }
}

/// What an error of the driver means. It names servers, and neither users nor passwords.
fn explain(store: &str, error: &Error) -> StoreError {
    let away = || StoreError::Unavailable { store: store.into(), cause: error.to_string() };
    match error.kind.as_ref() {
        ErrorKind::Write(WriteFailure::WriteError(cause)) if cause.code == DUPLICATE => StoreError::Taken(cause.message.clone()),
        ErrorKind::Command(cause) if cause.code == DUPLICATE => StoreError::Taken(cause.message.clone()),
        ErrorKind::Write(WriteFailure::WriteError(cause)) if NOT_NOW.contains(&cause.code) => away(),
        ErrorKind::Command(cause) if NOT_NOW.contains(&cause.code) => away(),
        // written, and not yet by a majority: nobody knows what will become of it
        ErrorKind::Write(WriteFailure::WriteConcernError(_)) => away(),
        ErrorKind::Io(_)
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::ServerSelection { .. }
        | ErrorKind::DnsResolve { .. }
        | ErrorKind::Authentication { .. } => away(),
        _ => StoreError::Broken(format!("{store}: {error}")),
    }
}
