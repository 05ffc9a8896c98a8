//! The indexes: created by `migrate`, verified before serving.

use super::Database;
use crate::support::ports::free_port;
use crate::support::process::tradepost;
use crate::support::stores::on_documents;
use mongodb::bson::{Document, doc};
use std::process::Stdio;
use tempfile::TempDir;
use tradepost::data::mongodb::{Db, Index};
use tradepost::kernel::error::StoreError;
use tradepost::settings::{MongoDb, Secret, Settings};

fn indexes(database: &Database) -> Vec<String> {
    let mut names =
        on_documents(&database.0, |all| async move { all.collection::<Document>("products").list_index_names().await.unwrap_or_default() });
    names.sort_unstable();
    names
}

fn run(args: &[&str], data: &TempDir, database: &Database) -> std::process::Command {
    let mut command = tradepost(&[args, &["--data", &data.path().to_string_lossy(), "--port", "0"]].concat());
    command.env("TRADEPOST__PRODUCT__STORE", &database.0);
    command
}

const BOTH: [&str; 3] = ["_id_", "skuCode_1", "waitingSince_1"];

/// Eight instances migrate at the same moment: there is one set of indexes, and all succeed.
#[test]
#[ignore = "needs a MongoDB: .ci/mongo.sh"]
fn concurrent_migrations_succeed() {
    let (database, data) = (Database::fresh(), [(); 8].map(|()| tempfile::tempdir().unwrap()));
    let start = |data| run(&["migrate"], data, &database).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let all: Vec<_> = data.iter().map(start).collect();
    for one in all {
        let output = one.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(indexes(&database), BOTH);
}

/// By default serving creates no index.
#[test]
#[ignore = "needs a MongoDB: .ci/mongo.sh"]
fn serving_without_indexes_fails_and_migrate_creates_them() {
    let (database, data) = (Database::fresh(), tempfile::tempdir().unwrap());
    let said = |args: &[&str]| {
        let output = run(args, &data, &database).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!said.contains(&database.0), "the URL contains a password and must not be shown: {said}");
        (output.status.success(), said)
    };
    let (well, words) = said(&["serve"]);
    assert!(!well && words.contains("product") && words.contains("tradepost migrate") && words.contains("mongodb.migrate"), "{words}");
    let (well, words) = said(&["migrate"]);
    assert!(well && words.contains("up to date"), "{words}");
    assert_eq!(indexes(&database), BOTH);
    // Then it starts: a start only reads the indexes.
    let settings = Settings { mongodb: MongoDb::default(), ..Settings::default() };
    let index = [Index { field: "skuCode", unique: true }, Index { field: "waitingSince", unique: false }];
    Db::open(&Secret::new(&database.0), "product", &settings, "products", Box::leak(Box::new(index))).map(drop).unwrap();
}

/// An index of the same field without uniqueness is not accepted.
#[test]
#[ignore = "needs a MongoDB: .ci/mongo.sh"]
fn index_without_uniqueness_is_rejected() {
    let database = Database::fresh();
    let name = mongodb::options::IndexOptions::builder().name("sku".to_string()).build();
    let plain = mongodb::IndexModel::builder().keys(doc! { "skuCode": 1 }).options(name).build();
    on_documents(&database.0, |all| async move { all.collection::<Document>("products").create_index(plain).await.unwrap() });
    static WANTED: [Index; 1] = [Index { field: "skuCode", unique: true }];
    let open = |settings: &Settings| Db::open(&Secret::new(&database.0), "product", settings, "products", &WANTED).map(drop);
    let refused = open(&Settings::default());
    assert!(matches!(refused, Err(StoreError::SchemaOutdated { pending: 1, .. })), "{refused:?}");
    // Some servers permit two indexes on one field: then the required one exists.
    match open(&database.settings()) {
        Err(refused) => assert!(refused.to_string().contains("products.skuCode: cannot create a unique sparse index"), "{refused}"),
        Ok(()) => open(&Settings::default()).unwrap(),
    }
}

/// An unreachable server: the error comes after the configured time, with the module's name and no password.
#[test]
#[ignore = "needs a MongoDB: .ci/mongo.sh"]
fn unreachable_server_stops_the_start_with_the_module_name() {
    let url = Secret::new(format!("mongodb://shop:hidden@127.0.0.1:{}/shop", free_port()));
    let limits = MongoDb { wait_seconds: 1, acquire_ms: 300, ..MongoDb::default() };
    let refused =
        Db::open_without_checks(&url, "product", &Settings { mongodb: limits, ..Settings::default() }).map(drop).unwrap_err().to_string();
    assert!(refused.contains("product") && refused.contains("127.0.0.1") && !refused.contains("hidden"), "{refused}");
}
