//! What the audit command is told of notification's data.

use crate::platform::store::StoreError;
use crate::platform::store::sqlite::Snapshot;
use std::collections::BTreeMap;
use std::path::Path;

#[derive(diesel::QueryableByName)]
struct Applied {
    #[diesel(sql_type = diesel::sql_types::Text)]
    kind: String,
    #[diesel(sql_type = diesel::sql_types::Text)]
    order_number: String,
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    times: i64,
}

/// How often each event of each order was applied.
pub fn applied(path: &Path) -> Result<BTreeMap<(String, String), i64>, StoreError> {
    let query = "SELECT type AS kind, order_number, count(*) AS times FROM notifications WHERE order_number IS NOT NULL GROUP BY type, order_number";
    let rows: Vec<Applied> = Snapshot::open(path)?.rows(query)?;
    Ok(rows.into_iter().map(|row| ((row.kind, row.order_number), row.times)).collect())
}
