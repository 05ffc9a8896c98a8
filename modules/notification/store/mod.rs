//! Notification's store of inboxes and deliveries.

mod types;

/// Compiled once per backend.
#[cfg(feature = "sqlite")]
#[path = "sql"]
mod sqlite {
    use crate::data::sqlite as backend;
    use crate::events::sqlite as events;
    mod list;
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
    pub(super) mod repo;
    mod tables;
}

use crate::data::{SqlDb, SqlStore};
use crate::kernel::error::StartError;
use crate::runtime::Parts;
use crate::settings::Settings;
use diesel_migrations::embed_migrations;
use prometheus::Registry;
use std::sync::Arc;
pub(super) use types::{
    AttemptResult, Channel, ClaimFilter, DueDelivery, MAX_BACKOFF, NewDelivery, NewNotification, NotificationStore, ProcessedEvent,
};

/// The store's setting and migrations.
pub const STORE: SqlStore = SqlStore {
    module: "notification",
    setting: &["notification.store"],
    #[cfg(feature = "sqlite")]
    sqlite: embed_migrations!("migrations/notification/sqlite"),
    #[cfg(feature = "mysql")]
    mysql: embed_migrations!("migrations/notification/mysql"),
};

/// Opens the store that the settings name.
pub(super) fn open(settings: &Settings, metrics: &Registry, parts: &mut Parts) -> Result<Arc<dyn NotificationStore>, StartError> {
    let (db, renewal) = STORE.open(settings, metrics)?;
    parts.renewal(renewal);
    Ok(match db {
        #[cfg(feature = "sqlite")]
        SqlDb::Sqlite(db) => Arc::new(sqlite::repo::Repo::new(db)),
        #[cfg(feature = "mysql")]
        SqlDb::MySql(db) => Arc::new(mysql::repo::Repo::new(db)),
    })
}
