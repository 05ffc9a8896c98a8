//! Where order keeps its data.

/// Written once, compiled once a backend.
#[cfg(feature = "sqlite")]
#[path = "sql"]
mod sqlite {
    use crate::data::sqlite as backend;
    use crate::events::sqlite as events;
    pub(super) mod repo;
    mod rows;
    mod tables;
}
/// The same on MySQL.
#[cfg(feature = "mysql")]
#[path = "sql"]
#[allow(clippy::duplicate_mod, reason = "once a backend")]
mod mysql {
    use crate::data::mysql as backend;
    use crate::events::mysql as events;
    pub(super) mod repo;
    mod rows;
    mod tables;
}

mod types;

use crate::data::{SqlDb, SqlStore};
use crate::kernel::error::StartError;
use crate::runtime::host::Parts;
use crate::settings::Settings;
use diesel_migrations::embed_migrations;
use prometheus::Registry;
use std::sync::Arc;

pub(super) use types::{Begun, Cancelled, Key, NewLine, NewOrder, OrderStore, Settle, StoredOrder};

/// The store's setting and migrations.
pub const STORE: SqlStore = SqlStore {
    module: "order",
    setting: &["order.store"],
    #[cfg(feature = "sqlite")]
    sqlite: embed_migrations!("migrations/order/sqlite"),
    #[cfg(feature = "mysql")]
    mysql: embed_migrations!("migrations/order/mysql"),
};

/// Opens the store where settings say.
pub(super) fn open(settings: &Settings, metrics: &Registry, parts: &mut Parts) -> Result<Arc<dyn OrderStore>, StartError> {
    let (db, renewal) = STORE.open(settings, metrics)?;
    parts.renewal(renewal);
    Ok(match db {
        #[cfg(feature = "sqlite")]
        SqlDb::Sqlite(db) => Arc::new(sqlite::repo::Repo::on(db, settings.order.lease_seconds)),
        #[cfg(feature = "mysql")]
        SqlDb::MySql(db) => Arc::new(mysql::repo::Repo::on(db, settings.order.lease_seconds)),
    })
}
