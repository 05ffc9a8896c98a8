//! A copy of a database that others write to meanwhile, as of a moment that several copies can share.
//!
//! SQLite's own ways choose their moment themselves: `VACUUM INTO` must not run in a transaction. So the copy is made
//! by statements of one transaction, that of the new file, to which the old one is attached: what is read of
//! it is a snapshot from the first look on, however long the rest takes.

use super::connect;
use super::turns::{is_locked, patiently_until};
use crate::kernel::error::StoreError;
use crate::kernel::files;
use diesel::connection::SimpleConnection;
use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;
use diesel::{Connection, QueryResult, RunQueryDsl};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long all that write are kept waiting for the last of several locks, before they are let go on for a while.
const TOGETHER: Duration = Duration::from_millis(250);
/// How often that is tried.
const ATTEMPTS: u32 = 40;

/// One copy, begun or not.
pub struct Copy {
    /// Keeps writers out while a moment is chosen.
    gate: SqliteConnection,
    /// Of the new file; the old one is attached to it as `source`.
    conn: SqliteConnection,
}

#[derive(diesel::QueryableByName)]
struct Part {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    sql: String,
}

impl Copy {
    /// Opens the database, which must be there, and makes the new file, which must not, for its owner alone.
    pub fn open(source: &Path, target: &Path) -> Result<Self, StoreError> {
        let away = |cause: String| StoreError::Unavailable { store: source.display().to_string(), cause };
        if !source.is_file() {
            return Err(away("there is no such file".into()));
        }
        files::create(target).map_err(|e| StoreError::Broken(format!("{}: {e}", target.display())))?;
        let mut gate = connect(source)?;
        gate.batch_execute("PRAGMA busy_timeout = 0")?;
        let mut conn = SqliteConnection::establish(&target.to_string_lossy()).map_err(|e| away(e.to_string()))?;
        // nothing of it counts before it is whole; then its file is synced as a whole
        conn.batch_execute("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; PRAGMA busy_timeout = 5000;")?;
        diesel::sql_query("ATTACH ? AS source").bind::<Text, _>(source.to_string_lossy()).execute(&mut conn)?;
        Ok(Self { gate, conn })
    }

    /// Copies the database as of the moment that [`at_once`] chose.
    pub fn write(mut self) -> Result<(), StoreError> {
        let parts = "SELECT type AS kind, name, sql FROM source.sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid";
        let parts: Vec<Part> = diesel::sql_query(parts).load(&mut self.conn)?;
        // that one makes itself; ids that were given once are not given again
        let (own, parts): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| part.name.starts_with("sqlite_"));
        let (tables, rest): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| part.kind == "table");
        for Part { name, sql, .. } in &tables {
            self.conn.batch_execute(sql)?;
            let name = name.replace('"', "\"\"");
            self.conn.batch_execute(&format!("INSERT INTO main.\"{name}\" SELECT * FROM source.\"{name}\""))?;
        }
        if own.iter().any(|part| part.name == "sqlite_sequence") {
            self.conn
                .batch_execute("DELETE FROM main.sqlite_sequence; INSERT INTO main.sqlite_sequence SELECT * FROM source.sqlite_sequence")?;
        }
        for Part { sql, .. } in &rest {
            self.conn.batch_execute(sql)?;
        }
        // as it will be opened: whoever only looks into the copy leaves its bytes as they are
        Ok(self.conn.batch_execute("COMMIT; PRAGMA main.journal_mode = WAL")?)
    }
}

/// Begins all of these copies at one moment, at which nobody was writing to any of the databases: what is committed
/// in them then is what a crash of all processes would have left. Answers how long writers were kept out.
pub fn at_once(copies: &mut [Copy]) -> Result<Duration, StoreError> {
    let mut longest = Duration::ZERO;
    for _ in 0..ATTEMPTS {
        let since = Instant::now();
        let held = copies.iter_mut().try_for_each(|copy| hold(&mut copy.gate, since + TOGETHER));
        let begun = if held.is_ok() { copies.iter_mut().try_for_each(begin) } else { Ok(()) };
        for copy in copies.iter_mut() {
            // those that were not held have no transaction to end
            let _ = copy.gate.batch_execute("ROLLBACK");
        }
        longest = longest.max(since.elapsed());
        begun?;
        match held {
            Ok(()) => return Ok(longest),
            Err(cause) if is_locked(&cause) => std::thread::sleep(TOGETHER),
            Err(cause) => return Err(cause.into()),
        }
    }
    let cause = "they are written to all the time; try again when there is less to do".into();
    Err(StoreError::Unavailable { store: "embedded".into(), cause })
}

/// Takes the one lock of a database that writers need.
fn hold(gate: &mut SqliteConnection, until: Instant) -> QueryResult<()> {
    patiently_until(until, || gate.batch_execute("BEGIN IMMEDIATE"))
}

/// The first look: from here on it sees what is there now.
fn begin(copy: &mut Copy) -> QueryResult<()> {
    copy.conn.batch_execute("BEGIN; SELECT count(*) FROM source.sqlite_schema")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, k TEXT); CREATE UNIQUE INDEX t_k ON t(k);
        CREATE TABLE \"a \"\"b\" (k TEXT PRIMARY KEY) WITHOUT ROWID;
        INSERT INTO t(k) VALUES ('kept'), ('taken off'); DELETE FROM t WHERE k = 'taken off'; INSERT INTO \"a \"\"b\" VALUES ('kept')";

    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        k: String,
    }

    fn keys(conn: &mut SqliteConnection, table: &str) -> Vec<String> {
        diesel::sql_query(format!("SELECT k FROM {table} ORDER BY k")).load::<Row>(conn).unwrap().into_iter().map(|row| row.k).collect()
    }

    /// Two databases that are written to before the copies are begun, after, and while they are made.
    #[test]
    fn copies_begun_at_once_show_that_moment_and_keep_nobody_waiting_after() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let mut sources: Vec<_> = ["one", "two"].iter().map(|name| connect(&path(name)).unwrap()).collect();
        sources.iter_mut().for_each(|conn| conn.batch_execute(SCHEMA).unwrap());
        let mut copies: Vec<_> =
            ["one", "two"].iter().map(|name| Copy::open(&path(name), &path(&format!("{name}-copy"))).unwrap()).collect();
        at_once(&mut copies).unwrap();
        let later = "PRAGMA busy_timeout = 0; INSERT INTO t(k) VALUES ('later'); DELETE FROM \"a \"\"b\"; PRAGMA wal_checkpoint(RESTART)";
        sources.iter_mut().for_each(|conn| conn.batch_execute(later).unwrap());
        copies.into_iter().for_each(|copy| copy.write().unwrap());
        for name in ["one-copy", "two-copy"] {
            let before = std::fs::read(path(name)).unwrap();
            let mut conn = connect(&path(name)).unwrap();
            assert_eq!(keys(&mut conn, "t"), ["kept"]);
            assert_eq!(keys(&mut conn, "\"a \"\"b\""), ["kept"]);
            drop(conn);
            assert!(std::fs::read(path(name)).unwrap() == before, "whoever looked into it has changed it");
            let mut conn = connect(&path(name)).unwrap();
            conn.batch_execute("INSERT INTO t(k) VALUES ('new')").unwrap();
            assert_eq!(
                keys(&mut conn, "(SELECT CAST(id AS TEXT) AS k FROM t WHERE k = 'new')"),
                ["3"],
                "an id that was given is not given again"
            );
            assert!(conn.batch_execute("INSERT INTO t(k) VALUES ('new')").is_err(), "its indexes are there, too");
        }
    }

    #[test]
    fn while_one_of_several_databases_is_being_written_to_none_is_held_for_long() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        let mut busy = connect(&two).unwrap();
        busy.batch_execute("CREATE TABLE t(k TEXT); BEGIN IMMEDIATE; INSERT INTO t VALUES ('under way')").unwrap();
        let mut other = connect(&one).unwrap();
        other.batch_execute("CREATE TABLE t(k TEXT)").unwrap();
        let mut copies = [&one, &two].map(|path| Copy::open(path, &path.with_extension("copy")).unwrap());
        std::thread::scope(|threads| {
            let begun = threads.spawn(|| at_once(&mut copies));
            // SQLite's own patience is enough, though the copy has not begun
            other.batch_execute("INSERT INTO t VALUES ('meanwhile')").unwrap();
            assert!(!begun.is_finished(), "the other has its lock still");
            busy.batch_execute("COMMIT").unwrap();
            begun.join().unwrap().unwrap();
        });
        copies.into_iter().for_each(|copy| copy.write().unwrap());
        assert_eq!(keys(&mut connect(&one.with_extension("copy")).unwrap(), "t"), ["meanwhile"]);
        assert_eq!(keys(&mut connect(&two.with_extension("copy")).unwrap(), "t"), ["under way"]);
    }
}
