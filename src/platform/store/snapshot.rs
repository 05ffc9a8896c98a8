//! A store of which only is read, as of one moment, whatever its backend: for the audit.

use super::StoreError;
use crate::config::StoreUrl;

/// A row that every backend compiled in can fill.
pub trait Row: sqlite::Row + mysql::Row + 'static {}
impl<T: sqlite::Row + mysql::Row + 'static> Row for T {}

mod sqlite {
    #[cfg(feature = "sqlite")]
    pub trait Row: diesel::deserialize::QueryableByName<diesel::sqlite::Sqlite> {}
    #[cfg(feature = "sqlite")]
    impl<T: diesel::deserialize::QueryableByName<diesel::sqlite::Sqlite>> Row for T {}
    #[cfg(not(feature = "sqlite"))]
    pub trait Row {}
    #[cfg(not(feature = "sqlite"))]
    impl<T> Row for T {}
}

mod mysql {
    #[cfg(feature = "mysql")]
    pub trait Row: diesel::deserialize::QueryableByName<diesel::mysql::Mysql> {}
    #[cfg(feature = "mysql")]
    impl<T: diesel::deserialize::QueryableByName<diesel::mysql::Mysql>> Row for T {}
    #[cfg(not(feature = "mysql"))]
    pub trait Row {}
    #[cfg(not(feature = "mysql"))]
    impl<T> Row for T {}
}

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
