//! A database of which only is read, as of one moment.

use super::{Backend, Conn};
use crate::config::Secret;
use crate::platform::store::StoreError;
use diesel::connection::SimpleConnection;
use diesel::{Connection, RunQueryDsl};
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;

/// See the module. It blocks: not for use inside an asynchronous runtime.
pub struct Snapshot(AsyncConnectionWrapper<Conn>);

impl Snapshot {
    /// Opens it; its schema is taken as it is.
    pub fn open(url: &Secret) -> Result<Self, StoreError> {
        let unavailable = |e: diesel::ConnectionError| StoreError::Unavailable { store: "mysql".into(), cause: e.to_string() };
        let mut conn = AsyncConnectionWrapper::<Conn>::establish(url.expose()).map_err(unavailable)?;
        conn.batch_execute(
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
        )?;
        Ok(Self(conn))
    }

    /// All rows of a query.
    pub fn rows<T>(&mut self, sql: &str) -> Result<Vec<T>, StoreError>
    where
        T: diesel::deserialize::QueryableByName<Backend> + 'static,
    {
        Ok(diesel::sql_query(sql).load(&mut self.0)?)
    }
}
