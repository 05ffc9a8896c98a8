//! A read-only snapshot of a SQL store, for the audit.

use crate::kernel::error::StoreError;
use crate::settings::StoreUrl;
use diesel::RunQueryDsl;
use diesel::connection::DefaultLoadingMode;
use diesel::deserialize::QueryableByName;
#[cfg(feature = "mysql")]
use diesel::mysql::Mysql;
#[cfg(not(feature = "sqlite"))]
use diesel::mysql::Mysql as Sqlite;
use diesel::sql_types::Text;
#[cfg(not(feature = "mysql"))]
use diesel::sqlite::Sqlite as Mysql;
#[cfg(feature = "sqlite")]
use diesel::sqlite::{Sqlite, SqliteConnection};

/// A row type that every backend compiled in can load.
pub trait SnapshotRow: QueryableByName<Sqlite> + QueryableByName<Mysql> + 'static {}
impl<T: QueryableByName<Sqlite> + QueryableByName<Mysql> + 'static> SnapshotRow for T {}

/// The rows of a query, read one at a time.
pub type RowStream<'a, T> = Box<dyn Iterator<Item = Result<T, StoreError>> + 'a>;

/// Never creates or changes the store. Reads block: do not use it inside an asynchronous runtime.
pub enum Snapshot {
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteConnection),
    /// The connection and its runtime. Fields are dropped in this order: the runtime must outlive the connection.
    #[cfg(feature = "mysql")]
    MySql(super::mysql::Blocking, tokio::runtime::Runtime),
}

impl Snapshot {
    /// Opens the store without a check of its schema. All reads see the store as of this call.
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
        self.stream(sql)?.collect()
    }

    /// All rows of a query with one parameter, a text, written `?`.
    pub fn rows_with<T: SnapshotRow>(&mut self, sql: &str, text: &str) -> Result<Vec<T>, StoreError> {
        let query = diesel::sql_query(sql).bind::<Text, _>(text);
        Ok(match self {
            #[cfg(feature = "sqlite")]
            Snapshot::Sqlite(conn) => query.load(conn)?,
            #[cfg(feature = "mysql")]
            Snapshot::MySql(conn, _) => query.load(conn)?,
        })
    }

    /// Reads the rows one at a time, so that memory does not grow with their number.
    pub fn stream<T: SnapshotRow>(&mut self, sql: &str) -> Result<RowStream<'_, T>, StoreError> {
        let query = diesel::sql_query(sql);
        Ok(match self {
            #[cfg(feature = "sqlite")]
            Snapshot::Sqlite(conn) => Box::new(query.load_iter::<T, DefaultLoadingMode>(conn)?.map(|row| Ok(row?))),
            #[cfg(feature = "mysql")]
            Snapshot::MySql(conn, _) => Box::new(query.load_iter::<T, DefaultLoadingMode>(conn)?.map(|row| Ok(row?))),
        })
    }
}

/// The items of a table in the order of a text key that is never empty. `chunk` reads the items after a key; an empty
/// chunk is the end.
pub fn in_key_order<T>(
    mut chunk: impl FnMut(&str) -> Result<Vec<T>, StoreError>,
    key: impl Fn(&T) -> &str,
) -> impl Iterator<Item = Result<T, StoreError>> {
    let (mut after, mut items) = (String::new(), Vec::new().into_iter());
    std::iter::from_fn(move || {
        if items.len() == 0 {
            match chunk(&after) {
                Ok(next) => items = next.into_iter(),
                Err(cause) => return Some(Err(cause)),
            }
        }
        let item = items.next()?;
        after = key(&item).to_string();
        Some(Ok(item))
    })
}
