//! The schema: checked at every start; migrated and reverted under a lock on the server.

use super::backend::{Backend, Conn};
use super::connect_options::connect_options;
use super::connections;
use super::error::ConnectError;
use crate::kernel::error::StoreError;
use crate::settings::{MySql, MySqlUrl};
use backon::{ConstantBuilder, Retryable};
use diesel::RunQueryDsl;
use diesel::migration::MigrationSource;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness};
use mysql_async::Opts;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// diesel's migrations need a blocking connection.
pub type Blocking = AsyncConnectionWrapper<Conn>;

/// Retry interval until the server is up.
const RETRY: ConstantBuilder = ConstantBuilder::new().with_delay(Duration::from_millis(500)).without_max_times();
/// How long to wait for another process that migrates the same schema, in seconds.
const LOCK_SECONDS: u32 = 120;

#[derive(diesel::QueryableByName)]
struct Version {
    #[diesel(sql_type = diesel::sql_types::Text)]
    version: String,
}

#[derive(diesel::QueryableByName)]
struct TableCount {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    count: i64,
}

#[derive(diesel::QueryableByName)]
struct LockResult {
    #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::BigInt>)]
    acquired: Option<i64>,
}

/// Applies pending migrations if settings allow it, and fails otherwise. Without pending migrations it only reads:
/// serving needs no right to change a schema.
pub(super) fn prepare(server: &MySqlUrl, name: &str, settings: &MySql, migrations: EmbeddedMigrations) -> Result<(), StoreError> {
    with_connection(server, name, settings, |conn| {
        let pending = pending(conn, &migrations)?;
        if pending.is_empty() {
            return Ok(());
        }
        if !settings.migrate {
            return Err(StoreError::SchemaOutdated { store: name.into(), pending: pending.len(), setting: "mysql.migrate" });
        }
        lock(conn, name)?;
        let applied = conn.run_pending_migrations(migrations).map_err(|e| StoreError::Internal(format!("migrations of {name}: {e}")))?;
        for version in applied {
            tracing::info!(store = name, %version, "migration applied");
        }
        Ok(())
    })
}

/// Reverts the last migration. Returns its version, or `None` if none is applied.
pub fn revert(server: &MySqlUrl, name: &str, settings: &MySql, migrations: EmbeddedMigrations) -> Result<Option<String>, StoreError> {
    with_connection(server, name, settings, |conn| {
        lock(conn, name)?;
        if applied(conn)?.is_empty() {
            return Ok(None);
        }
        let reverted = conn.revert_last_migration(migrations);
        reverted.map(|version| Some(version.to_string())).map_err(|e| StoreError::Internal(format!("migrations of {name}: {e}")))
    })
}

/// Runs `work` with a connection, on a thread that may block.
fn with_connection<T: Send>(
    server: &MySqlUrl,
    name: &str,
    settings: &MySql,
    work: impl FnOnce(&mut Blocking) -> Result<T, StoreError> + Send,
) -> Result<T, StoreError> {
    let options = connect_options(server, name).map_err(|wrong| StoreError::Internal(wrong.to_string()))?;
    let blocking = || {
        let runtime = runtime()?;
        let _inside = runtime.enter();
        work(&mut Blocking::from(runtime.block_on(connect_when_ready(&options, name, settings))?))
    };
    std::thread::scope(|threads| threads.spawn(blocking).join())
        .unwrap_or_else(|_| Err(StoreError::Internal("a migration panicked".into())))
}

/// A runtime with a worker thread of its own: diesel's blocking calls run outside it.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, StoreError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.map_err(|e| StoreError::Internal(e.to_string()))
}

/// Retries until the server is up. Fails at once if the server answers and refuses.
async fn connect_when_ready(options: &Opts, name: &str, settings: &MySql) -> Result<Conn, StoreError> {
    let since = Instant::now();
    let establish = || connections::establish(options, settings);
    let retryable = |error: &ConnectError| error.retryable && since.elapsed().as_secs() < settings.wait_seconds;
    let warn = |error: &ConnectError, _| tracing::warn!(store = name, cause = error.cause, "no connection yet; will retry");
    let connected = establish.retry(RETRY).when(retryable).notify(warn).await;
    connected.map_err(|error| StoreError::Unavailable { store: name.into(), cause: error.cause })
}

fn pending(conn: &mut Blocking, migrations: &EmbeddedMigrations) -> Result<Vec<String>, StoreError> {
    let applied = applied(conn)?;
    let all = MigrationSource::<Backend>::migrations(migrations).map_err(|e| StoreError::Internal(e.to_string()))?;
    Ok(all.iter().map(|migration| migration.name().version().to_string()).filter(|version| !applied.contains(version)).collect())
}

fn applied(conn: &mut Blocking) -> Result<BTreeSet<String>, StoreError> {
    // checked first: diesel-async drops the code of "no such table"
    let exists = "SELECT COUNT(*) AS count FROM information_schema.tables \
        WHERE table_schema = DATABASE() AND table_name = '__diesel_schema_migrations'";
    if diesel::sql_query(exists).get_result::<TableCount>(conn)?.count == 0 {
        return Ok(BTreeSet::new());
    }
    let rows: Vec<Version> = diesel::sql_query("SELECT version FROM __diesel_schema_migrations").load(conn)?;
    Ok(rows.into_iter().map(|row| row.version).collect())
}

/// Of several instances that start at once, one migrates and the others find nothing pending. The server releases the
/// lock when the connection closes, so a crash leaves none.
fn lock(conn: &mut Blocking, name: &str) -> Result<(), StoreError> {
    let query = format!("SELECT CAST(GET_LOCK(MD5(CONCAT('tradepost.', DATABASE())), {LOCK_SECONDS}) AS SIGNED) AS acquired");
    let LockResult { acquired } = diesel::sql_query(query).get_result(conn)?;
    if acquired == Some(1) {
        return Ok(());
    }
    let cause = format!("another process has been changing its schema for {LOCK_SECONDS} s");
    Err(StoreError::Unavailable { store: name.into(), cause })
}
