//! Concurrent transactions: rolled back completely, retried completely, and never left open.

use super::{Database, migrating};
use crate::support::{on_system, wait_for, wait_until};
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tradepost::data::mysql::{Conn, Db};
use tradepost::kernel::error::StoreError;
use tradepost::settings::MySql;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/notification/mysql");

/// A database with two rows that transactions contend for.
fn contended_database(settings: &MySql) -> (Database, Db) {
    let database = Database::fresh();
    let db = Db::open(&database.server(), "test", settings, MIGRATIONS).unwrap();
    database.run("CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT NOT NULL) ENGINE = InnoDB; INSERT INTO t VALUES (1, 0), (2, 0)");
    (database, db)
}

async fn add_one(c: &mut Conn, id: i64) -> Result<(), StoreError> {
    diesel::sql_query("UPDATE t SET n = n + 1 WHERE id = ?").bind::<BigInt, _>(id).execute(c).await?;
    Ok(())
}

/// Waits until the count is reached.
async fn reached(what: &str, count: &AtomicUsize, least: usize) {
    wait_until(what, || {
        let n = AtomicUsize::load(count, Ordering::SeqCst);
        if n >= least { Ok(()) } else { Err(format!("{n}")) }
    })
    .await;
}

/// A deadlock: each transaction holds the row that the other needs. The server aborts one of them, and it is retried,
/// so both succeed.
#[test]
#[ignore = "needs a MySQL: .ci/stores.sh"]
fn deadlock_is_retried_and_both_transactions_succeed() {
    let (database, db) = contended_database(&migrating());
    on_system(async move {
        let attempts = Arc::new(AtomicUsize::new(0));
        let holding = Arc::new(AtomicUsize::new(0));
        let transaction = |first: i64, second: i64| {
            let (db, attempts, holding) = (db.clone(), attempts.clone(), holding.clone());
            async move {
                db.write(async move |c: &mut Conn| {
                    attempts.fetch_add(1, Ordering::SeqCst);
                    add_one(c, first).await?;
                    // Both hold their first row before either locks its second.
                    holding.fetch_add(1, Ordering::SeqCst);
                    reached("both hold a row", &holding, 2).await;
                    add_one(c, second).await
                })
                .await
            }
        };
        let (one, other) = futures_util::future::join(transaction(1, 2), transaction(2, 1)).await;
        one.unwrap();
        other.unwrap();
        assert!(AtomicUsize::load(&attempts, Ordering::SeqCst) >= 3, "no deadlock occurred, so nothing was tested");
        assert_eq!(database.value("group_concat(n ORDER BY id)", "t"), "2,2", "each transaction is applied once");
    });
}

/// A row is locked for longer than one statement may wait: the transaction is retried.
#[test]
#[ignore = "needs a MySQL: .ci/stores.sh"]
fn lock_wait_timeout_is_retried() {
    // MariaDB aborts a statement after twice this time, so the lock must be much shorter than that.
    let settings = MySql { statement_ms: 5000, transaction_ms: 60_000, ..migrating() };
    let (database, db) = contended_database(&settings);
    on_system(async move {
        let attempts = Arc::new(AtomicUsize::new(0));
        let (holder, until) = (db.clone(), attempts.clone());
        let held = actix_web::rt::spawn(async move {
            holder
                .write(async move |c: &mut Conn| {
                    add_one(c, 1).await?;
                    reached("it has waited, and waits again", &until, 2).await;
                    Ok::<_, StoreError>(())
                })
                .await
        });
        wait_for("the row is locked", || async {
            let locked = db
                .write(async |c: &mut Conn| {
                    let rows = diesel::sql_query("SELECT id FROM t WHERE id = 1 FOR UPDATE SKIP LOCKED").execute(c).await?;
                    Ok::<_, StoreError>(rows == 0)
                })
                .await
                .map_err(|e| e.to_string())?;
            if locked { Ok(()) } else { Err("not yet".into()) }
        })
        .await;
        let counted = attempts.clone();
        let added = db.write(async move |c: &mut Conn| {
            counted.fetch_add(1, Ordering::SeqCst);
            add_one(c, 1).await
        });
        added.await.unwrap();
        held.await.unwrap().unwrap();
        assert_eq!(database.value("n", "t WHERE id = 1"), "2");
    });
}

/// A failed transaction is rolled back completely, and a business error is not retried.
#[test]
#[ignore = "needs a MySQL: .ci/stores.sh"]
fn failed_transaction_is_rolled_back_and_not_retried() {
    let (database, db) = contended_database(&migrating());
    on_system(async move {
        let attempts = Arc::new(AtomicUsize::new(0));
        let counted = attempts.clone();
        let refused = db.write(async move |c: &mut Conn| {
            counted.fetch_add(1, Ordering::SeqCst);
            add_one(c, 1).await?;
            diesel::sql_query("INSERT INTO t VALUES (2, 9)").execute(c).await?;
            Ok::<_, StoreError>(())
        });
        assert!(matches!(refused.await, Err(StoreError::DuplicateKey(_))));
        assert_eq!(AtomicUsize::load(&attempts, Ordering::SeqCst), 1);
        assert_eq!(database.value("group_concat(n ORDER BY id)", "t"), "0,0");
    });
}

/// A caller is cancelled in the middle, as when an HTTP client disconnects: the transaction ends without it and
/// releases its locks.
#[test]
#[ignore = "needs a MySQL: .ci/stores.sh"]
fn cancelled_caller_leaves_no_transaction_open() {
    let (database, db) = contended_database(&MySql { connections: 1, ..migrating() });
    on_system(async move {
        let (begun, gone) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (in_the_middle, caller_gone) = (begun.clone(), gone.clone());
        let cancelled = db.write(async move |c: &mut Conn| {
            add_one(c, 1).await?;
            in_the_middle.fetch_add(1, Ordering::SeqCst);
            reached("its caller is gone", &caller_gone, 1).await;
            add_one(c, 2).await
        });
        tokio::select! {
            done = cancelled => panic!("the transaction was not cancelled: {done:?}"),
            () = reached("the transaction is in the middle", &begun, 1) => {}
        }
        gone.fetch_add(1, Ordering::SeqCst);
        // The only connection is available once that transaction ends.
        db.write(async |c: &mut Conn| add_one(c, 1).await).await.unwrap();
        assert_eq!(database.value("group_concat(n ORDER BY id)", "t"), "2,1");
    });
}

/// A transaction that exceeds its time limit is aborted: its caller gets an error, its locks are released, others get a
/// connection.
#[test]
#[ignore = "needs a MySQL: .ci/stores.sh"]
fn transaction_beyond_its_limit_is_aborted_with_its_connection() {
    let settings = MySql { connections: 1, transaction_ms: 400, ..migrating() };
    let (database, db) = contended_database(&settings);
    let patient = Db::open(&database.server(), "test", &migrating(), MIGRATIONS).unwrap();
    on_system(async move {
        let slow = db.write(async |c: &mut Conn| {
            add_one(c, 1).await?;
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok::<_, StoreError>(())
        });
        assert!(matches!(slow.await, Err(StoreError::Unavailable { .. })));
        wait_for("a connection is available", || async {
            let asked = db.write(async |c: &mut Conn| Ok::<_, StoreError>(diesel::sql_query("SELECT 1").execute(c).await?));
            asked.await.map(drop).map_err(|e| e.to_string())
        })
        .await;
        // A free row shows that the transaction was rolled back; after an aborted commit it may be committed.
        patient.write(async |c: &mut Conn| add_one(c, 1).await).await.unwrap();
        assert_eq!(database.value("n", "t WHERE id = 1"), "1", "the aborted transaction is rolled back");
    });
}

/// More transactions than connections: they wait, and each is executed once.
#[test]
#[ignore = "needs a MySQL: .ci/stores.sh"]
fn more_transactions_than_connections_all_complete() {
    let (database, db) = contended_database(&MySql { connections: 3, ..migrating() });
    on_system(async move {
        let all = (0..60).map(|i| {
            let db = db.clone();
            async move { db.write(async move |c: &mut Conn| add_one(c, 1 + i % 2).await).await.unwrap() }
        });
        futures_util::future::join_all(all).await;
        assert_eq!(database.value("group_concat(n ORDER BY id)", "t"), "30,30");
    });
}
