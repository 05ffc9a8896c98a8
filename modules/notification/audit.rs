//! Notification's data for the audit command.

/// Consumed topics. Events of other topics are never pending for this module.
pub use super::events::TOPICS;

use crate::data::Snapshot;
use crate::kernel::error::StoreError;
use crate::settings::StoreUrl;
use std::collections::BTreeMap;

#[derive(diesel::QueryableByName)]
struct Applied {
    #[diesel(sql_type = diesel::sql_types::Text)]
    kind: String,
    #[diesel(sql_type = diesel::sql_types::Text)]
    order_number: String,
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    times: i64,
}

/// How often each event type of each order was applied.
pub fn applied(store: &StoreUrl) -> Result<BTreeMap<(String, String), i64>, StoreError> {
    let query = "SELECT type AS kind, order_number, count(*) AS times FROM notifications WHERE order_number IS NOT NULL GROUP BY type, order_number";
    let rows: Vec<Applied> = Snapshot::open(store)?.rows(query)?;
    Ok(rows.into_iter().map(|row| ((row.kind, row.order_number), row.times)).collect())
}
