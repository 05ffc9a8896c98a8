//! The writer and its groups; and two writers on one file, as in two processes.

use super::connection::connect;
use super::db::{READERS, max_lists};
use super::{Conn, Db};
use crate::kernel::error::StoreError;
use diesel::connection::SimpleConnection;
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;
use diesel_migrations::EmbeddedMigrations;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const MIGRATIONS: EmbeddedMigrations = diesel_migrations::embed_migrations!("migrations/bus/sqlite");

#[derive(diesel::QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

async fn count(db: &Db) -> i64 {
    db.read(async |c| Ok::<_, StoreError>(diesel::sql_query("SELECT count(*) AS n FROM t").get_result::<Count>(c).await?.n)).await.unwrap()
}

fn open() -> (tempfile::TempDir, Db) {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("t.db"), MIGRATIONS).unwrap();
    (dir, db)
}

#[tokio::test]
async fn failed_request_in_a_group_is_undone_alone() {
    let (_dir, db) = open();
    db.write(async |c| Ok::<_, StoreError>(diesel::sql_query("CREATE TABLE t(k TEXT PRIMARY KEY)").execute(c).await?)).await.unwrap();
    let writes = (0..200).map(|i| {
        let db = db.clone();
        async move {
            db.write(async move |c| {
                let key = if i % 2 == 0 { i } else { 0 };
                diesel::sql_query("INSERT INTO t VALUES (?)").bind::<Text, _>(format!("other-{i}")).execute(c).await?;
                diesel::sql_query("INSERT INTO t VALUES (?)").bind::<Text, _>(format!("{key}")).execute(c).await?;
                Ok::<_, StoreError>(())
            })
            .await
        }
    });
    let results = futures_util::future::join_all(writes).await;
    let ok = results.iter().filter(|r| r.is_ok()).count();
    assert_eq!(ok, 100);
    assert!(results.iter().filter_map(|r| r.as_ref().err()).all(|e| matches!(e, StoreError::DuplicateKey(_))));
    assert_eq!(count(&db).await, 200);
}

#[tokio::test]
async fn panicking_request_fails_alone() {
    let (_dir, db) = open();
    let failed = db.write(async |_| -> Result<(), StoreError> { panic!("on purpose") }).await;
    assert!(matches!(failed, Err(StoreError::Internal(_))));
    db.write(async |c| Ok::<_, StoreError>(diesel::sql_query("CREATE TABLE t(k TEXT)").execute(c).await?)).await.unwrap();
    assert_eq!(count(&db).await, 0);
}

/// Two saturated writers on one file: neither starves, and no write is refused.
#[tokio::test(flavor = "multi_thread")]
async fn two_writers_on_one_file_share_the_lock_fairly() {
    let (dir, one) = open();
    let two = Db::open(&dir.path().join("t.db"), MIGRATIONS).unwrap();
    one.write(async |c| Ok::<_, StoreError>(diesel::sql_query("CREATE TABLE t(k TEXT PRIMARY KEY)").execute(c).await?)).await.unwrap();
    const EACH: i64 = 640;
    let clients = (0..32).map(|n| {
        let db = if n % 2 == 0 { one.clone() } else { two.clone() };
        async move {
            for i in 0..40 {
                let insert = async move |c: &mut Conn| {
                    let query = diesel::sql_query("INSERT INTO t VALUES (?)").bind::<Text, _>(format!("{n}-{i}"));
                    Ok::<_, StoreError>(query.execute(c).await?)
                };
                db.write(insert).await.unwrap();
            }
        }
    });
    futures_util::future::join_all(clients).await;
    assert_eq!(count(&one).await, 2 * EACH);
    // when the first writer has finished, the other has made good progress
    let last = "SELECT max(rowid) AS n FROM t GROUP BY CAST(substr(k, 1, instr(k, '-') - 1) AS INTEGER) % 2 ORDER BY n LIMIT 1";
    let done = one.read(async move |c| Ok::<_, StoreError>(diesel::sql_query(last).get_result::<Count>(c).await?.n)).await.unwrap();
    assert!(done - EACH >= EACH / 4, "one writer had written {} of {EACH} when the other had finished", done - EACH);
}

/// Simultaneous first starts: each open succeeds.
#[test]
fn new_database_opened_concurrently_is_ready_for_each() {
    for _ in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.db");
        std::thread::scope(|scope| {
            let opened: Vec<_> = (0..6).map(|_| scope.spawn(|| Db::open(&path, MIGRATIONS).map(drop))).collect();
            opened.into_iter().for_each(|one| one.join().unwrap().unwrap());
        });
    }
}

/// A transaction of another process that does not end fails the write after the lock timeout.
#[tokio::test]
async fn write_while_the_lock_is_held_returns_unavailable() {
    let (dir, db) = open();
    let mut other = connect(&dir.path().join("t.db")).unwrap();
    other.batch_execute("BEGIN IMMEDIATE").unwrap();
    let refused = db.write(async |c| Ok::<_, StoreError>(diesel::sql_query("CREATE TABLE t(k TEXT)").execute(c).await?)).await;
    assert!(matches!(&refused, Err(StoreError::Unavailable { cause, .. }) if cause.contains("locked")), "{refused:?}");
    other.batch_execute("ROLLBACK").unwrap();
    db.write(async |c| Ok::<_, StoreError>(diesel::sql_query("CREATE TABLE t(k TEXT)").execute(c).await?)).await.unwrap();
}

/// The metrics show active readers, waiting readers and queued writes; a cancelled reader no longer counts as waiting.
#[tokio::test]
async fn busy_database_reports_its_readers_and_queue() {
    let (_dir, db) = open();
    let registry = prometheus::Registry::new();
    db.register_metrics("t", &registry).unwrap();
    let has_metric = |line: &str| prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap().lines().any(|l| l == line);
    let until = async |line: &str| {
        while !has_metric(line) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let done = Arc::new(AtomicBool::new(false));
    let busy = || {
        let done = done.clone();
        async move |_: &mut Conn| {
            while !AtomicBool::load(&done, Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok::<_, StoreError>(())
        }
    };
    let reads: Vec<_> = (0..READERS + 2)
        .map(|_| {
            tokio::spawn({
                let (db, busy) = (db.clone(), busy());
                async move { db.read(busy).await }
            })
        })
        .collect();
    until("tradepost_pool_waiting{store=\"t\"} 2").await;
    assert!(has_metric("tradepost_pool_connections{state=\"in_use\",store=\"t\"} 4"));
    reads[READERS].abort();
    until("tradepost_pool_waiting{store=\"t\"} 1").await;
    let write = || {
        tokio::spawn({
            let (db, busy) = (db.clone(), busy());
            async move { db.write(busy).await }
        })
    };
    let mut writes = vec![write()];
    tokio::task::yield_now().await;
    until("tradepost_queue_depth{queue=\"t-writer\"} 0").await;
    writes.extend((0..3).map(|_| write()));
    until("tradepost_queue_depth{queue=\"t-writer\"} 3").await;
    done.store(true, Ordering::Relaxed);
    for write in writes {
        write.await.unwrap().unwrap();
    }
    futures_util::future::join_all(reads).await;
    assert!(has_metric("tradepost_pool_waiting{store=\"t-lists\"} 0"), "look-ups used permits of lists");
    assert!(has_metric("tradepost_pool_connections{state=\"idle\",store=\"t\"} 4") && has_metric("tradepost_pool_waiting{store=\"t\"} 0"));
    assert!(has_metric("tradepost_queue_depth{queue=\"t-writer\"} 0") && has_metric("tradepost_queue_capacity{queue=\"t-writer\"} 4096"));
}

/// Work that runs until it is released. A list whose caller gives up keeps its permit, so that slow lists do not add up.
#[tokio::test(flavor = "multi_thread")]
async fn look_ups_and_writes_while_all_lists_run_are_served() {
    let (_dir, db) = open();
    db.write(async |c| Ok::<_, StoreError>(diesel::sql_query("CREATE TABLE t(k TEXT)").execute(c).await?)).await.unwrap();
    let (release, (started, mut starts)) = (Arc::new(AtomicBool::new(false)), tokio::sync::mpsc::unbounded_channel());
    let list = || {
        let (db, release, started) = (db.clone(), release.clone(), started.clone());
        tokio::spawn(async move {
            let work = async move |_: &mut Conn| {
                started.send(()).unwrap();
                while !AtomicBool::load(&release, Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok::<_, StoreError>(())
            };
            db.list(work).await
        })
    };
    let running: Vec<_> = (0..max_lists()).map(|_| list()).collect();
    for _ in &running {
        starts.recv().await.unwrap();
    }
    for caller in &running {
        caller.abort();
    }
    for caller in running {
        assert!(caller.await.unwrap_err().is_cancelled());
    }
    let waiting = list();
    for n in 1..=2 * READERS as i64 {
        db.write(async |c| Ok::<_, StoreError>(diesel::sql_query("INSERT INTO t VALUES ('k')").execute(c).await?)).await.unwrap();
        assert_eq!(count(&db).await, n);
    }
    assert!(starts.try_recv().is_err(), "a list runs beyond the number of permits");
    release.store(true, Ordering::Relaxed);
    waiting.await.unwrap().unwrap();
}
