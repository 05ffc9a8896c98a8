//! Connections: made, lent, and watched for trouble.

use super::way::{self, MySqlUrlError};
use super::{Backend, Conn};
use crate::kernel::error::StoreError;
use crate::observe::trace::statements;
use crate::settings::{MySql, MySqlUrl};
use diesel::connection::InstrumentationEvent;
use diesel::result::{ConnectionError, Error as DieselError};
use diesel_async::pooled_connection::deadpool::{Object, Pool, PoolError};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{AsyncConnection, AsyncConnectionCore};
use mysql_async::{Opts, OptsBuilder};
use parking_lot::Mutex;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::timeout;

const _: fn() = || {
    fn speaks<C: AsyncConnectionCore<Backend = Backend>>() {}
    speaks::<Conn>();
};

/// What every session is told. Messages in English, because they are all that is left of an error's
/// number when it reaches us; strict, so that nothing is cut to fit; no gap locks.
const SESSION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
    SET SESSION lc_messages = 'en_US', sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'";

/// Limits for a session that serves requests. MySQL and MariaDB read one of the comments each; MySQL's
/// limit is for SELECT alone. Both count the wait for locks, which has a limit of its own and is no reason
/// to end a statement: what waited in vain is run again.
fn limits(settings: &MySql) -> String {
    let lock_seconds = settings.statement_ms.div_ceil(1000).max(1);
    let ms = settings.statement_ms + lock_seconds * 1000;
    format!(
        "{SESSION}, autocommit = 0, innodb_lock_wait_timeout = {} /*!80000 , max_execution_time = {ms} */ /*M!100100 , max_statement_time = {} */",
        lock_seconds,
        ms as f64 / 1000.0
    )
}

/// Why there is no connection.
pub(super) struct NoConnection {
    /// What was said, and what to do.
    pub(super) cause: String,
    /// Whether it may be another time: nobody answered. Who answers and refuses is not asked again.
    pub(super) later: bool,
    /// Whether the server refuses our credentials.
    pub(super) denied: bool,
}

/// A connection for work that may take its time.
pub(super) async fn establish(way: &Opts, settings: &MySql) -> Result<Conn, NoConnection> {
    connect(way, SESSION, Duration::from_millis(settings.connect_ms)).await
}

async fn connect(way: &Opts, session: &str, patience: Duration) -> Result<Conn, NoConnection> {
    let encrypted = way.ssl_opts().is_some();
    let way = OptsBuilder::from_opts(way.clone()).init(vec![session]);
    let made = async {
        let conn = mysql_async::Conn::new(way).await.map_err(|cause| way::refused(&cause, encrypted))?;
        Conn::try_from(conn).await.map_err(|cause| NoConnection { cause: cause.to_string(), later: true, denied: false })
    };
    timeout(patience, made)
        .await
        .unwrap_or_else(|_| Err(NoConnection { cause: "no connection in time".into(), later: true, denied: false }))
}

/// The way to the server with the credentials in force, which may change while there are connections.
pub(super) struct Access {
    way: Mutex<(MySqlUrl, Opts)>,
    /// What was connected before is of no more use.
    since: Mutex<Instant>,
    changed: Notify,
    refused: Arc<Notify>,
    /// When the server last refused our credentials. The pool hands on the text of an error, and not its number.
    denied: Mutex<Option<Instant>>,
    /// Whether somebody gives new credentials when these are refused.
    renewed: AtomicBool,
}

impl Access {
    /// `name` is the module's.
    pub(super) fn new(server: &MySqlUrl, name: &str) -> Result<Self, MySqlUrlError> {
        let (way, since) = (Mutex::new((server.clone(), way::to(server, name)?)), Mutex::new(Instant::now()));
        Ok(Self { way, since, changed: Notify::new(), refused: Arc::default(), denied: Mutex::default(), renewed: AtomicBool::new(false) })
    }

    /// Who hears that the server refuses the credentials, and gives new ones by [`Access::change`].
    pub(super) fn renewed_by(&self) -> Arc<Notify> {
        self.renewed.store(true, Ordering::Relaxed);
        self.refused.clone()
    }

    fn way(&self) -> Opts {
        self.way.lock().1.clone()
    }

    fn since(&self) -> Instant {
        *self.since.lock()
    }

    /// From here on nobody is lent what was connected before.
    pub(super) fn cut(&self, now: Instant) {
        *self.since.lock() = now;
    }

    fn note_denial(&self) {
        *self.denied.lock() = Some(Instant::now());
    }

    /// Whether the server has refused our credentials since then.
    fn was_denied_since(&self, then: Instant) -> bool {
        self.denied.lock().is_some_and(|at| at >= then)
    }

    /// Other credentials for the same database.
    pub(super) fn change(&self, server: &MySqlUrl, name: &str) -> Result<(), MySqlUrlError> {
        fn place(server: &MySqlUrl) -> &str {
            let url = server.url.expose();
            url.rsplit_once('@').map_or(url, |(_, place)| place)
        }
        let next = (server.clone(), way::to(server, name)?);
        let mut current = self.way.lock();
        if place(&current.0) != place(server) || current.0.tls != server.tls {
            return Err(MySqlUrlError::OtherDatabase { module: name.into() });
        }
        *current = next;
        drop(current);
        self.changed.notify_waiters();
        Ok(())
    }
}

/// As many as settings allow, made when they are needed.
pub(super) fn pool(access: &Arc<Access>, settings: &MySql) -> Result<Pool<Conn>, StoreError> {
    let (session, patience, access) = (limits(settings), Duration::from_millis(settings.connect_ms), access.clone());
    let mut config = ManagerConfig::<Conn>::default();
    // every transaction begins with a statement: one more to see whether the connection is alive is one too many
    config.recycling_method = RecyclingMethod::Fast;
    config.custom_setup = Box::new(move |_| {
        let (way, session, access) = (access.way(), session.clone(), access.clone());
        Box::pin(async move {
            let made = connect(&way, &session, patience).await;
            made.map_err(|no| {
                if no.denied {
                    access.note_denial();
                }
                ConnectionError::BadConnection(no.cause)
            })
        })
    });
    // the way there is the setup's
    let manager = AsyncDieselConnectionManager::new_with_config("", config);
    Pool::builder(manager).max_size(settings.connections.max(1)).build().map_err(|e| StoreError::Broken(e.to_string()))
}

/// How long those are waited for who look for new credentials.
const RENEWAL: Duration = Duration::from_secs(3);

/// Why there is no connection for a transaction.
#[derive(Debug, thiserror::Error)]
pub(super) enum AcquireError {
    /// None could be made.
    #[error("{0}")]
    Pool(#[source] PoolError),
    /// All are in use.
    #[error("none of {connections} connections was free in time")]
    Busy { connections: usize },
}

/// A connection, within this time; otherwise why there is none. Where the server refuses our credentials,
/// newer ones are asked for and waited for, once.
pub(super) async fn acquire(pool: &Pool<Conn>, access: &Access, patience: Duration) -> Result<Object<Conn>, AcquireError> {
    let began = Instant::now();
    let mut changed = pin!(access.changed.notified());
    changed.as_mut().enable();
    match current(pool, access, patience).await {
        Err(cause) if access.was_denied_since(began) && access.renewed.load(Ordering::Relaxed) => {
            access.refused.notify_one();
            match timeout(RENEWAL.min(patience), changed).await {
                Ok(()) => current(pool, access, patience).await,
                Err(_) => Err(cause),
            }
        }
        got => got,
    }
}

async fn current(pool: &Pool<Conn>, access: &Access, patience: Duration) -> Result<Object<Conn>, AcquireError> {
    let got = timeout(patience, async {
        loop {
            let conn = pool.get().await.map_err(AcquireError::Pool)?;
            if Object::metrics(&conn).created >= access.since() {
                return Ok(conn);
            }
            drop(Object::take(conn));
        }
    });
    got.await.unwrap_or_else(|_| Err(AcquireError::Busy { connections: pool.status().max_size }))
}

/// What a failed statement means for its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Others were in its way: repeat it.
    Conflict,
    /// The connection is gone, or of no more use.
    Lost,
    /// The server stopped it.
    Stopped,
}

impl Trouble {
    /// By the server's words: diesel-async drops its numbers (deadlock 1213, lock wait 1205, MariaDB's
    /// 1020), and puts words of its own before what is no answer of the server's.
    pub(super) fn of(error: &DieselError) -> Option<Self> {
        let DieselError::DatabaseError(_, info) = error else { return None };
        let text = info.message();
        let begins = |all: &[&str]| all.iter().any(|start| text.starts_with(start));
        if text.contains("try restarting transaction") || begins(&["Record has changed since last read"]) {
            Some(Trouble::Conflict)
        } else if begins(&["Input/output error", "Driver error", "Other error", "Server shutdown in progress", "Connection was killed"])
            || text.contains("read-only option")
        {
            Some(Trouble::Lost)
        } else if begins(&["Query execution was interrupted"]) {
            Some(Trouble::Stopped)
        } else {
            None
        }
    }
}

/// Why an attempt at a transaction came to nothing.
pub(super) enum Failure<E> {
    /// The work said so.
    Refused(E),
    /// A statement of ours failed.
    Sql(DieselError),
    /// Another attempt makes sense.
    Again(String),
    /// None does.
    Given(String),
}

/// Sees every statement of a connection fail, even where the error has been made into another one since.
#[derive(Clone, Default)]
pub(super) struct Watch(Arc<Mutex<Option<(Trouble, String)>>>);

impl Watch {
    /// Watches from here on; the last one counts.
    pub(super) fn over(conn: &mut Conn) -> Self {
        let watch = Self::default();
        let seen = watch.clone();
        conn.set_instrumentation(move |event: InstrumentationEvent<'_>| {
            statements::on_event(&event);
            if let InstrumentationEvent::FinishQuery { error: Some(error), .. } = event {
                seen.note(error);
            }
        });
        watch
    }

    fn note(&self, error: &DieselError) {
        if let Some(trouble) = Trouble::of(error) {
            let mut seen = self.0.lock();
            // the first is the cause, unless what follows is worse
            if seen.is_none() || trouble == Trouble::Lost {
                *seen = Some((trouble, error.to_string()));
            }
        }
    }

    /// What has happened, if anything.
    pub(super) fn seen(&self) -> Option<Trouble> {
        self.0.lock().as_ref().map(|(trouble, _)| *trouble)
    }

    /// What has happened, as the reason for an attempt's end.
    pub(super) fn failure<E>(&self) -> Option<Failure<E>> {
        let seen = self.0.lock();
        seen.as_ref().map(|(trouble, cause)| match trouble {
            Trouble::Conflict | Trouble::Lost => Failure::Again(cause.clone()),
            Trouble::Stopped => Failure::Given(cause.clone()),
        })
    }

    /// The same for this error of a statement of ours.
    pub(super) fn explain<E>(&self, cause: DieselError) -> Failure<E> {
        self.failure().unwrap_or(Failure::Sql(cause))
    }
}
