//! The schema: checked at every start, applied and taken back under a lock of the server's.

use super::connections::{self, NoConnection};
use super::{Backend, Conn, way};
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

/// diesel's migrations are written for connections that block.
pub type Blocking = AsyncConnectionWrapper<Conn>;

/// Retry interval until the server is up.
const RETRY: ConstantBuilder = ConstantBuilder::new().with_delay(Duration::from_millis(500)).without_max_times();
/// How long others are waited for that change the same schema, in seconds.
const LOCK_SECONDS: u32 = 120;

#[derive(diesel::QueryableByName)]
struct Version {
    #[diesel(sql_type = diesel::sql_types::Text)]
    version: String,
}

#[derive(diesel::QueryableByName)]
struct Tables {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    tables: i64,
}

#[derive(diesel::QueryableByName)]
struct Lock {
    #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::BigInt>)]
    got: Option<i64>,
}

/// Applies what is pending where settings allow it, and refuses otherwise. What is up to date is only
/// read: serving needs no right to change a schema.
pub(super) fn prepare(server: &MySqlUrl, name: &str, settings: &MySql, migrations: EmbeddedMigrations) -> Result<(), StoreError> {
    connected(server, name, settings, |conn| {
        let pending = pending(conn, &migrations)?;
        if pending.is_empty() {
            return Ok(());
        }
        if !settings.migrate {
            return Err(StoreError::Outdated { store: name.into(), pending: pending.len(), setting: "mysql.migrate" });
        }
        lock(conn, name)?;
        let applied = conn.run_pending_migrations(migrations).map_err(|e| StoreError::Broken(format!("migrations of {name}: {e}")))?;
        for version in applied {
            tracing::info!(store = name, %version, "migration applied");
        }
        Ok(())
    })
}

/// Takes the last migration back; its version, or `None` where there was none.
pub fn revert(server: &MySqlUrl, name: &str, settings: &MySql, migrations: EmbeddedMigrations) -> Result<Option<String>, StoreError> {
    connected(server, name, settings, |conn| {
        lock(conn, name)?;
        if applied(conn)?.is_empty() {
            return Ok(None);
        }
        let reverted = conn.revert_last_migration(migrations);
        reverted.map(|version| Some(version.to_string())).map_err(|e| StoreError::Broken(format!("migrations of {name}: {e}")))
    })
}

/// Runs `work` with a connection, on a thread where blocking is allowed.
fn connected<T: Send>(
    server: &MySqlUrl,
    name: &str,
    settings: &MySql,
    work: impl FnOnce(&mut Blocking) -> Result<T, StoreError> + Send,
) -> Result<T, StoreError> {
    let way = way::to(server, name).map_err(|wrong| StoreError::Broken(wrong.to_string()))?;
    let blocking = || {
        let runtime = runtime()?;
        let _inside = runtime.enter();
        work(&mut Blocking::from(runtime.block_on(reach(&way, name, settings))?))
    };
    std::thread::scope(|threads| threads.spawn(blocking).join()).unwrap_or_else(|_| Err(StoreError::Broken("a migration panicked".into())))
}

/// One that drives itself: diesel's blocking calls come in from outside.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, StoreError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.map_err(|e| StoreError::Broken(e.to_string()))
}

/// Waits for a server that is not up yet. One that answers and refuses is not asked again.
async fn reach(way: &Opts, name: &str, settings: &MySql) -> Result<Conn, StoreError> {
    let since = Instant::now();
    let establish = || connections::establish(way, settings);
    let later = |no: &NoConnection| no.later && since.elapsed().as_secs() < settings.wait_seconds;
    let warn = |no: &NoConnection, _| tracing::warn!(store = name, cause = no.cause, "no connection yet; will try again");
    let reached = establish.retry(RETRY).when(later).notify(warn).await;
    reached.map_err(|no| StoreError::Unavailable { store: name.into(), cause: no.cause })
}

fn pending(conn: &mut Blocking, migrations: &EmbeddedMigrations) -> Result<Vec<String>, StoreError> {
    let applied = applied(conn)?;
    let all = MigrationSource::<Backend>::migrations(migrations).map_err(|e| StoreError::Broken(e.to_string()))?;
    Ok(all.iter().map(|migration| migration.name().version().to_string()).filter(|version| !applied.contains(version)).collect())
}

fn applied(conn: &mut Blocking) -> Result<BTreeSet<String>, StoreError> {
    // asked for first: diesel-async drops the number of "no such table"
    let there = "SELECT COUNT(*) AS tables FROM information_schema.tables \
        WHERE table_schema = DATABASE() AND table_name = '__diesel_schema_migrations'";
    if diesel::sql_query(there).get_result::<Tables>(conn)?.tables == 0 {
        return Ok(BTreeSet::new());
    }
    let rows: Vec<Version> = diesel::sql_query("SELECT version FROM __diesel_schema_migrations").load(conn)?;
    Ok(rows.into_iter().map(|row| row.version).collect())
}

/// Of several instances that start at once, one changes the schema and the others find it changed. The
/// lock ends with the connection, whatever becomes of us.
fn lock(conn: &mut Blocking, name: &str) -> Result<(), StoreError> {
    let query = format!("SELECT CAST(GET_LOCK(MD5(CONCAT('tradepost.', DATABASE())), {LOCK_SECONDS}) AS SIGNED) AS got");
    let Lock { got } = diesel::sql_query(query).get_result(conn)?;
    if got == Some(1) {
        return Ok(());
    }
    let cause = format!("another process has been changing its schema for {LOCK_SECONDS} s");
    Err(StoreError::Unavailable { store: name.into(), cause })
}
