//! A lease in MongoDB, as several processes use it.

use super::Database;
use crate::support::stores::on_documents;
use crate::support::{on_system, wait_for};
use mongodb::bson::{Document, doc};
use std::time::Duration;
use tradepost::data::mongodb::Db;
use tradepost::data::{Lease, LeaseState};
use tradepost::settings::Secret;

/// A lease that does not expire during a test, however slow the machine is.
fn side(database: &Database) -> Lease {
    let db = Db::open(&Secret::new(&database.0), "test", &database.settings(), "things", &[]).unwrap();
    Lease::new(db, "work").with_term(Duration::from_secs(3600))
}

/// Polls as a worker does, because a process caches the lease state for a moment.
async fn wait_for_state(side: &mut Lease, wanted: LeaseState) {
    let side = tokio::sync::Mutex::new(side);
    wait_for("the lease has another holder", || async {
        let held = side.lock().await.acquire_or_renew().await.unwrap();
        if held == wanted { Ok(()) } else { Err(format!("{held:?}")) }
    })
    .await;
}

#[test]
#[ignore = "needs a MongoDB: .ci/mongo.sh"]
fn lease_has_one_holder_and_is_released() {
    let database = Database::fresh();
    on_system(async move {
        let (mut a, mut b) = (side(&database), side(&database));
        assert_eq!(a.acquire_or_renew().await.unwrap(), LeaseState::Acquired);
        assert_eq!(
            (a.acquire_or_renew().await.unwrap(), b.acquire_or_renew().await.unwrap()),
            (LeaseState::Held, LeaseState::HeldElsewhere)
        );
        a.release().await;
        wait_for_state(&mut b, LeaseState::Acquired).await;
        assert_eq!(a.acquire_or_renew().await.unwrap(), LeaseState::HeldElsewhere);
    });
}

#[test]
#[ignore = "needs a MongoDB: .ci/mongo.sh"]
fn expired_lease_is_taken_over_and_its_old_holder_loses_it() {
    let database = Database::fresh();
    on_system(async move {
        let (mut a, mut b) = (side(&database), side(&database));
        assert_eq!(a.acquire_or_renew().await.unwrap(), LeaseState::Acquired);
        on_documents(&database.0, |all| async move {
            all.collection::<Document>("leases").update_one(doc! {}, doc! { "$set": { "expiresAt": 0_i64 } }).await.unwrap();
        });
        assert_eq!(b.acquire_or_renew().await.unwrap(), LeaseState::Acquired);
        a.release().await;
        wait_for_state(&mut a, LeaseState::HeldElsewhere).await;
        assert_eq!(b.acquire_or_renew().await.unwrap(), LeaseState::Held);
    });
}

#[test]
#[ignore = "needs a MongoDB: .ci/mongo.sh"]
fn concurrent_acquisitions_have_one_holder() {
    let database = Database::fresh();
    on_system(async move {
        let mut sides: Vec<_> = (0..8).map(|_| side(&database)).collect();
        for _ in 0..5 {
            let held = futures_util::future::join_all(sides.iter_mut().map(|side| async { side.acquire_or_renew().await.unwrap() })).await;
            assert!(held.iter().filter(|held| **held != LeaseState::HeldElsewhere).count() == 1, "{held:?}");
        }
    });
}
