//! The SQLite files of a shop belong together: a start notices one that is missing, older than the others, or of another
//! shop, and refuses to go on with it.
//!
//! Each file names its shop and its module, and has a generation. The generation grows with each start that opens the file,
//! from time to time while the process runs, when it stops, and with each backup. Each file also records the generations of
//! the files that were opened beside it. So a file with a lower generation than another one records is an older copy.
//!
//! Generations are committed in all files before any file records them. A crash in between leaves recorded generations that
//! are too low, which is no contradiction. A process that opens one file alone leaves the records of others true as well,
//! because generations only grow.

use super::connection::connect;
use super::corruption::open_error;
use super::file_guard::FileGuard;
use super::lock_wait::retry_while_locked;
use crate::kernel::error::{ComponentError, StoreError};
use diesel::connection::SimpleConnection;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{OptionalExtension, QueryResult, RunQueryDsl};
use parking_lot::Mutex;
use std::path::{Path, PathBuf};

const TABLES: &str = "CREATE TABLE IF NOT EXISTS database_identity (
        id INTEGER PRIMARY KEY CHECK (id = 1), shop TEXT, module TEXT NOT NULL, generation BIGINT NOT NULL);
    CREATE TABLE IF NOT EXISTS database_peers (module TEXT PRIMARY KEY NOT NULL, generation BIGINT NOT NULL);";

/// A database that a process opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Owning module's name, or `bus`.
    pub module: &'static str,
    pub path: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum DatabaseSetError {
    #[error(
        "the shop's databases do not belong together:{}\nRestore all of them from one backup (docs/operate.md#restore). \
         To go on with these files and lose what is missing, start once with --accept-loss, then run `tradepost audit`",
        list(.0)
    )]
    Contradictory(Vec<Contradiction>),
    /// The loss of other contents can be accepted; a module cannot use another module's tables.
    #[error(
        "the shop's databases are mixed up:{}\nGive each file its own name again, or restore a backup (docs/operate.md#restore)",
        list(.0)
    )]
    MixedUp(Vec<Contradiction>),
}

impl ComponentError for DatabaseSetError {}

fn list(contradictions: &[Contradiction]) -> String {
    contradictions.iter().map(|contradiction| format!("\n  {contradiction}")).collect()
}

/// Why a database does not belong to the others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    #[error("{} is missing; {} was used with it", .path.display(), .beside.display())]
    Missing { path: PathBuf, beside: PathBuf },
    #[error(
        "{} is an older copy: its generation is {generation}, and {} was used with generation {expected}",
        .path.display(), .beside.display()
    )]
    Older { path: PathBuf, generation: i64, beside: PathBuf, expected: i64 },
    #[error("{} belongs to another shop ({shop}) than {} ({expected})", .path.display(), .beside.display())]
    OtherShop { path: PathBuf, shop: String, beside: PathBuf, expected: String },
    #[error("{} is the database of {module}; expected that of {expected}", .path.display())]
    OtherModule { path: PathBuf, module: String, expected: &'static str },
}

#[derive(Debug, Clone, PartialEq, Eq, diesel::QueryableByName)]
struct Identity {
    /// None until the file is opened beside another one.
    #[diesel(sql_type = Nullable<Text>)]
    shop: Option<String>,
    #[diesel(sql_type = Text)]
    module: String,
    #[diesel(sql_type = BigInt)]
    generation: i64,
}

/// A generation that a file records of another one.
#[derive(Debug, Clone, PartialEq, Eq, diesel::QueryableByName)]
struct Peer {
    #[diesel(sql_type = Text)]
    module: String,
    #[diesel(sql_type = BigInt)]
    generation: i64,
}

/// A file as a start finds it.
#[derive(Debug, Default)]
struct Found {
    exists: bool,
    /// None in a new file, and in one of a release that did not write it.
    identity: Option<Identity>,
    peers: Vec<Peer>,
}

impl Found {
    fn shop(&self) -> Option<&str> {
        self.identity.as_ref()?.shop.as_deref()
    }
}

/// The databases of this process, checked against each other.
pub struct DatabaseSet(Mutex<Vec<OpenDatabase>>);

struct OpenDatabase {
    conn: SqliteConnection,
    file: FileGuard,
}

impl DatabaseSet {
    /// Opens these databases, and creates the missing ones if that contradicts none of the others. To be called before their
    /// modules open them. `siblings`: further databases of the shop, which other processes open.
    ///
    /// With `accept_loss` the files are used as they are; what was accepted is logged.
    pub fn open(databases: &[Database], siblings: &[PathBuf], accept_loss: bool) -> Result<Self, OpenError> {
        let found = inspect(databases)?;
        let contradictions = contradictions(databases, &found);
        let mixed_up: Vec<_> = contradictions.iter().filter(|one| matches!(one, Contradiction::OtherModule { .. })).cloned().collect();
        if !mixed_up.is_empty() {
            return Err(DatabaseSetError::MixedUp(mixed_up).into());
        }
        if !contradictions.is_empty() && !accept_loss {
            return Err(DatabaseSetError::Contradictory(contradictions).into());
        }
        for accepted in &contradictions {
            tracing::warn!(%accepted, "data.accept_loss: the loss is accepted; run `tradepost audit`");
        }
        let mut shop = found.iter().find_map(|found| found.shop().map(str::to_string));
        shop = shop.or_else(|| siblings.iter().find_map(|path| shop_of(path)));
        if shop.is_none() && databases.len() > 1 {
            shop = Some(uuid::Uuid::new_v4().to_string());
        }
        let mut conns = Vec::new();
        for Database { module, path } in databases {
            let mut conn = connect(path)?;
            // `in_transaction` waits instead: SQLite's busy handler is unfair
            conn.batch_execute("PRAGMA busy_timeout = 0").map_err(|cause| open_error(path, &cause))?;
            // an accepted older copy is the newest from now on
            let recorded = found.iter().flat_map(|found| &found.peers).filter(|peer| peer.module == *module).map(|peer| peer.generation);
            let owned = |conn: &mut SqliteConnection| claim(conn, module, shop.as_deref(), accept_loss, recorded.max().unwrap_or(0));
            // another process may have claimed the same new file for a shop just now
            shop = owned(&mut conn).map_err(|cause| open_error(path, &cause))?.or(shop);
            conns.push(conn);
        }
        let claimed = conns.into_iter().zip(databases).map(|(conn, database)| {
            let file = FileGuard::new(database.module, &database.path)?;
            Ok(OpenDatabase { conn, file })
        });
        let set = Self(Mutex::new(claimed.collect::<Result<_, StoreError>>()?));
        set.advance()?;
        Ok(set)
    }

    /// Raises the generation of each file. Fails without a change if one of the files was lost: its path may lead to an
    /// older copy now, which must stay recognisable as such.
    pub fn advance(&self) -> Result<(), StoreError> {
        let mut databases = self.0.lock();
        databases.iter().try_for_each(|database| database.file.check())?;
        let mut conns: Vec<_> = databases.iter_mut().map(|database| &mut database.conn).collect();
        Ok(advance(&mut conns)?)
    }
}

/// Why a set of databases cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Set(#[from] DatabaseSetError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ComponentError for OpenError {}

/// Reads what the files record of each other before their own generations, which other processes may raise meanwhile.
fn inspect(databases: &[Database]) -> Result<Vec<Found>, StoreError> {
    let mut conns = Vec::new();
    let mut found = Vec::new();
    for Database { path, .. } in databases {
        let mut conn = if path.exists() { Some(connect(path)?) } else { None };
        let peers = conn.as_mut().map_or(Ok(Vec::new()), peers).map_err(|cause| open_error(path, &cause))?;
        found.push(Found { peers, ..Found::default() });
        conns.push(conn);
    }
    for ((Database { path, .. }, conn), found) in databases.iter().zip(conns).zip(&mut found) {
        // another process may have created it meanwhile
        let conn = if conn.is_none() && path.exists() { Some(connect(path)?) } else { conn };
        if let Some(mut conn) = conn {
            found.exists = true;
            found.identity = identity(&mut conn).map_err(|cause| open_error(path, &cause))?;
        }
    }
    Ok(found)
}

fn contradictions(databases: &[Database], found: &[Found]) -> Vec<Contradiction> {
    let mut contradictions = Vec::new();
    for (Database { module, path }, own) in databases.iter().zip(found) {
        let path = path.clone();
        if let Some(Identity { module: other, .. }) = own.identity.as_ref().filter(|identity| identity.module != *module) {
            contradictions.push(Contradiction::OtherModule { path, module: other.clone(), expected: module });
            continue;
        }
        // generations of different shops have nothing to do with each other
        let is_same_shop = |other: &Found| own.shop().zip(other.shop()).is_none_or(|(own, other)| own == other);
        let record = |(beside, other): (&Database, &Found)| {
            let peer = other.peers.iter().find(|peer| peer.module == *module && is_same_shop(other))?;
            Some((beside.path.clone(), peer.generation))
        };
        let newest = databases.iter().zip(found).filter_map(record).max_by_key(|(_, generation)| *generation);
        let generation = own.identity.as_ref().map_or(0, |identity| identity.generation);
        match newest {
            Some((beside, _)) if !own.exists => contradictions.push(Contradiction::Missing { path, beside }),
            Some((beside, expected)) if generation < expected => {
                contradictions.push(Contradiction::Older { path, generation, beside, expected });
            }
            _ => {}
        }
    }
    contradictions.extend(other_shops(databases, found));
    contradictions
}

/// The files of other shops than most files are of.
fn other_shops(databases: &[Database], found: &[Found]) -> Vec<Contradiction> {
    let shops: Vec<_> = databases.iter().zip(found).filter_map(|(database, found)| Some((&database.path, found.shop()?))).collect();
    let count = |shop: &str| shops.iter().filter(|(_, other)| *other == shop).count();
    let Some((beside, expected)) = shops.iter().max_by_key(|(_, shop)| count(shop)) else { return Vec::new() };
    let others = shops.iter().filter(|(_, shop)| shop != expected);
    let contradiction = |(path, shop): &(&PathBuf, &str)| Contradiction::OtherShop {
        path: path.to_path_buf(),
        shop: shop.to_string(),
        beside: beside.to_path_buf(),
        expected: expected.to_string(),
    };
    others.map(contradiction).collect()
}

/// The shop that an existing database names. An unreadable one is reported by the process that opens it.
fn shop_of(path: &Path) -> Option<String> {
    let mut conn = path.exists().then(|| connect(path).ok()).flatten()?;
    identity(&mut conn).ok().flatten()?.shop
}

fn has_tables(conn: &mut SqliteConnection) -> QueryResult<bool> {
    let query = "SELECT name AS module, 0 AS generation FROM sqlite_schema WHERE name = 'database_peers'";
    Ok(diesel::sql_query(query).get_result::<Peer>(conn).optional()?.is_some())
}

fn identity(conn: &mut SqliteConnection) -> QueryResult<Option<Identity>> {
    if !has_tables(conn)? {
        return Ok(None);
    }
    diesel::sql_query("SELECT shop, module, generation FROM database_identity").get_result(conn).optional()
}

fn peers(conn: &mut SqliteConnection) -> QueryResult<Vec<Peer>> {
    if !has_tables(conn)? {
        return Ok(Vec::new());
    }
    diesel::sql_query("SELECT module, generation FROM database_peers").load(conn)
}

/// Writes a file's identity, with at least this generation. The file keeps its shop unless `replace` is set. Returns its shop.
fn claim(conn: &mut SqliteConnection, module: &str, shop: Option<&str>, replace: bool, generation: i64) -> QueryResult<Option<String>> {
    let shop_column = if replace { "coalesce(?, shop)" } else { "coalesce(shop, ?)" };
    in_transaction(conn, |conn| {
        conn.batch_execute(TABLES)?;
        let insert = diesel::sql_query("INSERT OR IGNORE INTO database_identity (id, module, generation) VALUES (1, ?, 0)");
        insert.bind::<Text, _>(module).execute(conn)?;
        if replace {
            // the generations of another shop's files say nothing about this shop's
            let forget = "DELETE FROM database_peers WHERE EXISTS (SELECT 1 FROM database_identity WHERE shop <> ?)";
            diesel::sql_query(forget).bind::<Nullable<Text>, _>(shop).execute(conn)?;
        }
        let update = format!("UPDATE database_identity SET shop = {shop_column}, generation = max(generation, ?)");
        diesel::sql_query(update).bind::<Nullable<Text>, _>(shop).bind::<BigInt, _>(generation).execute(conn)?;
        Ok(identity(conn)?.and_then(|identity| identity.shop))
    })
}

/// Raises the generation of each file by one; then each file records those of the others. Files of a release that does not
/// know generations are left as they are.
pub(super) fn advance(conns: &mut [&mut SqliteConnection]) -> QueryResult<()> {
    let mut reached = Vec::new();
    for conn in conns.iter_mut() {
        let raised = in_transaction(conn, |conn| {
            if has_tables(conn)? {
                conn.batch_execute("UPDATE database_identity SET generation = generation + 1")?;
            }
            identity(conn)
        });
        reached.push(raised?);
    }
    for (conn, own) in conns.iter_mut().zip(&reached) {
        let Some(own) = own else { continue };
        let others = reached.iter().flatten().filter(|other| other.module != own.module);
        in_transaction(conn, |conn| others.into_iter().try_for_each(|other| record(conn, other)))?;
    }
    Ok(())
}

fn in_transaction<T>(conn: &mut SqliteConnection, work: impl FnOnce(&mut SqliteConnection) -> QueryResult<T>) -> QueryResult<T> {
    retry_while_locked(|| conn.batch_execute("BEGIN IMMEDIATE"))?;
    let result = work(conn);
    match &result {
        Ok(_) => conn.batch_execute("COMMIT")?,
        // fails after an error at which SQLite has rolled back itself; the caller needs that error
        Err(_) => drop(conn.batch_execute("ROLLBACK")),
    }
    result
}

fn record(conn: &mut SqliteConnection, other: &Identity) -> QueryResult<()> {
    let insert = "INSERT INTO database_peers (module, generation) VALUES (?, ?)
        ON CONFLICT (module) DO UPDATE SET generation = max(generation, excluded.generation)";
    diesel::sql_query(insert).bind::<Text, _>(&other.module).bind::<BigInt, _>(other.generation).execute(conn)?;
    Ok(())
}
