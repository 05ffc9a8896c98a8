//! Leases, with two processes' sides of one.

use super::{Conn, Db};
use crate::data::{Lease, LeaseState};
use crate::kernel::error::StoreError;
use diesel_async::RunQueryDsl;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use std::time::Duration;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/bus/sqlite");

/// Held until a test ends it, however slow the machine is.
fn lease(db: &Db) -> Lease {
    Lease::new(db.clone(), "work").lasting(Duration::from_secs(3600))
}

/// One store, and two processes' sides of one lease in it, each with its own writer.
fn two() -> (tempfile::TempDir, Db, Lease, Lease) {
    let dir = tempfile::tempdir().unwrap();
    let open = || Db::open(&dir.path().join("t.db"), MIGRATIONS).unwrap();
    let db = open();
    let (a, b) = (lease(&db), lease(&open()));
    (dir, db, a, b)
}

/// As if so much time had passed for this process alone, which then asks again.
fn forget(lease: &mut Lease) {
    lease.known = None;
}

async fn end(db: &Db) {
    let ended = async |c: &mut Conn| Ok::<_, StoreError>(diesel::sql_query("UPDATE leases SET expires_at = 0").execute(c).await?);
    db.write(ended).await.unwrap();
}

#[tokio::test]
async fn one_at_a_time_holds_it_and_gives_it_back() {
    let (_dir, _, mut a, mut b) = two();
    assert_eq!(a.hold().await.unwrap(), LeaseState::Acquired);
    assert_eq!((a.hold().await.unwrap(), b.hold().await.unwrap()), (LeaseState::Held, LeaseState::HeldElsewhere));
    forget(&mut a);
    assert_eq!(a.hold().await.unwrap(), LeaseState::Held, "renewed");
    a.release().await;
    forget(&mut b);
    assert_eq!(b.hold().await.unwrap(), LeaseState::Acquired);
}

#[tokio::test]
async fn a_dead_holder_is_replaced_and_a_paused_one_learns_of_it() {
    let (_dir, db, mut a, mut b) = two();
    assert_eq!(a.hold().await.unwrap(), LeaseState::Acquired);
    end(&db).await;
    assert_eq!(b.hold().await.unwrap(), LeaseState::Acquired);
    forget(&mut a);
    assert_eq!(a.hold().await.unwrap(), LeaseState::HeldElsewhere);
    a.release().await;
    forget(&mut b);
    assert_eq!(b.hold().await.unwrap(), LeaseState::Held, "who does not hold it gives nothing back");
}

#[tokio::test]
async fn many_who_want_it_at_once_are_one_who_gets_it() {
    let (_dir, db, ..) = two();
    let sides: Vec<_> = (0..8).map(|_| lease(&db)).collect();
    let asked = sides.into_iter().map(|mut side| async move { side.hold().await.unwrap() });
    let held = futures_util::future::join_all(asked).await;
    assert_eq!(held.iter().filter(|held| **held == LeaseState::Acquired).count(), 1, "{held:?}");
}
