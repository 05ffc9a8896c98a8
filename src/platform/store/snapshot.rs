//! A store of which only is read, as of one moment, whatever its backend: for the audit.

use super::StoreError;
use crate::config::StoreUrl;
use diesel::deserialize::QueryableByName;

/// A row that every backend compiled in can fill.
#[cfg(not(feature = "mysql"))]
pub trait Row: QueryableByName<diesel::sqlite::Sqlite> + 'static {}
#[cfg(not(feature = "mysql"))]
impl<T: QueryableByName<diesel::sqlite::Sqlite> + 'static> Row for T {}

/// A row that every backend compiled in can fill.
#[cfg(feature = "mysql")]
pub trait Row: QueryableByName<diesel::sqlite::Sqlite> + QueryableByName<diesel::mysql::Mysql> + 'static {}
#[cfg(feature = "mysql")]
impl<T: QueryableByName<diesel::sqlite::Sqlite> + QueryableByName<diesel::mysql::Mysql> + 'static> Row for T {}

/// It is never created or changed. Reading blocks: not for use inside an asynchronous runtime.
pub enum Snapshot {
    /// A file.
    #[cfg(feature = "sqlite")]
    Sqlite(super::sqlite::Snapshot),
    /// On a server.
    #[cfg(feature = "mysql")]
    MySql(super::mysql::Snapshot),
}

impl Snapshot {
    /// Opens it; its schema is taken as it is.
    pub fn open(url: &StoreUrl) -> Result<Self, StoreError> {
        match url {
            #[cfg(feature = "sqlite")]
            StoreUrl::Sqlite(path) => super::sqlite::Snapshot::open(path).map(Snapshot::Sqlite),
            #[cfg(feature = "mysql")]
            StoreUrl::MySql(url) => super::mysql::Snapshot::open(url).map(Snapshot::MySql),
        }
    }

    /// All rows of a query that every backend understands.
    pub fn rows<T: Row>(&mut self, sql: &str) -> Result<Vec<T>, StoreError> {
        match self {
            #[cfg(feature = "sqlite")]
            Snapshot::Sqlite(snapshot) => snapshot.rows(sql),
            #[cfg(feature = "mysql")]
            Snapshot::MySql(snapshot) => snapshot.rows(sql),
        }
    }
}
