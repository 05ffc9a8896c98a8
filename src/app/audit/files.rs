//! The database files: all are there, undamaged, and have the tables and indexes that their migrations make.

use super::report::AuditError;
use crate::data::Snapshot;
use crate::data::sqlite::inspect;
use crate::events::bus;
use crate::kernel::error::StoreError;
use crate::modules::invariants::{Violation, violation};
use crate::modules::{identity, inventory, notification, order, product};
use crate::settings::{DocumentStoreUrl, Settings, StoreUrl};
use diesel_migrations::EmbeddedMigrations;
use std::path::PathBuf;

/// A file that the shop needs.
struct Database {
    path: PathBuf,
    migrations: EmbeddedMigrations,
    /// The table whose rows show that a shop has worked with this file.
    table: &'static str,
}

#[derive(diesel::QueryableByName)]
struct Count {
    #[diesel(sql_type = diesel::sql_types::BigInt)]
    n: i64,
}

impl Database {
    fn name(&self) -> String {
        self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }

    fn count(&self) -> Result<i64, StoreError> {
        let query = format!("SELECT count(*) AS n FROM {}", self.table);
        let rows: Vec<Count> = Snapshot::open(&StoreUrl::Sqlite(self.path.clone()))?.rows(&query)?;
        Ok(rows.iter().map(|row| row.n).sum())
    }
}

/// FILE violations. An error if there is no file at all, or one of them cannot be opened for another reason than damage.
pub(super) fn check(settings: &Settings, check_pages: bool) -> Result<Vec<Violation>, AuditError> {
    let databases = databases(settings)?;
    let missing: Vec<&Database> = databases.iter().filter(|database| !database.path.is_file()).collect();
    if missing.len() == databases.len() && !databases.is_empty() {
        let expected = databases.iter().map(Database::name).collect();
        return Err(AuditError::NoDatabase { folder: settings.data.dir.clone(), expected });
    }
    let (mut violations, mut intact) = (Vec::new(), Vec::new());
    for database in databases.iter().filter(|database| database.path.is_file()) {
        let problems = inspect::problems(&database.path, &database.migrations, check_pages)?;
        if problems.is_empty() {
            intact.push(database);
        }
        violations.extend(problems.into_iter().map(|problem| violation("FILE", format!("{}: {problem}", database.path.display()))));
    }
    if !missing.is_empty() {
        let contents = intact.iter().map(|database| Ok(format!("{} has {} {}", database.name(), database.count()?, database.table)));
        let contents = contents.collect::<Result<Vec<_>, StoreError>>()?.join(", ");
        violations.extend(missing.iter().map(|lost| violation("FILE", format!("{} is missing, but {contents}", lost.path.display()))));
    }
    Ok(violations)
}

/// The files of the stores and of the bus. The one of identity exists only where the built-in issuer has run.
fn databases(settings: &Settings) -> Result<Vec<Database>, AuditError> {
    let mut databases = Vec::new();
    let mut add = |path: PathBuf, migrations, table| databases.push(Database { path, migrations, table });
    #[allow(irrefutable_let_patterns, reason = "builds without servers have one kind of store")]
    if let DocumentStoreUrl::Sqlite(path) = settings.document_store_url("product")? {
        add(path, product::audit::SQLITE_MIGRATIONS, "products");
    }
    let stores = [(inventory::STORE, "reservations"), (order::STORE, "orders"), (notification::STORE, "notifications")];
    for (store, table) in stores {
        #[allow(irrefutable_let_patterns, reason = "builds without servers have one kind of store")]
        if let StoreUrl::Sqlite(path) = settings.store_url(store.module)? {
            add(path, store.sqlite, table);
        }
    }
    if settings.bus.url == "local://" {
        add(settings.data.dir.join("bus.db"), bus::local::MIGRATIONS, "messages");
    }
    let issuer = settings.data.dir.join("identity.db");
    if issuer.is_file() {
        add(issuer, identity::MIGRATIONS, "sessions");
    }
    Ok(databases)
}
