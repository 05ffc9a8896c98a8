//! A copy of a database that others write to meanwhile, as of a moment that several copies can share.
//!
//! SQLite's own ways choose their moment themselves: `VACUUM INTO` must not run in a transaction. So the copy is made
//! by statements of one transaction, that of the new file, to which the old one is attached: what is read of
//! it is a snapshot from the first look on, however long the rest takes.

use super::connect;
use super::turns::LOOK;
use crate::platform::files;
use crate::platform::store::StoreError;
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
        Ok(self.conn.batch_execute("COMMIT")?)
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
    loop {
        match gate.batch_execute("BEGIN IMMEDIATE") {
            Err(cause) if is_locked(&cause) && Instant::now() < until => std::thread::sleep(LOOK),
            outcome => return outcome,
        }
    }
}

/// The first look: from here on it sees what is there now.
fn begin(copy: &mut Copy) -> QueryResult<()> {
    copy.conn.batch_execute("BEGIN; SELECT count(*) FROM source.sqlite_schema")
}

fn is_locked(cause: &diesel::result::Error) -> bool {
    matches!(cause, diesel::result::Error::DatabaseError(_, info) if info.message().contains("locked"))
}
