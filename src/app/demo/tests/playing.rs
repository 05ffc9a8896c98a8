//! Import and replay against a shop over HTTP.

use super::fake::{FakeShop, open, open_for_admin};
use super::file;
use crate::app::demo::cli::{greeting, run_import, run_replay, run_token};
use crate::app::demo::embedded;
use crate::app::demo::import::import;
use crate::app::demo::replay::replay;
use crate::app::demo::shop::token;
use crate::app::demo::summary::Difference;
use crate::kernel::ports::free_port;
use crate::settings::Tls;

#[actix_web::test]
async fn the_real_file_is_imported_once_and_replayed_to_the_last_piece() {
    let (state, shop) = open_for_admin(FakeShop { flaky: true, ..Default::default() }).await;
    let first = import(&shop, embedded()).await.unwrap();
    assert_eq!((first.lines, first.products_created, first.stock_created), (6349, 1749, 1749));
    assert_eq!((first.products_there, first.stock_there, first.refused.len()), (0, 0, 0));
    let again = import(&shop, embedded()).await.unwrap();
    assert_eq!((again.products_there, again.stock_there, again.products_created, again.stock_created), (1749, 1749, 0, 0));

    let report = replay(&shop, embedded(), 8).await.unwrap();
    assert!(report.ok(), "{report}");
    assert_eq!((report.orders, report.rejected.len(), report.latencies.len()), (287, 0, 287), "{report}");
    assert_eq!((report.ordered.len(), report.cancelled.len(), report.returned.len(), report.adjusted.len()), (6257, 0, 5, 12));
    assert_eq!((report.skipped.total(), report.accounted()), (75, 6349));
    let fake = state.lock();
    assert_eq!(fake.orders.len(), 287, "an order whose answer got lost was placed twice");
    // all sold but what was returned (6 + 2 + 1 + 5) and found (56, 1, 1, 1, 1, 1, 1, 3, 23, 19)
    assert_eq!(fake.stock.iter().map(|(_, quantity)| quantity).sum::<i64>(), 14 + 107);
}

#[actix_web::test]
async fn refused_orders_and_what_hangs_on_them_are_reported_by_line() {
    let csv = file(&[
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
    let (state, shop) = open_for_admin(FakeShop { stock, ..Default::default() }).await;
    let report = replay(&shop, &csv, 1).await.unwrap();
    assert!(report.ok(), "{report}");
    assert_eq!((report.ordered.clone(), report.cancelled.clone(), report.orders, report.cancelled_orders), (vec![2, 4, 5], vec![6], 2, 1));
    assert_eq!(report.rejected["insufficient stock"], ["2"]);
    assert_eq!(report.rejected["unknown SKU"], ["6"]);
    assert!(report.short["unknown SKU"].contains("X") && report.short["insufficient stock"].contains("B"));
    assert_eq!(report.skipped.of("order not placed: insufficient stock"), [3]);
    assert_eq!(report.skipped.of("the purchase it gives back was not placed"), [7]);
    assert_eq!(report.skipped.of("stock not adjusted: 400 Quantity for an inventory item cannot be negative!"), [9]);
    assert_eq!(report.skipped.of("stock not adjusted: the shop has no stock row of this SKU"), [10]);
    assert_eq!((report.accounted(), report.lines), (10, 10));
    assert_eq!(state.lock().stock, [("A".to_string(), 4), ("B".to_string(), 0)]);
    let text = report.to_string();
    assert!(text.contains("orders: 2 placed, 2 not placed, 1 cancelled") && text.contains("stock audit: ok, 2 SKUs"), "{text}");
}

#[actix_web::test]
async fn a_shop_that_oversells_fails_the_audit() {
    let csv = file(&["1,A,a,3,,1,7,UK", "2,A,a,4,,1,8,UK", "3,B,b,1,,1,9,UK"]);
    let stock = vec![("A".to_string(), 5), ("B".to_string(), 1)];
    let (_, shop) = open_for_admin(FakeShop { stock, oversells: true, ..Default::default() }).await;
    let report = replay(&shop, &csv, 4).await.unwrap();
    assert_eq!(report.differences, [Difference { sku: "A".into(), expected: -2, found: 0 }]);
    assert!(report.to_string().contains("1 of 2 SKUs differ") && report.to_string().contains("A: expected -2, found 0"));
}

#[actix_web::test]
async fn what_was_played_is_reported_though_the_shop_goes_away() {
    let csv = file(&["1,A,a,1,,1,7,UK", "2,A,a,1,,1,8,UK", "3,A,a,1,,1,9,UK", "C4,A,a,-1,,1,9,UK"]);
    let (_, shop) = open_for_admin(FakeShop { stock: vec![("A".into(), 5)], closes_at: Some(2), ..Default::default() }).await;
    let report = replay(&shop.impatient(), &csv, 1).await.unwrap();
    assert_eq!((report.ordered.clone(), report.accounted(), report.ok()), (vec![2], 4, false));
    assert_eq!(report.skipped.of("not played: the shop had stopped answering"), [4, 5]);
    assert!(report.rejected.keys().all(|why| why.starts_with("no answer, the order may be placed or not")), "{report}");
    assert!(report.to_string().contains("stock audit: not done, no shop answers at"), "{report}");
}

#[actix_web::test]
async fn who_may_not_and_what_is_not_there_are_said_clearly() {
    let (_, url) = open(FakeShop::default()).await;
    assert_eq!(token(&url, "alice", "alice").await.unwrap(), "token-1");
    let refused = token(&url, "alice", "wrong").await.unwrap_err().to_string();
    assert!(refused.contains("user `alice`") && refused.contains("wrong user or password"), "{refused}");
    let (_, shop) = open_for_admin(FakeShop::default()).await;
    assert!(replay(&shop, embedded(), 1).await.unwrap_err().to_string().contains("tradepost import"));
    let (_, shop) = open_for_admin(FakeShop { customers_only: true, ..Default::default() }).await;
    assert!(import(&shop, embedded()).await.unwrap_err().to_string().contains("an import needs an admin"));
    let free = format!("http://127.0.0.1:{}", free_port());
    let nobody = token(&free, "alice", "alice").await.unwrap_err().to_string();
    assert!(nobody.contains(&format!("no shop answers at {free}: start one with `tradepost`")), "{nobody}");
}

#[actix_web::test]
async fn a_token_is_used_until_shortly_before_it_expires() {
    let (_, shop) = open_for_admin(FakeShop { token_life: 3600, ..Default::default() }).await;
    assert_eq!((shop.token().await.unwrap(), shop.token().await.unwrap()), ("token-1".into(), "token-1".into()));
    let (state, shop) = open_for_admin(FakeShop { token_life: 1, ..Default::default() }).await;
    assert_eq!(shop.token().await.unwrap(), "token-1");
    // of a life of a second, half is used
    let since = std::time::Instant::now();
    while shop.token().await.unwrap() == "token-1" {
        assert!(since.elapsed() < std::time::Duration::from_secs(60), "it is used for ever");
        actix_web::rt::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(state.lock().tokens, 2);
}

#[test]
fn the_commands_end_well_or_say_what_is_wrong() {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async {
            sender.send(open(FakeShop { oversells: true, ..Default::default() }).await.1).unwrap();
            std::future::pending::<()>().await
        })
    });
    let url = receiver.recv().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shop.csv");
    std::fs::write(&path, file(&["1,A,a,3,,1,7,UK"])).unwrap();
    run_token(&url, "alice", "alice").unwrap();
    run_import(&url, "admin", "admin", &path).unwrap();
    run_replay(&url, "admin", "admin", &path, 2).unwrap();
    let oversold = run_replay(&url, "admin", "admin", &path, 2).unwrap_err().to_string();
    assert_eq!(oversold, "the stock of 1 SKUs is not what the orders add up to");
    assert!(run_import(&url, "admin", "admin", &dir.path().join("none.csv")).unwrap_err().to_string().contains("none.csv"));
}

#[test]
fn the_start_screen_fits_and_its_order_can_be_pasted() {
    let users = [("admin".to_string(), "admin".to_string()), ("alice".to_string(), "customer".to_string())];
    let text = greeting("http://127.0.0.1:5294/", &Tls::default(), &users, Some(("85123A", 40)));
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
    assert!(!greeting("http://h", &Tls::default(), &users, None).contains("Order one"));
    assert!(!greeting("http://h", &Tls::default(), &[], Some(("A", 1))).contains("TOKEN"));
    assert!(greeting("http://h", &Tls::default(), &users, Some(("it's", 1))).contains(r"it'\''s"));
    let tls = Tls { ca: Some("ca.pem".into()), ..Tls::default() };
    assert_eq!(greeting("https://h", &tls, &users, Some(("A", 1))).matches("curl -s --cacert 'ca.pem' https://h/").count(), 2);
    assert!(!greeting("http://h", &tls, &users, None).contains("cacert"));
}
