//! A database of which only is read, as of one moment.

use super::{Backend, Conn, connections, schema, way};
use crate::config::{MySql, MySqlUrl};
use crate::platform::store::StoreError;
use diesel::RunQueryDsl;
use diesel::connection::SimpleConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use tokio::runtime::Runtime;

/// See the module. It blocks: not for use inside an asynchronous runtime. The connection's own runtime ends
/// after it.
pub struct Snapshot(AsyncConnectionWrapper<Conn>, #[expect(dead_code, reason = "it drives the connection")] Runtime);

impl Snapshot {
    /// Opens it; its schema is taken as it is.
    pub fn open(server: &MySqlUrl) -> Result<Self, StoreError> {
        let way = way::to(server, "mysql").map_err(|wrong| StoreError::Broken(wrong.to_string()))?;
        let runtime = schema::runtime()?;
        // nobody waits for this one as a request does
        let patient = MySql { connect_ms: 10_000, ..MySql::default() };
        let made = runtime.block_on(connections::establish(&way, &patient));
        let made = made.map_err(|no| StoreError::Unavailable { store: "mysql".into(), cause: no.cause })?;
        let mut conn = {
            let _inside = runtime.enter();
            AsyncConnectionWrapper::from(made)
        };
        conn.batch_execute(
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
        )?;
        Ok(Self(conn, runtime))
    }

    /// All rows of a query.
    pub fn rows<T>(&mut self, sql: &str) -> Result<Vec<T>, StoreError>
    where
        T: diesel::deserialize::QueryableByName<Backend> + 'static,
    {
        Ok(diesel::sql_query(sql).load(&mut self.0)?)
    }
}
