//! More orders than stock, placed concurrently.

use crate::support::{Shape, Shop, on_system};
use serde_json::json;
use std::collections::BTreeMap;

/// 5,000 orders by 200 clients for a stock of 1,000: exactly 1,000 are placed, and 4,000 are refused as out of
/// stock. (The previous system accepted 155 to 197 orders for a stock of 100.)
async fn exactly_the_stock_is_sold(shop: &Shop, clients: usize) {
    let c = &shop.client;
    let stock = clients * 5;
    c.stocked("hot", "9.99", stock as i64).await;
    let all = (0..clients).map(|_| async {
        let mut statuses = Vec::new();
        for _ in 0..25 {
            let reply = c.order(&[("hot", 1)]).await;
            if reply.status == 400 {
                assert_eq!(reply.json()["outOfStock"], json!(["hot"]));
            }
            statuses.push(reply.status);
        }
        statuses
    });
    let statuses: Vec<u16> = futures_util::future::join_all(all).await.into_iter().flatten().collect();
    let mut counts = BTreeMap::<u16, usize>::new();
    statuses.iter().for_each(|status| *counts.entry(*status).or_default() += 1);
    assert_eq!(counts, BTreeMap::from([(201, stock), (400, stock * 4)]));
    let page = c.get(&c.admin, "/api/v1/orders?size=1").await.json();
    assert_eq!(page["totalElements"], stock);
    crate::support::wait_for("all reservations are committed", || async {
        let row = c.stock("hot").await;
        let settled = row["quantity"] == 0 && row["held"] == 0 && row["sold"] == stock;
        if settled { Ok(()) } else { Err(row.to_string()) }
    })
    .await;
}

fn run(shape: Shape, clients: usize) {
    on_system(async move {
        // 200 clients at once wait long on a busy machine; only a defect may refuse an order
        let mut shop = Shop::start(shape, |s| {
            s.resilience.call_ms = 50_000;
            s.order.peer_timeout_ms = 50_000;
            s.server.request_seconds = 55;
        })
        .await;
        exactly_the_stock_is_sold(&shop, clients).await;
        shop.assert_sound().await;
        shop.stop().await;
    });
}

#[test]
fn local() {
    run(Shape::Local, 200);
}

#[test]
fn loopback() {
    run(Shape::Loopback, 200);
}

/// Fewer clients: all processes share the cores of one machine.
#[test]
fn split() {
    run(Shape::Split, 40);
}
