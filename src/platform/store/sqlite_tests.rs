//! The writer and its groups.

use super::*;
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;

const NONE: EmbeddedMigrations = diesel_migrations::embed_migrations!("migrations/bus/sqlite");

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
    let db = Db::open(&dir.path().join("t.db"), NONE).unwrap();
    (dir, db)
}

#[tokio::test]
async fn a_failed_request_is_undone_alone_among_a_group() {
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
    assert!(results.iter().filter_map(|r| r.as_ref().err()).all(|e| matches!(e, StoreError::Taken(_))));
    assert_eq!(count(&db).await, 200);
}

#[tokio::test]
async fn a_panic_in_a_request_is_its_own_failure() {
    let (_dir, db) = open();
    let failed = db.write(async |_| -> Result<(), StoreError> { panic!("on purpose") }).await;
    assert!(matches!(failed, Err(StoreError::Broken(_))));
    db.write(async |c| Ok::<_, StoreError>(diesel::sql_query("CREATE TABLE t(k TEXT)").execute(c).await?)).await.unwrap();
    assert_eq!(count(&db).await, 0);
}
