//! A read-only connection that sees one snapshot of a database.

use super::connect_options::connect_options;
use super::schema::Blocking;
use super::{connections, schema};
use crate::kernel::error::StoreError;
use crate::settings::{MySql, MySqlUrl};
use diesel::connection::SimpleConnection;
use tokio::runtime::Runtime;

/// Does not check the schema. Blocks: do not use it inside an asynchronous runtime.
pub fn snapshot(server: &MySqlUrl) -> Result<(Blocking, Runtime), StoreError> {
    let options = connect_options(server, "mysql").map_err(|wrong| StoreError::Internal(wrong.to_string()))?;
    let runtime = schema::runtime()?;
    // long connect timeout: no request waits for this connection
    let settings = MySql { connect_ms: 10_000, ..MySql::default() };
    let connected = runtime.block_on(connections::establish(&options, &settings));
    let connected = connected.map_err(|error| StoreError::Unavailable { store: "mysql".into(), cause: error.cause })?;
    let mut conn = {
        let _inside = runtime.enter();
        Blocking::from(connected)
    };
    conn.batch_execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")?;
    Ok((conn, runtime))
}
