//! A database of which only is read, as of one moment.

use super::schema::Blocking;
use super::{connections, schema, way};
use crate::kernel::error::StoreError;
use crate::settings::{MySql, MySqlUrl};
use diesel::connection::SimpleConnection;
use tokio::runtime::Runtime;

/// Opens one; its schema is taken as it is. It blocks: not for use inside an asynchronous runtime.
pub fn snapshot(server: &MySqlUrl) -> Result<(Blocking, Runtime), StoreError> {
    let way = way::to(server, "mysql").map_err(|wrong| StoreError::Broken(wrong.to_string()))?;
    let runtime = schema::runtime()?;
    // no request waits for this connection
    let patient = MySql { connect_ms: 10_000, ..MySql::default() };
    let made = runtime.block_on(connections::establish(&way, &patient));
    let made = made.map_err(|no| StoreError::Unavailable { store: "mysql".into(), cause: no.cause })?;
    let mut conn = {
        let _inside = runtime.enter();
        Blocking::from(made)
    };
    conn.batch_execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")?;
    Ok((conn, runtime))
}
