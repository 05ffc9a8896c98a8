//! A store of which only is read, as of one moment, whatever its backend: for the audit.

use crate::kernel::error::StoreError;
use crate::settings::StoreUrl;
use diesel::RunQueryDsl;
use diesel::deserialize::QueryableByName;
#[cfg(feature = "mysql")]
use diesel::mysql::Mysql;
#[cfg(not(feature = "sqlite"))]
use diesel::mysql::Mysql as Sqlite;
#[cfg(not(feature = "mysql"))]
use diesel::sqlite::Sqlite as Mysql;
#[cfg(feature = "sqlite")]
use diesel::sqlite::{Sqlite, SqliteConnection};

/// A row that every backend compiled in can fill.
pub trait Row: QueryableByName<Sqlite> + QueryableByName<Mysql> + 'static {}
impl<T: QueryableByName<Sqlite> + QueryableByName<Mysql> + 'static> Row for T {}

/// It is never created or changed. Reading blocks: not for use inside an asynchronous runtime.
pub enum Snapshot {
    /// A file.
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteConnection),
    /// On a server; the connection's own runtime ends after it.
    #[cfg(feature = "mysql")]
    MySql(super::mysql::Blocking, tokio::runtime::Runtime),
}

impl Snapshot {
    /// Opens it; its schema is taken as it is.
    pub fn open(url: &StoreUrl) -> Result<Self, StoreError> {
        match url {
            #[cfg(feature = "sqlite")]
            StoreUrl::Sqlite(path) => super::sqlite::snapshot(path).map(Snapshot::Sqlite),
            #[cfg(feature = "mysql")]
            StoreUrl::MySql(url) => super::mysql::snapshot(url).map(|(conn, runtime)| Snapshot::MySql(conn, runtime)),
        }
    }

    /// All rows of a query that every backend understands.
    pub fn rows<T: Row>(&mut self, sql: &str) -> Result<Vec<T>, StoreError> {
        let query = diesel::sql_query(sql);
        Ok(match self {
            #[cfg(feature = "sqlite")]
            Snapshot::Sqlite(conn) => query.load(conn)?,
            #[cfg(feature = "mysql")]
            Snapshot::MySql(conn, _) => query.load(conn)?,
        })
    }
}
