//! A read-only snapshot of a SQL store, for the audit.

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

/// A row type that every backend compiled in can load.
pub trait SnapshotRow: QueryableByName<Sqlite> + QueryableByName<Mysql> + 'static {}
impl<T: QueryableByName<Sqlite> + QueryableByName<Mysql> + 'static> SnapshotRow for T {}

/// Never creates or changes the store. Reads block: do not use it inside an asynchronous runtime.
pub enum Snapshot {
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteConnection),
    /// The connection and its runtime. Fields are dropped in this order: the runtime must outlive the connection.
    #[cfg(feature = "mysql")]
    MySql(super::mysql::Blocking, tokio::runtime::Runtime),
}

impl Snapshot {
    /// Opens the store without a check of its schema.
    pub fn open(url: &StoreUrl) -> Result<Self, StoreError> {
        match url {
            #[cfg(feature = "sqlite")]
            StoreUrl::Sqlite(path) => super::sqlite::snapshot(path).map(Snapshot::Sqlite),
            #[cfg(feature = "mysql")]
            StoreUrl::MySql(url) => super::mysql::snapshot(url).map(|(conn, runtime)| Snapshot::MySql(conn, runtime)),
        }
    }

    /// All rows of a query in SQL common to the backends.
    pub fn rows<T: SnapshotRow>(&mut self, sql: &str) -> Result<Vec<T>, StoreError> {
        let query = diesel::sql_query(sql);
        Ok(match self {
            #[cfg(feature = "sqlite")]
            Snapshot::Sqlite(conn) => query.load(conn)?,
            #[cfg(feature = "mysql")]
            Snapshot::MySql(conn, _) => query.load(conn)?,
        })
    }
}
