//! An online backup of a database: a copy of one snapshot, which several copies can share.
//!
//! `VACUUM INTO` and SQLite's backup API choose their snapshot themselves; `VACUUM INTO` must not run in a transaction. So
//! statements of one transaction make the copy: the transaction of the new file, to which the old file is attached. Its
//! first read fixes the snapshot, however long the copy takes.

use super::connection::connect;
use super::database_set;
use super::lock_wait::{is_locked, retry_until_deadline};
use crate::kernel::error::StoreError;
use crate::kernel::files;
use diesel::connection::SimpleConnection;
use diesel::sql_types::Text;
use diesel::sqlite::SqliteConnection;
use diesel::{Connection, QueryResult, RunQueryDsl};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long one attempt may block writers until it has the locks of all databases; also the pause between attempts.
const LOCK_WINDOW: Duration = Duration::from_millis(250);
const ATTEMPTS: u32 = 40;

/// One copy of a database.
pub struct Copy {
    /// Holds the write lock of the old file while the snapshots of all copies begin.
    write_lock: SqliteConnection,
    /// Connection to the new file; the old one is attached as `source`.
    conn: SqliteConnection,
}

#[derive(diesel::QueryableByName)]
struct SchemaObject {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    sql: String,
}

impl Copy {
    /// Opens the existing database, and creates the new file, which must not exist, readable by its owner only.
    pub fn open(source: &Path, target: &Path) -> Result<Self, StoreError> {
        let unavailable = |cause: String| StoreError::Unavailable { store: source.display().to_string(), cause };
        if !source.is_file() {
            return Err(unavailable("there is no such file".into()));
        }
        files::create_private(target).map_err(|e| StoreError::Internal(format!("{}: {e}", target.display())))?;
        let mut write_lock = connect(source)?;
        write_lock.batch_execute("PRAGMA busy_timeout = 0")?;
        let mut conn = SqliteConnection::establish(&target.to_string_lossy()).map_err(|e| unavailable(e.to_string()))?;
        // the copy is used only once it is complete, and its caller syncs the file then
        conn.batch_execute("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF; PRAGMA busy_timeout = 5000;")?;
        diesel::sql_query("ATTACH ? AS source").bind::<Text, _>(source.to_string_lossy()).execute(&mut conn)?;
        Ok(Self { write_lock, conn })
    }

    /// Copies the snapshot that [`begin_together`] has begun.
    pub fn write(mut self) -> Result<(), StoreError> {
        let query = "SELECT type AS kind, name, sql FROM source.sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid";
        let objects: Vec<SchemaObject> = diesel::sql_query(query).load(&mut self.conn)?;
        // SQLite creates its own tables itself; sqlite_sequence is copied so that ids are not reused
        let (internal, objects): (Vec<_>, Vec<_>) = objects.into_iter().partition(|object| object.name.starts_with("sqlite_"));
        let (tables, rest): (Vec<_>, Vec<_>) = objects.into_iter().partition(|object| object.kind == "table");
        for SchemaObject { name, sql, .. } in &tables {
            self.conn.batch_execute(sql)?;
            let name = name.replace('"', "\"\"");
            self.conn.batch_execute(&format!("INSERT INTO main.\"{name}\" SELECT * FROM source.\"{name}\""))?;
        }
        if internal.iter().any(|object| object.name == "sqlite_sequence") {
            self.conn
                .batch_execute("DELETE FROM main.sqlite_sequence; INSERT INTO main.sqlite_sequence SELECT * FROM source.sqlite_sequence")?;
        }
        for SchemaObject { sql, .. } in &rest {
            self.conn.batch_execute(sql)?;
        }
        // WAL as at every open: opening the copy to read it then leaves its bytes unchanged
        Ok(self.conn.batch_execute("COMMIT; PRAGMA main.journal_mode = WAL")?)
    }
}

/// Begins the snapshots of all copies while no process writes to any of the databases: together they are what a crash of
/// all processes at that moment would leave. Returns the longest time that writers were blocked.
pub fn begin_together(copies: &mut [Copy]) -> Result<Duration, StoreError> {
    let mut longest = Duration::ZERO;
    for _ in 0..ATTEMPTS {
        let since = Instant::now();
        let locked = copies.iter_mut().try_for_each(|copy| lock_writers(&mut copy.write_lock, since + LOCK_WINDOW));
        let begun = if locked.is_ok() { copies.iter_mut().try_for_each(begin) } else { Ok(()) };
        for copy in copies.iter_mut() {
            // fails for a database that was not locked: it has no transaction
            let _ = copy.write_lock.batch_execute("ROLLBACK");
        }
        longest = longest.max(since.elapsed());
        begun?;
        match locked {
            Ok(()) => {
                mark_as_older(copies);
                return Ok(longest);
            }
            Err(cause) if is_locked(&cause) => std::thread::sleep(LOCK_WINDOW),
            Err(cause) => return Err(cause.into()),
        }
    }
    let cause = "writes never paused; try again when the shop is less busy".into();
    Err(StoreError::Unavailable { store: "embedded".into(), cause })
}

/// Raises the generations of the originals, so that a start recognises a copy that is restored beside them alone.
fn mark_as_older(copies: &mut [Copy]) {
    let mut originals: Vec<_> = copies.iter_mut().map(|copy| &mut copy.write_lock).collect();
    if let Err(cause) = database_set::advance(&mut originals) {
        // on a full disk, for example: the backup is complete nevertheless
        tracing::warn!(%cause, "the databases' generations were not raised after the backup");
    }
}

/// Acquires SQLite's write lock, of which each database has one.
fn lock_writers(write_lock: &mut SqliteConnection, deadline: Instant) -> QueryResult<()> {
    retry_until_deadline(deadline, || write_lock.batch_execute("BEGIN IMMEDIATE"))
}

/// The first read fixes the snapshot.
fn begin(copy: &mut Copy) -> QueryResult<()> {
    copy.conn.batch_execute("BEGIN; SELECT count(*) FROM source.sqlite_schema")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, k TEXT); CREATE UNIQUE INDEX t_k ON t(k);
        CREATE TABLE \"a \"\"b\" (k TEXT PRIMARY KEY) WITHOUT ROWID;
        INSERT INTO t(k) VALUES ('kept'), ('deleted'); DELETE FROM t WHERE k = 'deleted'; INSERT INTO \"a \"\"b\" VALUES ('kept')";

    #[derive(diesel::QueryableByName)]
    struct Key {
        #[diesel(sql_type = Text)]
        k: String,
    }

    fn keys(conn: &mut SqliteConnection, table: &str) -> Vec<String> {
        diesel::sql_query(format!("SELECT k FROM {table} ORDER BY k")).load::<Key>(conn).unwrap().into_iter().map(|row| row.k).collect()
    }

    /// Writes to two databases before the copies begin, and between their beginning and their end.
    #[test]
    fn copies_begun_together_share_one_moment_and_do_not_block_writers() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let mut sources: Vec<_> = ["one", "two"].iter().map(|name| connect(&path(name)).unwrap()).collect();
        sources.iter_mut().for_each(|conn| conn.batch_execute(SCHEMA).unwrap());
        let mut copies: Vec<_> =
            ["one", "two"].iter().map(|name| Copy::open(&path(name), &path(&format!("{name}-copy"))).unwrap()).collect();
        begin_together(&mut copies).unwrap();
        let later = "PRAGMA busy_timeout = 0; INSERT INTO t(k) VALUES ('later'); DELETE FROM \"a \"\"b\"; PRAGMA wal_checkpoint(RESTART)";
        sources.iter_mut().for_each(|conn| conn.batch_execute(later).unwrap());
        copies.into_iter().for_each(|copy| copy.write().unwrap());
        for name in ["one-copy", "two-copy"] {
            let before = std::fs::read(path(name)).unwrap();
            let mut conn = connect(&path(name)).unwrap();
            assert_eq!(keys(&mut conn, "t"), ["kept"]);
            assert_eq!(keys(&mut conn, "\"a \"\"b\""), ["kept"]);
            drop(conn);
            assert!(std::fs::read(path(name)).unwrap() == before, "reading the copy has changed it");
            let mut conn = connect(&path(name)).unwrap();
            conn.batch_execute("INSERT INTO t(k) VALUES ('new')").unwrap();
            assert_eq!(
                keys(&mut conn, "(SELECT CAST(id AS TEXT) AS k FROM t WHERE k = 'new')"),
                ["3"],
                "the id of a deleted row is reused"
            );
            assert!(conn.batch_execute("INSERT INTO t(k) VALUES ('new')").is_err(), "the unique index is missing");
        }
    }

    #[test]
    fn copies_while_one_database_is_busy_do_not_block_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        let mut busy = connect(&two).unwrap();
        busy.batch_execute("CREATE TABLE t(k TEXT); BEGIN IMMEDIATE; INSERT INTO t VALUES ('under way')").unwrap();
        let mut other = connect(&one).unwrap();
        other.batch_execute("CREATE TABLE t(k TEXT)").unwrap();
        let mut copies = [&one, &two].map(|path| Copy::open(path, &path.with_extension("copy")).unwrap());
        std::thread::scope(|threads| {
            let begun = threads.spawn(|| begin_together(&mut copies));
            // SQLite's busy timeout suffices, though the copy has not begun
            other.batch_execute("INSERT INTO t VALUES ('meanwhile')").unwrap();
            assert!(!begun.is_finished(), "the busy database is still locked");
            busy.batch_execute("COMMIT").unwrap();
            begun.join().unwrap().unwrap();
        });
        copies.into_iter().for_each(|copy| copy.write().unwrap());
        assert_eq!(keys(&mut connect(&one.with_extension("copy")).unwrap(), "t"), ["meanwhile"]);
        assert_eq!(keys(&mut connect(&two.with_extension("copy")).unwrap(), "t"), ["under way"]);
    }
}
