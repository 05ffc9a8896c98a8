//! Connections and their pool.

use super::backend::Conn;
use super::connect_options::refused;
use super::credentials::Credentials;
use super::error::{AcquireError, ConnectError};
use crate::kernel::error::StoreError;
use crate::settings::MySql;
use diesel::result::ConnectionError;
use diesel_async::pooled_connection::deadpool::{Object, Pool};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use mysql_async::{Opts, OptsBuilder};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Run at the start of each session. Messages in English, because diesel-async keeps of an error only its message; strict
/// mode, so that MySQL truncates no value; READ COMMITTED, so that there are no gap locks.
const SESSION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
    SET SESSION lc_messages = 'en_US', sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'";

/// [`SESSION`] with limits, for sessions that serve requests. MySQL and MariaDB read one of the comments each; MySQL's
/// limit is for SELECT alone. Both count the wait for locks. That wait has a shorter limit of its own, after which the
/// transaction is retried, so the statement's limit is longer by it.
fn request_session(settings: &MySql) -> String {
    let lock_seconds = settings.statement_ms.div_ceil(1000).max(1);
    let ms = settings.statement_ms + lock_seconds * 1000;
    format!(
        "{SESSION}, autocommit = 0, innodb_lock_wait_timeout = {} /*!80000 , max_execution_time = {ms} */ /*M!100100 , max_statement_time = {} */",
        lock_seconds,
        ms as f64 / 1000.0
    )
}

/// A connection without statement limits, for migrations and the audit.
pub(super) async fn establish(options: &Opts, settings: &MySql) -> Result<Conn, ConnectError> {
    connect(options, SESSION, Duration::from_millis(settings.connect_ms)).await
}

async fn connect(options: &Opts, session: &str, limit: Duration) -> Result<Conn, ConnectError> {
    let encrypted = options.ssl_opts().is_some();
    let options = OptsBuilder::from_opts(options.clone()).init(vec![session]);
    let connecting = async {
        let conn = mysql_async::Conn::new(options).await.map_err(|cause| refused(&cause, encrypted))?;
        Conn::try_from(conn).await.map_err(|cause| ConnectError { cause: cause.to_string(), retryable: true, denied: false })
    };
    timeout(limit, connecting)
        .await
        .unwrap_or_else(|_| Err(ConnectError { cause: "no connection in time".into(), retryable: true, denied: false }))
}

/// A pool that connects on demand, up to the limit of the settings.
pub(super) fn pool(credentials: &Arc<Credentials>, settings: &MySql) -> Result<Pool<Conn>, StoreError> {
    let (session, limit, credentials) = (request_session(settings), Duration::from_millis(settings.connect_ms), credentials.clone());
    let mut config = ManagerConfig::<Conn>::default();
    // no ping before each use: every transaction begins with a statement anyway
    config.recycling_method = RecyclingMethod::Fast;
    config.custom_setup = Box::new(move |_| {
        let (options, session, credentials) = (credentials.options(), session.clone(), credentials.clone());
        Box::pin(async move {
            let connected = connect(&options, &session, limit).await;
            connected.map_err(|error| {
                if error.denied {
                    credentials.record_denial();
                }
                ConnectionError::BadConnection(error.cause)
            })
        })
    });
    // no URL: `custom_setup` connects
    let manager = AsyncDieselConnectionManager::new_with_config("", config);
    Pool::builder(manager).max_size(settings.connections.max(1)).build().map_err(|e| StoreError::Internal(e.to_string()))
}

/// How long to wait for new credentials after the server has refused the current ones.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(3);

/// Acquires a connection within this time. If the server refuses the credentials, requests and awaits new ones, once.
pub(super) async fn acquire(pool: &Pool<Conn>, credentials: &Credentials, limit: Duration) -> Result<Object<Conn>, AcquireError> {
    let started = Instant::now();
    let mut changed = pin!(credentials.changed());
    changed.as_mut().enable();
    match acquire_valid(pool, credentials, limit).await {
        Err(cause) if credentials.was_denied_since(started) && credentials.request_renewal() => {
            match timeout(RENEWAL_TIMEOUT.min(limit), changed).await {
                Ok(()) => acquire_valid(pool, credentials, limit).await,
                Err(_) => Err(cause),
            }
        }
        acquired => acquired,
    }
}

/// Acquires a connection, and closes those that were made with old credentials.
async fn acquire_valid(pool: &Pool<Conn>, credentials: &Credentials, limit: Duration) -> Result<Object<Conn>, AcquireError> {
    let acquiring = timeout(limit, async {
        loop {
            let conn = pool.get().await.map_err(AcquireError::Pool)?;
            if Object::metrics(&conn).created >= credentials.valid_since() {
                return Ok(conn);
            }
            drop(Object::take(conn));
        }
    });
    acquiring.await.unwrap_or_else(|_| Err(AcquireError::Busy { connections: pool.status().max_size }))
}
