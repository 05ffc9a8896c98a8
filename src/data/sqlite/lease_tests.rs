//! Leases, each with two holders as in two processes.

use super::{Conn, Db};
use crate::data::{Lease, LeaseState};
use crate::kernel::error::StoreError;
use diesel_async::RunQueryDsl;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use std::time::Duration;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/bus/sqlite");

/// Does not expire during a test, however slow the machine is.
fn lease(db: &Db) -> Lease {
    Lease::new(db.clone(), "work").with_term(Duration::from_secs(3600))
}

/// One store, and one lease in it with two holders, each with its own writer.
fn two_holders() -> (tempfile::TempDir, Db, Lease, Lease) {
    let dir = tempfile::tempdir().unwrap();
    let open = || Db::open(&dir.path().join("t.db"), MIGRATIONS).unwrap();
    let db = open();
    let (a, b) = (lease(&db), lease(&open()));
    (dir, db, a, b)
}

/// Drops the cached state, so that the next call asks the store.
fn invalidate(lease: &mut Lease) {
    lease.cached = None;
}

async fn set_ends(db: &Db, expires_at: i64) {
    let set = async move |c: &mut Conn| {
        Ok::<_, StoreError>(diesel::sql_query(format!("UPDATE leases SET expires_at = {expires_at}")).execute(c).await?)
    };
    db.write(set).await.unwrap();
}

async fn expire_all(db: &Db) {
    set_ends(db, 0).await;
}

#[tokio::test]
async fn released_lease_is_acquired_by_the_other_holder() {
    let (_dir, _, mut a, mut b) = two_holders();
    assert_eq!(a.acquire_or_renew().await.unwrap(), LeaseState::Acquired);
    assert_eq!((a.acquire_or_renew().await.unwrap(), b.acquire_or_renew().await.unwrap()), (LeaseState::Held, LeaseState::HeldElsewhere));
    invalidate(&mut a);
    assert_eq!(a.acquire_or_renew().await.unwrap(), LeaseState::Held, "renewed");
    a.release().await;
    invalidate(&mut b);
    assert_eq!(b.acquire_or_renew().await.unwrap(), LeaseState::Acquired);
}

#[tokio::test]
async fn expired_lease_is_acquired_by_the_other_holder_and_lost_by_the_first() {
    let (_dir, db, mut a, mut b) = two_holders();
    assert_eq!(a.acquire_or_renew().await.unwrap(), LeaseState::Acquired);
    expire_all(&db).await;
    assert_eq!(b.acquire_or_renew().await.unwrap(), LeaseState::Acquired);
    invalidate(&mut a);
    assert_eq!(a.acquire_or_renew().await.unwrap(), LeaseState::HeldElsewhere);
    a.release().await;
    invalidate(&mut b);
    assert_eq!(b.acquire_or_renew().await.unwrap(), LeaseState::Held, "a release by another holder changes nothing");
}

/// The clock was set back by a day: the lease does not last a day longer.
#[tokio::test]
async fn lease_that_ends_later_than_its_term_is_acquired_by_the_other_holder() {
    let (_dir, db, mut a, mut b) = two_holders();
    assert_eq!(a.acquire_or_renew().await.unwrap(), LeaseState::Acquired);
    set_ends(&db, crate::kernel::clock::now_ms() + 24 * 3_600_000).await;
    assert_eq!(b.acquire_or_renew().await.unwrap(), LeaseState::Acquired);
    invalidate(&mut a);
    assert_eq!(a.acquire_or_renew().await.unwrap(), LeaseState::HeldElsewhere);
}

#[tokio::test]
async fn lease_acquired_concurrently_has_one_holder() {
    let (_dir, db, ..) = two_holders();
    let leases: Vec<_> = (0..8).map(|_| lease(&db)).collect();
    let requests = leases.into_iter().map(|mut lease| async move { lease.acquire_or_renew().await.unwrap() });
    let states = futures_util::future::join_all(requests).await;
    assert_eq!(states.iter().filter(|state| **state == LeaseState::Acquired).count(), 1, "{states:?}");
}
