//! Databases whose files are lost, damaged, or do not belong together.

use super::connection::connect;
use super::database_set::{Database, DatabaseSet, OpenError};
use super::{Conn, Db};
use crate::kernel::error::StoreError;
use diesel::connection::SimpleConnection;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;
use diesel_migrations::EmbeddedMigrations;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MIGRATIONS: EmbeddedMigrations = diesel_migrations::embed_migrations!("migrations/bus/sqlite");
const MODULES: [&str; 3] = ["bus", "order", "inventory"];

#[derive(diesel::QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

async fn run(db: &Db, sql: &'static str) -> Result<usize, StoreError> {
    db.write(async move |c: &mut Conn| Ok(diesel::sql_query(sql).execute(c).await?)).await
}

async fn count(db: &Db) -> Result<i64, StoreError> {
    db.read(async |c| Ok(diesel::sql_query("SELECT count(*) AS n FROM t").get_result::<Count>(c).await?.n)).await
}

fn has_fault(registry: &prometheus::Registry, kind: &str) -> bool {
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    text.lines().any(|line| line == format!("tradepost_database_fault{{kind=\"{kind}\",store=\"t\"}} 1"))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

#[tokio::test]
async fn database_that_loses_a_file_is_out_of_service_until_a_restart() {
    let delete: fn(&Path) = |path| fs::remove_file(path).unwrap();
    let replace: fn(&Path) = |path| {
        fs::copy(path, beside(path, ".copy")).unwrap();
        fs::rename(beside(path, ".copy"), path).unwrap();
    };
    for (suffix, lose, words) in [
        ("", delete, "moved or deleted"),
        ("", replace, "replaced"),
        ("-wal", delete, "moved or deleted"),
        ("-shm", delete, "moved or deleted"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.db");
        let db = Db::open(&path, MIGRATIONS).unwrap();
        let registry = prometheus::Registry::new();
        db.register_metrics("t", &registry).unwrap();
        run(&db, "CREATE TABLE t(k TEXT)").await.unwrap();
        assert!(!has_fault(&registry, "lost"));
        let (lost, kept) = (beside(&path, suffix), dir.path().join("kept"));
        fs::hard_link(&lost, &kept).unwrap();
        lose(&lost);
        let refused = run(&db, "INSERT INTO t VALUES ('after')").await.unwrap_err();
        let text = refused.to_string();
        assert!(matches!(refused, StoreError::FileLost { .. }), "{text}");
        assert!(text.contains(&lost.display().to_string()) && text.contains(words), "{text}");
        fs::rename(&kept, &lost).unwrap();
        assert!(matches!(run(&db, "INSERT INTO t VALUES ('later')").await, Err(StoreError::FileLost { .. })));
        assert!(matches!(count(&db).await, Err(StoreError::FileLost { .. })));
        assert!(db.check_file().is_err() && has_fault(&registry, "lost") && !has_fault(&registry, "corrupt"));
        assert_eq!(count(&Db::open(&path, MIGRATIONS).unwrap()).await.unwrap(), 0, "a refused write was stored");
    }
}

/// A file is lost while a transaction runs: its commit succeeds, but no restart finds it.
#[tokio::test]
async fn write_is_not_acknowledged_if_the_file_is_lost_before_its_commit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    let db = Db::open(&path, MIGRATIONS).unwrap();
    let lost = path.clone();
    let written = db.write(async move |c: &mut Conn| {
        diesel::sql_query("CREATE TABLE t(k TEXT)").execute(c).await?;
        fs::remove_file(&lost).unwrap();
        Ok::<_, StoreError>(())
    });
    assert!(matches!(written.await, Err(StoreError::FileLost { .. })));
    assert!(!path.exists(), "the database was created anew");
}

/// Creates a database with some pages of rows, closed.
async fn filled(path: &Path) {
    let db = Db::open(path, MIGRATIONS).unwrap();
    run(&db, "CREATE TABLE t(k TEXT)").await.unwrap();
    let rows =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT INTO t SELECT hex(randomblob(100)) FROM n";
    run(&db, rows).await.unwrap();
    drop(db);
    // the writer closes the file on its own thread
    while beside(path, "-wal").exists() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

fn overwrite(path: &Path, from: u64, bytes: usize) {
    fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(&vec![0xff; bytes], from).unwrap();
}

/// A database that opens, with damaged pages of its table `t`.
async fn open_with_damaged_pages(dir: &Path) -> (PathBuf, Db) {
    let path = dir.join("t.db");
    filled(&path).await;
    let size = fs::metadata(&path).unwrap().len();
    overwrite(&path, size - 65_536, 65_536);
    let db = Db::open(&path, MIGRATIONS).unwrap();
    (path, db)
}

#[tokio::test]
async fn database_with_a_damaged_page_is_out_of_service_once_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (path, db) = open_with_damaged_pages(dir.path()).await;
    let registry = prometheus::Registry::new();
    db.register_metrics("t", &registry).unwrap();
    run(&db, "CREATE TABLE other(k TEXT)").await.unwrap();
    let refused = count(&db).await.unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, StoreError::Corrupt { .. }), "{text}");
    assert!(text.contains(&path.display().to_string()) && text.contains("malformed") && text.contains("backup"), "{text}");
    assert!(matches!(run(&db, "INSERT INTO other VALUES ('after')").await, Err(StoreError::Corrupt { .. })));
    assert!(db.check_file().is_err() && has_fault(&registry, "corrupt") && !has_fault(&registry, "lost"));
}

#[tokio::test]
async fn damaged_page_read_by_a_write_takes_the_database_out_of_service() {
    let dir = tempfile::tempdir().unwrap();
    let (_, db) = open_with_damaged_pages(dir.path()).await;
    run(&db, "CREATE TABLE other(k TEXT)").await.unwrap();
    let damaged = run(&db, "DELETE FROM t WHERE k = ''").await;
    assert!(matches!(damaged, Err(StoreError::Corrupt { .. })), "{damaged:?}");
    assert!(matches!(run(&db, "INSERT INTO other VALUES ('after')").await, Err(StoreError::Corrupt { .. })));
}

#[tokio::test]
async fn file_that_is_no_database_is_reported_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    filled(&path).await;
    overwrite(&path, 0, 100);
    let refused = Db::open(&path, MIGRATIONS).map(drop).unwrap_err();
    assert!(matches!(&refused, StoreError::Corrupt { store, .. } if store.ends_with("t.db")), "{refused}");
}

/// A data folder with the databases of [`MODULES`].
struct Folder(tempfile::TempDir);

impl Folder {
    /// A folder in which a process has started and stopped.
    fn used() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.start().unwrap();
        folder
    }

    fn path(&self, module: &str) -> PathBuf {
        self.0.path().join(format!("{module}.db"))
    }

    fn databases(&self, modules: &[&'static str]) -> Vec<Database> {
        modules.iter().map(|module| Database { module, path: self.path(module) }).collect()
    }

    fn open(&self, accept_loss: bool) -> Result<DatabaseSet, OpenError> {
        DatabaseSet::open(&self.databases(&MODULES), &[], accept_loss)
    }

    /// Starts and stops a process. The error's text if it is refused.
    fn start(&self) -> Result<(), String> {
        self.open(false).map(drop).map_err(|refused| refused.to_string())
    }

    fn copy_from(&self, other: &Self, module: &str) {
        fs::copy(other.path(module), self.path(module)).unwrap();
    }

    fn copied(&self) -> Self {
        let copy = Self(tempfile::tempdir().unwrap());
        MODULES.iter().for_each(|module| copy.copy_from(self, module));
        copy
    }

    fn shop(&self, module: &str) -> Option<String> {
        #[derive(diesel::QueryableByName)]
        struct Row {
            #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::Text>)]
            shop: Option<String>,
        }
        let query = diesel::sql_query("SELECT shop FROM database_identity");
        diesel::RunQueryDsl::get_result::<Row>(query, &mut connect(&self.path(module)).unwrap()).unwrap().shop
    }
}

#[test]
fn missing_database_is_refused_until_its_loss_is_accepted() {
    for module in MODULES {
        let folder = Folder::used();
        fs::remove_file(folder.path(module)).unwrap();
        for _ in 0..2 {
            let refused = folder.start().unwrap_err();
            assert!(refused.contains(&format!("{} is missing", folder.path(module).display())), "{refused}");
            assert!(refused.contains("--accept-loss") && refused.contains("backup"), "{refused}");
            assert!(!folder.path(module).exists(), "a refused start creates no file");
        }
        folder.open(true).map(drop).unwrap();
        folder.start().unwrap();
    }
}

#[test]
fn older_copy_of_one_database_is_refused_and_of_all_is_not() {
    let folder = Folder::used();
    let old = folder.copied();
    folder.start().unwrap();
    let new = folder.copied();
    for module in MODULES {
        folder.copy_from(&old, module);
        let refused = folder.start().unwrap_err();
        assert!(refused.contains(&format!("{} is an older copy", folder.path(module).display())), "{refused}");
        folder.copy_from(&new, module);
        folder.start().unwrap();
        MODULES.iter().for_each(|module| folder.copy_from(&new, module));
    }
    MODULES.iter().for_each(|module| folder.copy_from(&old, module));
    folder.start().unwrap();
}

#[test]
fn accepted_older_copy_is_the_newest_afterwards() {
    let folder = Folder::used();
    let old = folder.copied();
    (0..3).for_each(|_| folder.start().unwrap());
    folder.copy_from(&old, "order");
    folder.open(true).map(drop).unwrap();
    folder.start().unwrap();
    folder.copy_from(&old, "order");
    assert!(folder.start().is_err());
}

/// For example, its size was set to 0.
#[test]
fn emptied_database_is_refused() {
    let folder = Folder::used();
    fs::File::create(folder.path("order")).unwrap();
    let refused = folder.start().unwrap_err();
    assert!(refused.contains("order.db is an older copy"), "{refused}");
}

#[test]
fn database_of_another_shop_is_refused() {
    let (folder, other) = (Folder::used(), Folder::used());
    (0..3).for_each(|_| other.start().unwrap());
    folder.copy_from(&other, "order");
    let refused = folder.start().unwrap_err();
    assert!(refused.contains("order.db belongs to another shop"), "{refused}");
    assert_eq!(refused.matches(".db belongs").count(), 1, "{refused}");
    folder.open(true).map(drop).unwrap();
    folder.start().unwrap();
}

#[test]
fn exchanged_databases_are_refused_always() {
    let folder = Folder::used();
    fs::rename(folder.path("order"), folder.0.path().join("o")).unwrap();
    fs::rename(folder.path("inventory"), folder.path("order")).unwrap();
    fs::rename(folder.0.path().join("o"), folder.path("inventory")).unwrap();
    for accept_loss in [false, true] {
        let refused = folder.open(accept_loss).map(drop).unwrap_err().to_string();
        assert!(refused.contains("order.db is the database of inventory; expected that of order"), "{refused}");
        assert!(refused.contains("inventory.db is the database of order"), "{refused}");
    }
}

#[test]
fn databases_of_an_earlier_release_are_adopted() {
    let folder = Folder(tempfile::tempdir().unwrap());
    for module in MODULES {
        connect(&folder.path(module)).unwrap().batch_execute("CREATE TABLE t(k TEXT)").unwrap();
    }
    folder.start().unwrap();
    fs::remove_file(folder.path("order")).unwrap();
    assert!(folder.start().is_err());
}

/// One process per module on one folder, then one process again.
#[test]
fn databases_opened_alone_stay_consistent_and_share_the_shop() {
    let folder = Folder::used();
    for _ in 0..3 {
        for module in MODULES {
            DatabaseSet::open(&folder.databases(&[module]), &[], false).map(drop).unwrap();
        }
    }
    folder.start().unwrap();

    let folder = Folder(tempfile::tempdir().unwrap());
    DatabaseSet::open(&folder.databases(&["inventory"]), &[], false).map(drop).unwrap();
    assert_eq!(folder.shop("inventory"), None, "a file beside no other one belongs to any shop");
    DatabaseSet::open(&folder.databases(&["bus", "order"]), &[folder.path("inventory")], false).map(drop).unwrap();
    folder.start().unwrap();
    let siblings = ["bus", "order"].map(|module| folder.path(module));
    fs::remove_file(folder.path("inventory")).unwrap();
    DatabaseSet::open(&folder.databases(&["inventory"]), &siblings, false).map(drop).unwrap();
    let shops = MODULES.map(|module| folder.shop(module).unwrap());
    assert!(shops.iter().all(|shop| *shop == shops[0]), "{shops:?}");
}

/// Generations that it recorded in the other shop do not count here.
#[test]
fn foreign_database_accepted_by_one_process_belongs_to_the_others_afterwards() {
    let (folder, other) = (Folder::used(), Folder::used());
    (0..5).for_each(|_| other.start().unwrap());
    folder.copy_from(&other, "order");
    DatabaseSet::open(&folder.databases(&["bus", "order"]), &[], true).map(drop).unwrap();
    folder.start().unwrap();
}

#[test]
fn simultaneous_first_starts_agree_on_the_shop() {
    for _ in 0..5 {
        let folder = Folder(tempfile::tempdir().unwrap());
        std::thread::scope(|scope| {
            let open = |modules: &'static [&'static str]| {
                let databases = folder.databases(modules);
                scope.spawn(move || DatabaseSet::open(&databases, &[], false).map(drop))
            };
            let starts = [open(&["bus", "order"]), open(&["bus", "inventory"]), open(&MODULES), open(&["bus", "order"])];
            starts.into_iter().for_each(|start| start.join().unwrap().unwrap());
        });
        folder.start().unwrap();
    }
}

/// A process that was killed between the two steps.
#[test]
fn generation_that_no_other_file_records_is_no_contradiction() {
    let folder = Folder::used();
    let mut conn = connect(&folder.path("order")).unwrap();
    conn.batch_execute("UPDATE database_identity SET generation = generation + 1").unwrap();
    drop(conn);
    folder.start().unwrap();
}

#[test]
fn database_replaced_by_an_older_copy_while_it_is_open_is_refused_by_the_next_start() {
    let folder = Folder::used();
    let old = folder.copied();
    let set = folder.open(false).unwrap();
    fs::remove_file(folder.path("order")).unwrap();
    fs::remove_file(beside(&folder.path("order"), "-wal")).unwrap();
    folder.copy_from(&old, "order");
    assert!(matches!(set.advance(), Err(StoreError::FileLost { .. })));
    drop(set);
    let refused = folder.start().unwrap_err();
    assert!(refused.contains("order.db is an older copy"), "{refused}");
}

/// The process does not start again between the backup and the restore.
#[cfg(feature = "all-in-one")]
#[test]
fn copy_of_a_backup_is_older_than_what_was_copied() {
    use super::copy::{Copy, begin_together};
    let folder = Folder::used();
    let backup = Folder(tempfile::tempdir().unwrap());
    let mut copies: Vec<_> = MODULES.iter().map(|module| Copy::open(&folder.path(module), &backup.path(module)).unwrap()).collect();
    begin_together(&mut copies).unwrap();
    copies.into_iter().for_each(|copy| copy.write().unwrap());
    let whole = backup.copied();
    whole.start().unwrap();
    folder.copy_from(&backup, "order");
    let refused = folder.start().unwrap_err();
    assert!(refused.contains("order.db is an older copy"), "{refused}");
}
