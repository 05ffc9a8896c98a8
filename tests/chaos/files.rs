//! The databases of a shop are lost, damaged, or do not belong together: before a start, and under a running process.

use super::kill::pages;
use super::ledger::{Ledger, OrderOutcome, SeededRng, outcome_of, send, stock};
use super::sql::Sql;
use crate::support::client::Client;
use crate::support::process::{Limit, Process, last_words, tradepost};
use crate::support::{on_system, wait_for, wait_until};
use actix_web::http::Method;
use std::cell::Cell;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

const DATABASES: [&str; 6] = ["bus", "identity", "product", "inventory", "order", "notification"];
const CUSTOMERS: usize = 4;

fn file(data: &Path, database: &str) -> PathBuf {
    data.join(format!("{database}.db"))
}

/// Starts a shop, places an order and stops it.
fn use_shop(data: &Path, settings: &[(&str, &str)]) {
    on_system(async {
        let process = Process::start(data, settings);
        let c = process.client().await;
        if c.get(&c.admin, "/api/v1/products").await.expect(200).json()["empty"] == true {
            c.stocked("s", "1", 1000).await;
        }
        c.order(&[("s", 1)]).await.expect(201);
        assert_eq!(process.terminate(), Some(0));
    });
}

/// The error message of a start that must fail.
fn refused_start(data: &Path, args: &[&str]) -> String {
    let mut serve = tradepost(&["serve", "--port", "0", "--data", &data.to_string_lossy()]);
    serve.args(args).env("TRADEPOST__DATA__DEMO", "false").stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = serve.spawn().unwrap();
    let _limit = Limit::on(&child);
    last_words(&child.wait_with_output().unwrap())
}

fn copy_databases(from: &Path, to: &Path) {
    DATABASES.iter().for_each(|database| _ = fs::copy(file(from, database), file(to, database)).unwrap());
}

const ACCEPT_LOSS: (&str, &str) = ("TRADEPOST__DATA__ACCEPT_LOSS", "true");

#[test]
fn start_without_one_of_its_databases_is_refused_until_the_loss_is_accepted() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path();
    use_shop(data, &[]);
    let complete = tempfile::tempdir().unwrap();
    copy_databases(data, complete.path());
    for database in DATABASES {
        fs::remove_file(file(data, database)).unwrap();
        let refused = refused_start(data, &[]);
        assert!(refused.contains(&format!("{} is missing", file(data, database).display())), "{refused}");
        assert!(refused.contains("Restore all of them from one backup") && refused.contains("--accept-loss"), "{refused}");
        assert!(!file(data, database).exists());
        copy_databases(complete.path(), data);
    }
    // the front door's catalogue is empty, and the shop works
    fs::remove_file(file(data, "product")).unwrap();
    use_shop_of_another_catalogue(data);
    use_shop(data, &[]);
}

fn use_shop_of_another_catalogue(data: &Path) {
    on_system(async {
        let process = Process::start(data, &[ACCEPT_LOSS]);
        let c = process.client().await;
        assert_eq!(c.get(&c.admin, "/api/v1/products").await.expect(200).json()["empty"], true);
        let product = serde_json::json!({ "skuCode": "s", "name": "s", "price": "1" });
        c.post(&c.admin, "/api/v1/products", product).await.expect(201);
        assert_eq!(process.terminate(), Some(0));
    });
}

#[test]
fn start_with_databases_of_different_moments_or_shops_is_refused() {
    let dirs = [(); 4].map(|()| tempfile::tempdir().unwrap());
    let [data, old, new, other] = dirs.each_ref().map(tempfile::TempDir::path);
    use_shop(data, &[]);
    copy_databases(data, old);
    use_shop(data, &[]);
    copy_databases(data, new);
    use_shop(other, &[]);
    let refused_with = |change: &dyn Fn(), database: &str, words: &str, args: &[&str]| {
        change();
        let refused = refused_start(data, args);
        assert!(refused.contains(&format!("{} {words}", file(data, database).display())), "{refused}");
        copy_databases(new, data);
    };
    for database in ["order", "inventory", "bus"] {
        let older = || _ = fs::copy(file(old, database), file(data, database)).unwrap();
        refused_with(&older, database, "is an older copy", &[]);
        let foreign = || _ = fs::copy(file(other, database), file(data, database)).unwrap();
        refused_with(&foreign, database, "belongs to another shop", &[]);
    }
    let exchanged = || {
        fs::copy(file(new, "order"), file(data, "inventory")).unwrap();
        fs::copy(file(new, "inventory"), file(data, "order")).unwrap();
    };
    refused_with(&exchanged, "order", "is the database of inventory", &["--accept-loss"]);
    // a whole older copy is consistent
    copy_databases(old, data);
    use_shop(data, &[]);
}

/// The backup of a running shop. The process that it was made of does not start again before the restore.
#[test]
fn database_of_a_backup_restored_beside_newer_ones_is_refused() {
    let (data, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (data, copy) = (data.path(), dir.path().join("copy"));
    on_system(async {
        let process = Process::start(data, &[]);
        let c = process.client().await;
        c.stocked("s", "1", 1000).await;
        let backup = tradepost(&["backup", &copy.to_string_lossy(), "--data", &data.to_string_lossy()]).output().unwrap();
        assert!(backup.status.success(), "{backup:?}");
        c.order(&[("s", 1)]).await.expect(201);
        process.kill();
    });
    // checkpoints what the killed process left in write-ahead logs
    use_shop(data, &[]);
    fs::copy(file(&copy, "order"), file(data, "order")).unwrap();
    let refused = refused_start(data, &[]);
    assert!(refused.contains("order.db is an older copy"), "{refused}");
    let restored = dir.path().join("restored");
    let restore = tradepost(&["restore", &copy.to_string_lossy(), "--data", &restored.to_string_lossy()]).output().unwrap();
    assert!(restore.status.success(), "{restore:?}");
    use_shop(&restored, &[]);
}

/// Sends orders one after the other, and counts those answered with 201 that were sent after the loss.
async fn customer(c: &Client, ledger: &Ledger, mut rng: SeededRng, lost: &Cell<bool>, over: &Cell<bool>) -> Vec<String> {
    let mut placed_after_loss = Vec::new();
    while !over.get() {
        let (serial, entry) = ledger.begin(false, vec![(format!("many-{}", rng.range(0, 2)), 1)]);
        let is_after = lost.get();
        let Ok(reply) = send(c, &entry).await else { continue };
        let Some(outcome) = outcome_of(&reply) else { continue };
        if let (OrderOutcome::Placed { number, .. }, true) = (&outcome, is_after) {
            placed_after_loss.push(number.clone());
        }
        ledger.record(serial, outcome);
    }
    placed_after_loss
}

/// Places orders while `lose` changes the files of the data folder. Returns the numbers of the orders that were placed
/// before, and of those that were sent after the loss and answered with 201.
async fn orders_around_loss(data: &Path, database: &str, lose: impl FnOnce()) -> (Vec<String>, Vec<String>) {
    let process = Process::start(data, &[]);
    let c = process.client().await;
    stock(&c).await;
    let (ledger, lost, over) = (Ledger::default(), Cell::new(false), Cell::new(false));
    let customers = (0..CUSTOMERS).map(|n| customer(&c, &ledger, SeededRng::new(n as u64), &lost, &over));
    let placed = || {
        let number = |outcome| if let OrderOutcome::Placed { number, .. } = outcome { Some(number) } else { None };
        ledger.entries().into_values().filter_map(|entry| number(entry.outcome)).collect::<Vec<_>>()
    };
    let losing = async {
        wait_until("orders were placed", || if placed().len() > 50 { Ok(()) } else { Err(placed().len().to_string()) }).await;
        let before = placed();
        lose();
        lost.set(true);
        wait_for("readiness is DOWN", || async {
            let reply = c.send(Method::GET, "/actuator/health/readiness", &[], "").await;
            if reply.status == 503 && reply.json()["status"] == "DOWN" { Ok(()) } else { Err(reply.text) }
        })
        .await;
        let health = c.get(&c.admin, "/actuator/health").await.expect(503).text;
        assert!(health.contains(&format!("{database}.db")) && health.contains("lost its file"), "{health}");
        let sent = ledger.entries().len();
        wait_until("customers went on", || if ledger.entries().len() > sent + 40 { Ok(()) } else { Err(String::new()) }).await;
        over.set(true);
        before
    };
    let (after, before) = futures_util::future::join(futures_util::future::join_all(customers), losing).await;
    process.kill();
    (before, after.concat())
}

async fn numbers(process: &Process) -> Vec<String> {
    let orders = pages(&process.client().await, "/api/v1/orders").await;
    orders.iter().map(|order| order["orderNumber"].as_str().unwrap().to_string()).collect()
}

/// Deleting, moving or replacing a file of `order`, on which each order depends, or of `inventory`.
#[test]
fn no_order_is_acknowledged_after_a_database_of_the_order_path_was_lost() {
    let delete: fn(&Path) = |path| fs::remove_file(path).unwrap();
    let move_away: fn(&Path) = |path| fs::rename(path, path.with_extension("moved")).unwrap();
    let replace: fn(&Path) = |path| {
        fs::copy(path, path.with_extension("copy")).unwrap();
        fs::rename(path.with_extension("copy"), path).unwrap();
    };
    for (database, suffix, lose) in [
        ("order", ".db", delete),
        ("order", ".db", move_away),
        ("order", ".db", replace),
        ("order", ".db-wal", delete),
        ("inventory", ".db", delete),
        ("inventory", ".db-wal", delete),
    ] {
        on_system(async {
            let data = tempfile::tempdir().unwrap();
            let path = data.path().join(format!("{database}{suffix}"));
            let (_, after) = orders_around_loss(data.path(), database, || lose(&path)).await;
            assert_eq!(after, Vec::<String>::new(), "{database}{suffix}: acknowledged after the loss");
        });
    }
}

#[test]
fn database_moved_away_and_back_has_every_acknowledged_order() {
    on_system(async {
        let data = tempfile::tempdir().unwrap();
        let (path, away) = (file(data.path(), "order"), data.path().join("away"));
        let (before, after) = orders_around_loss(data.path(), "order", || fs::rename(&path, &away).unwrap()).await;
        let refused = refused_start(data.path(), &[]);
        assert!(refused.contains("order.db is missing"), "{refused}");
        fs::rename(&away, &path).unwrap();
        let process = Process::start(data.path(), &[]);
        let known = numbers(&process).await;
        let lost: Vec<_> = before.iter().chain(&after).filter(|number| !known.contains(number)).collect();
        assert!(lost.is_empty(), "acknowledged, but unknown after the restart: {lost:?}");
    });
}

/// Orders do not depend on the bus: their events wait in outboxes. Those that were on the bus may be lost.
#[test]
fn lost_bus_makes_the_shop_unready_and_loses_no_order() {
    on_system(async {
        let data = tempfile::tempdir().unwrap();
        let path = file(data.path(), "bus");
        let (before, after) = orders_around_loss(data.path(), "bus", || fs::remove_file(&path).unwrap()).await;
        let refused = refused_start(data.path(), &[]);
        assert!(refused.contains("bus.db is missing"), "{refused}");
        let process = Process::start(data.path(), &[ACCEPT_LOSS]);
        let known = numbers(&process).await;
        let lost: Vec<_> = before.iter().chain(&after).filter(|number| !known.contains(number)).collect();
        assert!(lost.is_empty(), "acknowledged, but unknown after the restart: {lost:?}");
    });
}

#[test]
fn damaged_database_is_reported_as_such_and_makes_the_shop_unready() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path();
    use_shop(data, &[]);
    let path = file(data, "order");
    let root: u64 = Sql::open(data, "order").value("rootpage", "sqlite_schema WHERE name = 'orders'").parse().unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&[0xff; 4096], (root - 1) * 4096).unwrap();
    on_system(async {
        let process = Process::start(data, &[]);
        let c = process.client().await;
        let refused = c.order(&[("s", 1)]).await.expect(503);
        assert!(refused.message().contains("out of service"), "{refused:?}");
        assert_eq!(refused.headers.get("retry-after"), None);
        let anonymous = c.send(Method::GET, "/actuator/health", &[], "").await.expect(503).text;
        assert!(!anonymous.contains("order.db"), "{anonymous}");
        c.send(Method::GET, "/actuator/health/readiness", &[], "").await.expect(503);
        let health = c.get(&c.admin, "/actuator/health").await.expect(503).json();
        let error = health["components"]["orderStore"]["details"]["error"].as_str().unwrap().to_string();
        assert!(error.contains(&path.display().to_string()) && error.contains("damaged") && error.contains("backup"), "{error}");
        let metrics = c.get(&c.admin, "/actuator/prometheus").await.expect(200).text;
        assert!(metrics.contains("tradepost_database_fault{kind=\"corrupt\",store=\"order\"} 1"), "{metrics}");
    });
}
