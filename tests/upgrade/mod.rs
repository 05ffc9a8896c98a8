//! The previous release and this one side by side, on the same stores and the same bus: no order is lost during the
//! upgrade or the downgrade, and clients need not wait. `.ci/upgrade.sh` builds the other release and runs this.

mod fleet;

use crate::chaos::kill::{assert_notified_once_each, no_order_is_left_open, pages, seed};
use crate::chaos::ledger::{OrderOutcome, SeededRng, stock};
use crate::chaos::pairs::Callers;
use crate::support::client::Client;
use crate::support::process::at_rest;
use crate::support::{on_system, share_keys, wait_until};
use fleet::{Fleet, Release};
use serde_json::json;
use std::collections::BTreeMap;
use tradepost::kernel::module::Module;

const CUSTOMERS: usize = 6;

/// Order of replacement. An order's events are read by the other release in both directions: during the upgrade the new
/// order's events by the old notification, during the downgrade the old order's by the new one.
const TURNS: [Module; 7] =
    [Module::Registry, Module::Identity, Module::Product, Module::Inventory, Module::Order, Module::Notification, Module::Gateway];

/// Waits until this many more requests are answered.
async fn go_on(callers: &Callers, requests: u64) {
    let from = callers.requests.get();
    wait_until("requests are answered", || {
        let done = callers.requests.get() - from;
        if done >= requests { Ok(()) } else { Err(format!("{done} of {requests}")) }
    })
    .await;
}

/// Starts each module's process of one release beside the other's, then stops the other: like an orchestrator that
/// stops a process only after its callers know the replacement.
async fn replace(fleet: &mut Fleet, callers: &Callers, by: Release, admin: &str) {
    for module in TURNS {
        fleet.start(module, by).await;
        fleet.acquainted(admin).await;
        go_on(callers, 40).await;
        fleet.stop(module, by.other()).await;
        fleet.acquainted(admin).await;
        go_on(callers, 20).await;
    }
    println!("all are {by:?}: {} requests, {} 5xx", callers.requests.get(), callers.failed());
}

async fn audit_is_clean(fleet: &Fleet, by: Release) {
    wait_until("the audit is clean and nothing is pending", || {
        at_rest(fleet.command(by, "audit")).map_err(|words| format!("{by:?}: {words}"))
    })
    .await;
}

#[test]
#[ignore = "needs the release before: .ci/upgrade.sh"]
fn upgrade_and_downgrade_under_load_lose_no_order() {
    let seed = seed();
    println!("TRADEPOST_CHAOS_SEED={seed}");
    on_system(async move {
        let data = tempfile::tempdir().unwrap();
        share_keys(data.path());
        let mut fleet = Fleet::on(data.path());
        let migrate = |fleet: &Fleet, by| {
            let (done, words) = fleet.command(by, "migrate");
            assert!(done, "{by:?}: {words}");
        };
        migrate(&fleet, Release::Before);
        for module in TURNS {
            fleet.start(module, Release::Before).await;
        }
        let c = Client::login(&fleet.gateway(Release::Before)).await;
        fleet.acquainted(&c.admin).await;
        stock(&c).await;
        let gateways = [c.clone(), c.at(&fleet.gateway(Release::This))];

        let (callers, mut rng) = (Callers::default(), SeededRng::new(seed));
        let customers: Vec<_> = (0..CUSTOMERS).map(|_| callers.customer(&gateways, SeededRng::new(rng.range(0, u64::MAX - 1)))).collect();
        let upgrade = async {
            go_on(&callers, 50).await;
            // Migrate the schema first, while the previous release uses it.
            let migrating = fleet.begin(Release::This, "migrate");
            wait_until("the schema is this release's", migrating).await;
            go_on(&callers, 100).await;
            println!("the schema is new, all are Before: {} requests, {} 5xx", callers.requests.get(), callers.failed());
            replace(&mut fleet, &callers, Release::This, &c.admin).await;
            go_on(&callers, 100).await;
            replace(&mut fleet, &callers, Release::Before, &c.admin).await;
            go_on(&callers, 100).await;
            callers.over.set(true);
        };
        futures_util::future::join(futures_util::future::join_all(customers), upgrade).await;

        let order = c.at(fleet.url(Module::Order));
        no_order_is_left_open(&order).await;
        let orders = pages(&order, "/api/v1/orders").await;
        callers.ledger.check(&orders);
        assert!(callers.ledger.entries().values().all(|entry| entry.outcome != OrderOutcome::Nothing), "an order was never answered");
        audit_is_clean(&fleet, Release::Before).await;
        audit_is_clean(&fleet, Release::This).await;
        let notification = c.at(fleet.url(Module::Notification));
        assert_notified_once_each(&orders, &pages(&notification, "/api/v1/notifications").await);
        assert_eq!(notification.get(&c.admin, "/actuator/deadletters").await.expect(200).json(), json!([]));
        report(&callers, orders.len());
        fleet.stop_all().await;
    });
}

fn report(callers: &Callers, orders: usize) {
    let (requests, failed) = (callers.requests.get(), callers.failed());
    println!("{requests} requests, {orders} orders stored, {failed} 5xx, {} requests moved to the other gateway", callers.switched.get());
    let failures: BTreeMap<String, u64> = callers.failures.borrow().clone();
    failures.iter().for_each(|(what, times)| println!("  {times} x {what}"));
    assert!(orders > 100, "nothing was tested");
    assert!(failed <= (requests / 1000).max(3), "{failed} of {requests} requests failed");
}
