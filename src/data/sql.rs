//! A module's SQL store, on the backend that its URL chooses.

use super::credential_renewal::CredentialRenewal;
use crate::kernel::error::StartError;
use crate::settings::{Settings, StoreUrl};
use diesel_migrations::EmbeddedMigrations;
use prometheus::Registry;

/// A module's store: its setting, and its migrations for each backend.
pub struct SqlStore {
    pub module: &'static str,
    /// Keys of the setting with its URL.
    pub setting: &'static [&'static str],
    #[cfg(feature = "sqlite")]
    pub sqlite: EmbeddedMigrations,
    #[cfg(feature = "mysql")]
    pub mysql: EmbeddedMigrations,
}

pub enum SqlDb {
    #[cfg(feature = "sqlite")]
    Sqlite(super::sqlite::Db),
    #[cfg(feature = "mysql")]
    MySql(super::mysql::Db),
}

impl SqlStore {
    /// Opens or creates the database of the settings, and registers its metrics.
    pub fn open(self, settings: &Settings, metrics: &Registry) -> Result<(SqlDb, Option<CredentialRenewal>), StartError> {
        Ok(match settings.store_url(self.module)? {
            #[cfg(feature = "sqlite")]
            StoreUrl::Sqlite(path) => {
                let db = super::sqlite::Db::open(&path, self.sqlite)?;
                db.register_metrics(self.module, metrics)?;
                (SqlDb::Sqlite(db), None)
            }
            #[cfg(feature = "mysql")]
            StoreUrl::MySql(url) => {
                let db = super::mysql::Db::open(&url, self.module, &settings.mysql, self.mysql)?;
                db.register_metrics(self.module, metrics)?;
                let renewal = db.renewal(self.setting, settings);
                (SqlDb::MySql(db), Some(renewal))
            }
        })
    }

    /// Reverts the last migration, if the store is on a server. Returns the migration's version.
    pub fn revert(self, settings: &Settings) -> Result<Option<String>, StartError> {
        Ok(match settings.store_url(self.module)? {
            #[cfg(feature = "mysql")]
            StoreUrl::MySql(url) => super::mysql::revert(&url, self.module, &settings.mysql, self.mysql)?,
            #[cfg(feature = "sqlite")]
            StoreUrl::Sqlite(_) => None,
        })
    }
}
