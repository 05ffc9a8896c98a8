//! Order's store: opens the backend that the settings choose.

/// `sql` is written once and compiled once per backend.
#[cfg(feature = "sqlite")]
#[path = "sql"]
mod sqlite {
    use crate::data::sqlite as backend;
    use crate::events::sqlite as events;
    mod list;
    #[cfg(test)]
    mod plans;
    mod queries;
    pub(super) mod repo;
    mod tables;
}
#[cfg(feature = "mysql")]
#[path = "sql"]
#[allow(clippy::duplicate_mod, reason = "compiled once per backend")]
mod mysql {
    use crate::data::mysql as backend;
    use crate::events::mysql as events;
    mod list;
    mod queries;
    pub(super) mod repo;
    mod tables;
}

mod types;

use crate::data::{SqlDb, SqlStore};
use crate::kernel::error::StartError;
use crate::observe::metrics;
use crate::runtime::Parts;
use crate::settings::Settings;
use diesel_migrations::embed_migrations;
use prometheus::Registry;
use std::sync::Arc;

pub(super) use types::{
    BeginOutcome, CancelOutcome, IdempotencyKey, NewLine, NewOrder, OrderPage, OrderStore, PendingReservationAction, StoredOrder,
};

pub const STORE: SqlStore = SqlStore {
    module: "order",
    setting: &["order.store"],
    #[cfg(feature = "sqlite")]
    sqlite: embed_migrations!("migrations/order/sqlite"),
    #[cfg(feature = "mysql")]
    mysql: embed_migrations!("migrations/order/mysql"),
};

pub(super) fn open(settings: &Settings, registry: &Registry, parts: &mut Parts) -> Result<Arc<dyn OrderStore>, StartError> {
    let (db, renewal) = STORE.open(settings, registry)?;
    parts.renewal(renewal);
    let unreadable =
        metrics::counters(registry, "tradepost_unreadable_rows_total", "Reads of stored rows that this build cannot read.", &["table"])?;
    // the label makes the series exist with 0, so that `increase()` sees the first one
    let unreadable = unreadable.with_label_values(&["orders"]);
    Ok(match db {
        #[cfg(feature = "sqlite")]
        SqlDb::Sqlite(db) => Arc::new(sqlite::repo::Repo::new(db, settings.order.lease_seconds, unreadable)),
        #[cfg(feature = "mysql")]
        SqlDb::MySql(db) => Arc::new(mysql::repo::Repo::new(db, settings.order.lease_seconds, unreadable)),
    })
}
