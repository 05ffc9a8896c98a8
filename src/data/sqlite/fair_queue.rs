//! Fairness between the writers of several processes on one file.

use super::connection::Conn;
use super::lock_wait::LOCK_POLL_INTERVAL;
use diesel::QueryResult;
use diesel::sqlite::SqliteConnection;
use std::time::{Duration, Instant};

/// Lets other processes write: while another process also writes, a busy writer pauses at intervals for longer than the
/// other process's poll interval.
///
/// Measured with two writers that never pause, 6 s: with SQLite's busy handler 769 and 108 transactions, longest wait
/// more than 5 s, and one refusal; with short polls, longest wait 1.2 s; with pauses 1200 and 996 transactions, longest
/// wait 0.17 s.
pub(super) struct FairWriterQueue {
    data_version: i64,
    /// Another process has written: until when to assume that it still does.
    contended_until: Option<Instant>,
    busy_since: Instant,
}

impl FairWriterQueue {
    const MAX_BUSY: Duration = Duration::from_millis(20);
    const CONTENTION_TIMEOUT: Duration = Duration::from_secs(60);

    pub(super) fn new() -> Self {
        Self { data_version: 0, contended_until: None, busy_since: Instant::now() }
    }

    /// To be called after each transaction. `more`: more requests are queued already.
    pub(super) fn after_transaction(&mut self, conn: &mut Conn, more: bool) {
        let now = Instant::now();
        let version = data_version(conn).unwrap_or_default();
        if self.data_version != 0 && version != self.data_version {
            self.contended_until = Some(now + Self::CONTENTION_TIMEOUT);
        }
        self.data_version = version;
        let contended = self.contended_until.is_some_and(|until| now < until);
        if !more || !contended {
            self.busy_since = now;
        } else if now - self.busy_since > Self::MAX_BUSY {
            std::thread::sleep(LOCK_POLL_INTERVAL * 3);
            self.busy_since = Instant::now();
        }
    }
}

#[derive(diesel::QueryableByName)]
struct DataVersion {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    data_version: i64,
}

/// Changes when another connection has committed.
fn data_version(conn: &mut Conn) -> QueryResult<i64> {
    let query = |c: &mut SqliteConnection| diesel::RunQueryDsl::get_result::<DataVersion>(diesel::sql_query("PRAGMA data_version"), c);
    let version = futures_util::FutureExt::now_or_never(conn.spawn_blocking(query));
    version.unwrap_or(Err(diesel::result::Error::BrokenTransactionManager)).map(|row| row.data_version)
}
