//! `tradepost backup` on a shop under load, and `tradepost restore`: each restored shop is consistent and has all
//! orders that were acknowledged before the backup began.

use super::kill::{assert_notified_once_each, audit_is_clean, no_order_is_left_open, pages, seed};
use super::ledger::{Ledger, OrderOutcome, SeededRng, outcome_of, send, stock};
use super::sql::Sql;
use crate::support::client::Client;
use crate::support::process::{Process, audit, tradepost};
use crate::support::{on_system, share_keys, wait_until};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tradepost::app::up::{Plan, Split};

const CUSTOMERS: usize = 8;
const COPIES: usize = 3;

/// Runs the binary with these arguments on this data folder; returns whether it succeeded, and its output.
fn command(args: &[&str], data: &Path) -> (bool, String) {
    let output = tradepost(args).args(["--data", &data.to_string_lossy()]).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

fn back_up(data: &Path, to: &Path) -> (bool, String) {
    command(&["backup", &to.to_string_lossy()], data)
}

fn restore(from: &Path, data: &Path) -> (bool, String) {
    command(&["restore", &from.to_string_lossy()], data)
}

/// Sends orders until the test is over. Each is placed, or refused for lack of stock; no request fails.
async fn customer(c: &Client, ledger: &Ledger, mut rng: SeededRng, over: &Cell<bool>) {
    while !over.get() {
        let key = rng.range(0, 1) == 1;
        let lines = (0..rng.range(1, 3)).map(|_| match rng.range(0, 19) {
            0 => ("nothing".to_string(), 1),
            n => (format!("many-{}", n % 3), rng.range(1, 5) as i64),
        });
        let (serial, entry) = ledger.begin(key, lines.collect());
        let reply = send(c, &entry).await.unwrap();
        ledger.record(serial, outcome_of(&reply).unwrap_or_else(|| panic!("order {serial} was not answered: {reply:?}")));
    }
}

/// A backup, and the numbers of the orders that were acknowledged when it began.
struct Copied {
    folder: PathBuf,
    before: BTreeSet<String>,
}

fn acknowledged(ledger: &Ledger) -> BTreeSet<String> {
    let number = |outcome| if let OrderOutcome::Placed { number, .. } = outcome { Some(number) } else { None };
    ledger.entries().into_values().filter_map(|entry| number(entry.outcome)).collect()
}

/// Takes several backups while customers order.
async fn copied_under_load(c: &Client, data: &Path, to: &Path) -> Vec<Copied> {
    let seed = seed();
    println!("TRADEPOST_CHAOS_SEED={seed}");
    stock(c).await;
    let (ledger, over, mut rng) = (Ledger::default(), Cell::new(false), SeededRng::new(seed));
    let customers: Vec<_> = (0..CUSTOMERS).map(|_| customer(c, &ledger, SeededRng::new(rng.range(0, u64::MAX - 1)), &over)).collect();
    let copying = async {
        let mut copies = Vec::new();
        for n in 1..=COPIES {
            let since = ledger.entries().len();
            wait_until("there are new orders to back up", || {
                let new = ledger.entries().len() - since;
                if new > 20 { Ok(()) } else { Err(format!("{new} orders")) }
            })
            .await;
            let copied = Copied { folder: to.join(format!("copy-{n}")), before: acknowledged(&ledger) };
            let (data, folder) = (data.to_path_buf(), copied.folder.clone());
            let (done, text) = actix_web::rt::task::spawn_blocking(move || back_up(&data, &folder)).await.unwrap();
            assert!(done, "{text}");
            println!("{} orders acknowledged before, {} after: {}", copied.before.len(), acknowledged(&ledger).len(), text.trim());
            copies.push(copied);
        }
        over.set(true);
        copies
    };
    futures_util::future::join(futures_util::future::join_all(customers), copying).await.1
}

/// Restores the backup and checks the resulting shop.
async fn assert_restores_consistently(copied: &Copied, data: &Path) {
    // An audit of the backup must not change it.
    let _ = audit(&copied.folder);
    let (done, text) = restore(&copied.folder, data);
    assert!(done, "{text}");
    let process = Process::start(data, &[]);
    let c = process.client().await;
    no_order_is_left_open(&c).await;
    wait_until("the audit is clean and nothing is pending", audit_is_clean(&process)).await;
    let orders = pages(&c, "/api/v1/orders").await;
    let restored: BTreeSet<String> = orders.iter().map(|order| order["orderNumber"].as_str().unwrap().into()).collect();
    let lost: Vec<_> = copied.before.difference(&restored).collect();
    assert!(lost.is_empty(), "acknowledged before the backup began, but missing: {lost:?}");
    assert_notified_once_each(&orders, &pages(&c, "/api/v1/notifications").await);
    c.order(&[("many-0", 1)]).await.expect(201);
    assert_eq!(process.terminate(), Some(0));
}

#[test]
fn backup_under_load_restores_to_a_consistent_shop() {
    on_system(async {
        let (data, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let process = Process::start(data.path(), &[]);
        let copies = copied_under_load(&process.client().await, data.path(), to.path()).await;
        drop(process);
        for copied in &copies {
            assert_restores_consistently(copied, &copied.folder.with_extension("restored")).await;
        }
    });
}

#[test]
fn backup_of_a_split_shop_under_load_restores_to_a_consistent_shop() {
    on_system(async {
        let (data, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        share_keys(data.path());
        let set = |key: &str, value: &str| (format!("TRADEPOST__{key}"), value.to_string());
        // On a busy machine, a slow peer must not be treated as unavailable.
        let settings = vec![set("LOG__LEVEL", "warn"), set("RESILIENCE__CALL_MS", "8000"), set("ORDER__PEER_TIMEOUT_MS", "8000")];
        let plan = Plan {
            binary: env!("CARGO_BIN_EXE_tradepost").into(),
            data: data.path().into(),
            port: 0,
            registry_port: 0,
            instances: 2,
            config: None,
            scheme: "http",
            actuator: Default::default(),
            settings,
        };
        let mut split = Split::start(&plan).unwrap();
        let copies = copied_under_load(&Client::login(&split.urls[0]).await, data.path(), to.path()).await;
        split.stop();
        for copied in &copies {
            assert_restores_consistently(copied, &copied.folder.with_extension("restored")).await;
        }
    });
}

/// Stops a shop with one order and takes a backup.
fn back_up_stopped_shop(dir: &Path) -> PathBuf {
    let (data, copy) = (dir.join("data"), dir.join("copy"));
    std::fs::create_dir(&data).unwrap();
    on_system(async {
        let process = Process::start(&data, &[]);
        let c = process.client().await;
        c.stocked("s", "1", 9).await;
        c.order(&[("s", 1)]).await.expect(201);
        assert_eq!(process.terminate(), Some(0));
    });
    let (done, text) = back_up(&data, &copy);
    assert!(done, "{text}");
    copy
}

fn names(folder: &Path) -> BTreeSet<String> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn backup_with_secrets_is_readable_by_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let copy = back_up_stopped_shop(dir.path());
    for (path, mode) in [(".", 0o700), ("order.db", 0o600), ("identity", 0o700), ("identity/key.pem", 0o600), ("registry/password", 0o600)]
    {
        assert_eq!(std::fs::metadata(copy.join(path)).unwrap().permissions().mode() & 0o777, mode, "{path}");
    }
    assert_eq!(std::fs::read(copy.join("identity/key.pem")).unwrap(), std::fs::read(dir.path().join("data/identity/key.pem")).unwrap());
    assert_eq!(names(dir.path()), BTreeSet::from(["copy".into(), "data".into()]), "no temporary files remain");
}

#[test]
fn backup_over_an_existing_folder_or_without_a_shop_fails() {
    let dir = tempfile::tempdir().unwrap();
    let copy = back_up_stopped_shop(dir.path());
    let (done, text) = back_up(&dir.path().join("data"), &copy);
    assert!(!done && text.contains("already exists"), "{text}");
    let (done, text) = back_up(&dir.path().join("elsewhere"), &dir.path().join("other"));
    assert!(!done && text.contains("product.db") && text.contains("no such file"), "{text}");
    assert_eq!(names(dir.path()), BTreeSet::from(["copy".into(), "data".into()]), "a failed backup leaves no files");
}

#[test]
fn restore_is_complete_or_fails_and_overwrites_no_shop() {
    let dir = tempfile::tempdir().unwrap();
    let copy = back_up_stopped_shop(dir.path());
    let (done, text) = restore(&copy, &dir.path().join("data"));
    assert!(!done && text.contains("already exists"), "{text}");

    // A mounted volume has this folder.
    let volume = dir.path().join("volume");
    std::fs::create_dir_all(volume.join("lost+found")).unwrap();
    let (done, text) = restore(&copy, &volume);
    assert!(done, "{text}");
    assert_eq!(Sql::open(&volume, "order").value("count(*)", "orders"), "1");

    // With this setting the shop would open, and create, another database.
    let output = tradepost(&["restore", &copy.to_string_lossy(), "--data", &dir.path().join("moved").to_string_lossy()])
        .env("TRADEPOST__ORDER__STORE", format!("sqlite://{}", dir.path().join("o.db").display()))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("order.store names another place"), "{text}");
    assert!(!dir.path().join("moved").exists());

    // After an interrupted restore, a start would create the missing databases.
    let half = dir.path().join("half");
    std::fs::create_dir_all(half.join(".restore.1")).unwrap();
    let output = tradepost(&["serve", "--port", "0", "--data", &half.to_string_lossy()]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("a restore was cut off here"), "{text}");
    let (done, text) = restore(&copy, &half);
    assert!(!done && text.contains(".restore.1 already exists"), "{text}");

    std::fs::remove_file(copy.join("bus.db")).unwrap();
    let (done, text) = restore(&copy, &dir.path().join("partial"));
    assert!(!done && text.contains("bus.db"), "{text}");

    Sql::open(&copy, "order").run("UPDATE orders SET total = '0.00'");
    let damaged = dir.path().join("damaged");
    let (done, text) = restore(&copy, &damaged);
    assert!(!done && text.contains("order.db does not match the manifest"), "{text}");
    assert!(names(&damaged).is_empty(), "a refused backup leaves no files");

    let (done, text) = restore(&dir.path().join("data"), &dir.path().join("none"));
    assert!(!done && text.contains("backup.json") && text.contains("tradepost backup"), "{text}");
}
