//! The schema: applied by the first process, reverted, and verified before serving.

use super::{Database, at, migrating};
use crate::support::ports::free_port;
use crate::support::process::tradepost;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use tradepost::data::mysql::{Db, revert};
use tradepost::kernel::error::StoreError;
use tradepost::settings::MySql;

const INVENTORY: EmbeddedMigrations = embed_migrations!("migrations/inventory/mysql");
const ORDER: EmbeddedMigrations = embed_migrations!("migrations/order/mysql");
const NOTIFICATION: EmbeddedMigrations = embed_migrations!("migrations/notification/mysql");

fn tables(database: &Database) -> String {
    let ours = "information_schema.tables WHERE table_schema = DATABASE() AND table_name NOT LIKE '\\_\\_diesel%'";
    database.value("coalesce(group_concat(table_name ORDER BY table_name), '')", ours)
}

/// Up, down, up: reverting a migration removes everything that it added.
#[test]
#[ignore = "needs a MySQL: .ci/stores.sh"]
fn every_migration_can_be_reverted_and_applied_again() {
    for module in ["inventory", "order", "notification"] {
        let migrations = || match module {
            "inventory" => INVENTORY,
            "order" => ORDER,
            _ => NOTIFICATION,
        };
        let database = Database::fresh();
        Db::open(&database.server(), module, &migrating(), migrations()).unwrap();
        let made = tables(&database);
        assert!(made.contains(if module == "notification" { "inbox" } else { "outbox" }), "{module}: {made}");
        while revert(&database.server(), module, &migrating(), migrations()).unwrap().is_some() {}
        assert_eq!(tables(&database), "", "{module}");
        Db::open(&database.server(), module, &migrating(), migrations()).unwrap();
        assert_eq!(tables(&database), made, "{module}");
    }
}

fn migrations_of_order() -> usize {
    std::fs::read_dir("migrations/order/mysql").unwrap().count()
}

/// Several instances start at once: one changes the schema, and all of them find it changed.
#[test]
#[ignore = "needs a MySQL: .ci/stores.sh"]
fn concurrent_starts_apply_the_schema_once() {
    let database = Database::fresh();
    let start = std::sync::Barrier::new(8);
    std::thread::scope(|threads| {
        let all: Vec<_> = (0..8)
            .map(|_| {
                threads.spawn(|| {
                    start.wait();
                    Db::open(&database.server(), "order", &migrating(), ORDER).map(drop)
                })
            })
            .collect();
        for one in all {
            one.join().unwrap().unwrap();
        }
    });
    assert_eq!(database.value("count(*)", "__diesel_schema_migrations"), migrations_of_order().to_string());
}

fn has_traceparent(database: &Database) -> bool {
    let ours = "information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'orders' AND column_name = 'traceparent'";
    database.value("count(*)", ours) == "1"
}

fn has_list_index(database: &Database) -> bool {
    let ours = "information_schema.statistics WHERE table_schema = DATABASE() AND table_name = 'orders' AND index_name = 'orders_listed'";
    database.value("count(*) > 0", ours) == "1"
}

/// By default serving does not change the schema, and needs no permission for it.
#[test]
#[ignore = "needs a MySQL: .ci/stores.sh"]
fn serving_an_outdated_schema_fails_and_migrate_updates_it() {
    let database = Database::fresh();
    let refused = Db::open(&database.server(), "order", &MySql::default(), ORDER).map(drop);
    assert!(matches!(refused, Err(StoreError::SchemaOutdated { pending, .. }) if pending == migrations_of_order()), "{refused:?}");
    assert_eq!(tables(&database), "");

    let data = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let output = tradepost(&[args, &["--data", &data.path().to_string_lossy(), "--port", "0"]].concat())
            .env("TRADEPOST__ORDER__STORE", database.url().expose())
            .output()
            .unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!said.contains(database.url().expose()), "the URL contains a password and must not be shown: {said}");
        (output.status.success(), said)
    };
    let (well, said) = run(&["serve"]);
    assert!(!well && said.contains("order") && said.contains("tradepost migrate"), "{said}");
    let (well, said) = run(&["migrate"]);
    assert!(well && said.contains("up to date"), "{said}");
    let made = tables(&database);
    assert!(made.contains("idempotency_keys"), "{made}");
    // the last migrations, one by one: indexes, a column, a table
    for (has_index, has_column) in [(false, true), (false, false)] {
        let (well, said) = run(&["migrate", "--down"]);
        assert!(well && said.contains("reverted: order"), "{said}");
        assert_eq!((tables(&database), has_list_index(&database), has_traceparent(&database)), (made.clone(), has_index, has_column));
    }
    let (well, said) = run(&["migrate", "--down"]);
    assert!(well && said.contains("reverted: order"), "{said}");
    let left = tables(&database);
    assert!(
        made.contains("outbox_refused") && !left.contains("outbox_refused") && left.contains("leases"),
        "only the last migration: {left}"
    );
    let (well, said) = run(&["migrate"]);
    assert!(well, "{said}");
    assert_eq!((tables(&database), has_list_index(&database), has_traceparent(&database)), (made, true, true));
}

/// An unreachable server: the error comes after the configured time, with the module's name and no password.
#[test]
#[ignore = "needs a MySQL: .ci/stores.sh"]
fn unreachable_server_stops_the_start_with_the_module_name() {
    let unreachable = at(format!("mysql://root:hidden@127.0.0.1:{}/shop", free_port()));
    let refused = Db::open(&unreachable, "order", &MySql { wait_seconds: 1, ..MySql::default() }, ORDER).map(drop);
    let said = refused.unwrap_err().to_string();
    assert!(said.contains("order") && !said.contains("hidden"), "{said}");
}
