//! Import and replay against a shop over HTTP.

use super::csv;
use super::fake_shop::{FakeShop, State, start, start_as_admin};
use crate::app::demo::cli::{ImportOptions, run_import, run_replay, run_token, start_screen, welcome};
use crate::app::demo::embedded;
use crate::app::demo::import::import;
use crate::app::demo::replay::replay;
use crate::app::demo::shop::{Shop, token};
use crate::app::demo::summary::Difference;
use crate::kernel::ports::free_port;
use crate::settings::Tls;

#[actix_web::test]
async fn import_and_replay_of_embedded_file_balance_stock() {
    let (state, shop) = start_as_admin(FakeShop { flaky: true, ..Default::default() }).await;
    let first = import(&shop, embedded()).await.unwrap();
    assert_eq!((first.lines, first.products_created, first.stock_created), (6349, 1749, 1749));
    assert_eq!((first.products_existing, first.stock_existing, first.rejected.len()), (0, 0, 0));
    let second = import(&shop, embedded()).await.unwrap();
    assert_eq!((second.products_existing, second.stock_existing, second.products_created, second.stock_created), (1749, 1749, 0, 0));

    let report = replay(&shop, embedded(), 8).await.unwrap();
    assert!(report.ok(), "{report}");
    assert_eq!((report.orders, report.rejected.len(), report.latencies.len()), (287, 0, 287), "{report}");
    assert_eq!((report.ordered.len(), report.cancelled.len(), report.returned.len(), report.adjusted.len()), (6257, 0, 5, 12));
    assert_eq!((report.skipped.total(), report.accounted()), (75, 6349));
    let fake = state.lock();
    assert_eq!(fake.orders.len(), 287, "an order whose response was lost was placed twice");
    // all sold except returns (6 + 2 + 1 + 5) and corrections (56, 1, 1, 1, 1, 1, 1, 3, 23, 19)
    assert_eq!(fake.stock.iter().map(|(_, quantity)| quantity).sum::<i64>(), 14 + 107);
}

#[actix_web::test]
async fn replay_with_rejected_orders_reports_affected_lines() {
    let csv = csv(&[
        "1,A,a,5,,1,7,UK",
        "2,B,b,2,,1,7,UK",
        "3,A,a,1,,1,8,UK",
        "3,B,b,1,,1,8,UK",
        "C4,A,a,-5,,1,7,UK",
        "C5,B,b,-1,,1,7,UK",
        "6,X,x,1,,1,9,UK",
        "7,A,a,-99,,0,,UK",
        "8,X,x,4,,0,,UK",
        "bad line",
    ]);
    let stock = vec![("A".to_string(), 5), ("B".to_string(), 1)];
    let (state, shop) = start_as_admin(FakeShop { stock, ..Default::default() }).await;
    let report = replay(&shop, &csv, 1).await.unwrap();
    assert!(report.ok(), "{report}");
    assert_eq!((report.ordered.clone(), report.cancelled.clone(), report.orders, report.cancelled_orders), (vec![2, 4, 5], vec![6], 2, 1));
    assert_eq!(report.rejected["insufficient stock"], ["2"]);
    assert_eq!(report.rejected["unknown SKU"], ["6"]);
    assert!(report.rejected_skus["unknown SKU"].contains("X") && report.rejected_skus["insufficient stock"].contains("B"));
    assert_eq!(report.skipped.of("order not placed: insufficient stock"), [3]);
    assert_eq!(report.skipped.of("the purchase it returns was not placed"), [7]);
    assert_eq!(report.skipped.of("stock not adjusted: 400 Quantity for an inventory item cannot be negative!"), [9]);
    assert_eq!(report.skipped.of("stock not adjusted: the shop has no stock row of this SKU"), [10]);
    assert_eq!((report.accounted(), report.lines), (10, 10));
    assert_eq!(state.lock().stock, [("A".to_string(), 4), ("B".to_string(), 0)]);
    let text = report.to_string();
    assert!(text.contains("orders: 2 placed, 2 not placed, 1 cancelled") && text.contains("stock audit: ok, 2 SKUs"), "{text}");
}

#[actix_web::test]
async fn replay_against_overselling_shop_fails_audit() {
    let csv = csv(&["1,A,a,3,,1,7,UK", "2,A,a,4,,1,8,UK", "3,B,b,1,,1,9,UK"]);
    let stock = vec![("A".to_string(), 5), ("B".to_string(), 1)];
    let (_, shop) = start_as_admin(FakeShop { stock, oversells: true, ..Default::default() }).await;
    let report = replay(&shop, &csv, 4).await.unwrap();
    assert_eq!(report.differences, [Difference { sku: "A".into(), expected: -2, found: 0 }]);
    assert!(report.to_string().contains("1 of 2 SKUs differ") && report.to_string().contains("A: expected -2, found 0"));
}

#[actix_web::test]
async fn replay_shop_stops_reports_completed_lines() {
    let csv = csv(&["1,A,a,1,,1,7,UK", "2,A,a,1,,1,8,UK", "3,A,a,1,,1,9,UK", "C4,A,a,-1,,1,9,UK"]);
    let (_, shop) = start_as_admin(FakeShop { stock: vec![("A".into(), 5)], stops_at_order: Some(2), ..Default::default() }).await;
    let report = replay(&shop.without_retries(), &csv, 1).await.unwrap();
    assert_eq!((report.ordered.clone(), report.accounted(), report.ok()), (vec![2], 4, false));
    assert_eq!(report.skipped.of("not replayed: the shop had become unreachable"), [4, 5]);
    assert!(report.rejected.keys().all(|reason| reason.starts_with("no response, the order may or may not be placed")), "{report}");
    assert!(report.to_string().contains("stock audit: failed, no shop answers at"), "{report}");
}

#[actix_web::test]
async fn commands_without_permission_or_shop_return_clear_errors() {
    let (_, url) = start(FakeShop::default()).await;
    assert_eq!(token(&url, "alice", "alice").await.unwrap(), "token-1");
    let rejected = token(&url, "alice", "wrong").await.unwrap_err().to_string();
    assert!(rejected.contains("user `alice`") && rejected.contains("wrong user or password"), "{rejected}");
    let (_, shop) = start_as_admin(FakeShop::default()).await;
    assert!(replay(&shop, embedded(), 1).await.unwrap_err().to_string().contains("tradepost import"));
    let (_, shop) = start_as_admin(FakeShop { rejects_products: true, ..Default::default() }).await;
    assert!(import(&shop, embedded()).await.unwrap_err().to_string().contains("an import needs an admin"));
    let free = format!("http://127.0.0.1:{}", free_port());
    let unreachable = token(&free, "alice", "alice").await.unwrap_err().to_string();
    assert!(unreachable.contains(&format!("no shop answers at {free}: start one with `tradepost`")), "{unreachable}");
}

#[actix_web::test]
async fn token_close_to_expiry_is_renewed() {
    let (_, shop) = start_as_admin(FakeShop { token_lifetime: 3600, ..Default::default() }).await;
    assert_eq!((shop.token().await.unwrap(), shop.token().await.unwrap()), ("token-1".into(), "token-1".into()));
    let (state, shop) = start_as_admin(FakeShop { token_lifetime: 1, ..Default::default() }).await;
    assert_eq!(shop.token().await.unwrap(), "token-1");
    // a lifetime of one second is used by half
    let started = std::time::Instant::now();
    while shop.token().await.unwrap() == "token-1" {
        assert!(started.elapsed() < std::time::Duration::from_secs(60), "the token is never renewed");
        actix_web::rt::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(state.lock().tokens, 2);
}

#[test]
fn commands_against_overselling_shop_report_mismatch() {
    let (_, url) = shop_in_background(FakeShop { oversells: true, ..Default::default() });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.csv");
    std::fs::write(&path, csv(&["1,A,a,3,,1,7,UK"])).unwrap();
    run_token(&url, "alice", "alice").unwrap();
    let options = ImportOptions::default();
    run_import(&Shop::new(&url, "admin", "admin"), &path, &options).unwrap();
    run_replay(&url, "admin", "admin", &path, 2).unwrap();
    let oversold = run_replay(&url, "admin", "admin", &path, 2).unwrap_err().to_string();
    assert_eq!(oversold, "the stock of 1 SKUs does not match the orders");
    let none = run_import(&Shop::new(&url, "admin", "admin"), &dir.path().join("none.csv"), &options);
    assert!(none.unwrap_err().to_string().contains("none.csv"));
}

/// Runs a fake shop on a thread of its own; returns its state and its URL.
fn shop_in_background(fake: FakeShop) -> (State, String) {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async {
            sender.send(start(fake).await).unwrap();
            std::future::pending::<()>().await
        })
    });
    let (state, url) = receiver.recv().unwrap();
    (state.into(), url)
}

#[test]
fn import_with_skipped_lines_fails_unless_allowed_and_reports_each() {
    let (_, url) = shop_in_background(FakeShop::default());
    let dir = tempfile::tempdir().unwrap();
    let (path, details) = (dir.path().join("shop.csv"), dir.path().join("details.csv"));
    std::fs::write(&path, csv(&["1,A,a,3,,1,7,UK", "1,B,b,none,,1,7,UK", "1,C,,1,,1,7,UK"])).unwrap();
    let shop = Shop::new(&url, "admin", "admin");
    let options = ImportOptions { report: Some(details.clone()), allow_skips: false };
    let skipped = run_import(&shop, &path, &options).unwrap_err().to_string();
    assert_eq!(skipped, "lines skipped: 1; --report FILE lists them, --allow-skips accepts them");
    assert_eq!(
        std::fs::read_to_string(&details).unwrap(),
        "line,sku,outcome,reason\n3,,skipped,quantity is not a whole number up to 2147483647\n4,,substituted,no description: the code is the name\n"
    );
    let exists = run_import(&shop, &path, &ImportOptions { report: Some(path.clone()), allow_skips: true }).unwrap_err().to_string();
    assert!(exists.contains("shop.csv") && exists.contains("exists"), "{exists}");
    run_import(&shop, &path, &ImportOptions { allow_skips: true, report: None }).unwrap();
    let nowhere = ImportOptions { report: Some(dir.path().join("none/details.csv")), allow_skips: true };
    assert!(run_import(&shop, &path, &nowhere).unwrap_err().to_string().contains("none/details.csv"));
}

#[actix_web::test]
async fn first_start_that_was_cut_short_is_resumed_by_the_next() {
    let (state, url) = start(FakeShop::default()).await;
    let data = tempfile::tempdir().unwrap();
    let users = [("admin".to_string(), "admin".to_string())];
    let tls = Tls::default();
    let first = welcome(&url, data.path(), &tls, &users);
    let loaded = || state.lock().stock.len();
    {
        let mut first = std::pin::pin!(first);
        // the future is dropped in the middle of the import, as a signal does
        while loaded() == 0 {
            tokio::select! {
                () = &mut first => panic!("the import is over"),
                () = tokio::task::yield_now() => {}
            }
        }
    }
    let cut_short_at = loaded();
    assert!(cut_short_at < 1749, "{cut_short_at}");
    welcome(&url, data.path(), &Tls::default(), &users).await;
    assert_eq!(loaded(), 1749);
    state.lock().stock.pop();
    welcome(&url, data.path(), &Tls::default(), &users).await;
    assert_eq!(loaded(), 1748, "a complete import is not repeated");
}

#[test]
fn start_screen_with_product_fits_terminal_and_escapes_order() {
    let users = [("admin".to_string(), "admin".to_string()), ("alice".to_string(), "customer".to_string())];
    let text = start_screen("http://127.0.0.1:5294/", &Tls::default(), &users, Some(("85123A", 40)));
    assert!(text.lines().count() <= 25, "{text}");
    for part in [
        "http://127.0.0.1:5294/swagger-ui/",
        "http://127.0.0.1:5294/actuator/health",
        "admin (admin), alice (customer)",
        "username=alice",
        r#"-d '{"orderLineItems":[{"quantity":1,"skuCode":"85123A"}]}'"#,
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!start_screen("http://h", &Tls::default(), &users, None).contains("Order one"));
    assert!(!start_screen("http://h", &Tls::default(), &[], Some(("A", 1))).contains("TOKEN"));
    assert!(start_screen("http://h", &Tls::default(), &users, Some(("it's", 1))).contains(r"it'\''s"));
    let tls = Tls { ca: Some("ca.pem".into()), ..Tls::default() };
    assert_eq!(start_screen("https://h", &tls, &users, Some(("A", 1))).matches("curl -s --cacert 'ca.pem' https://h/").count(), 2);
    assert!(!start_screen("http://h", &tls, &users, None).contains("cacert"));
}
