//! Leases, with two processes' sides of one.

use super::lease::Lease;
use super::{Conn, Db};
use crate::platform::store::{Held, Known, StoreError, Turn};
use diesel_async::RunQueryDsl;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use std::time::Duration;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/bus/sqlite");

/// Held until a test ends it, however slow the machine is.
fn lease(db: Db) -> Lease {
    let mut lease = Lease::new(db, "work");
    lease.term = Duration::from_secs(3600);
    lease
}

/// Two processes' sides of one lease, each with its own writer.
fn two() -> (tempfile::TempDir, Lease, Lease) {
    let dir = tempfile::tempdir().unwrap();
    let side = || lease(Db::open(&dir.path().join("t.db"), MIGRATIONS).unwrap());
    let (a, b) = (side(), side());
    (dir, a, b)
}

/// As if so much time had passed for this process alone, which then asks again.
fn forget(lease: &mut Lease) {
    lease.known = Known::default();
}

async fn end(lease: &Lease) {
    let ended = async |c: &mut Conn| Ok::<_, StoreError>(diesel::sql_query("UPDATE leases SET expires_at = 0").execute(c).await?);
    lease.db.write(ended).await.unwrap();
}

#[tokio::test]
async fn one_at_a_time_holds_it_and_gives_it_back() {
    let (_dir, mut a, mut b) = two();
    assert_eq!(a.hold().await.unwrap(), Held::Anew);
    assert_eq!((a.hold().await.unwrap(), b.hold().await.unwrap()), (Held::Still, Held::Elsewhere));
    forget(&mut a);
    assert_eq!(a.hold().await.unwrap(), Held::Still, "renewed");
    a.release().await;
    forget(&mut b);
    assert_eq!(b.hold().await.unwrap(), Held::Anew);
}

#[tokio::test]
async fn a_dead_holder_is_replaced_and_a_paused_one_learns_of_it() {
    let (_dir, mut a, mut b) = two();
    assert_eq!(a.hold().await.unwrap(), Held::Anew);
    end(&b).await;
    assert_eq!(b.hold().await.unwrap(), Held::Anew);
    forget(&mut a);
    assert_eq!(a.hold().await.unwrap(), Held::Elsewhere);
    a.release().await;
    forget(&mut b);
    assert_eq!(b.hold().await.unwrap(), Held::Still, "who does not hold it gives nothing back");
}

#[tokio::test]
async fn many_who_want_it_at_once_are_one_who_gets_it() {
    let (_dir, a, _) = two();
    let sides: Vec<_> = (0..8).map(|_| lease(a.db.clone())).collect();
    let asked = sides.into_iter().map(|mut side| async move { side.hold().await.unwrap() });
    let held = futures_util::future::join_all(asked).await;
    assert_eq!(held.iter().filter(|held| **held == Held::Anew).count(), 1, "{held:?}");
}
