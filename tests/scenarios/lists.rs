//! Lists: pages by number in Spring's form, and pages by `after`.

use crate::support::client::Client;
use crate::support::{Shape, Shop, on_system, wait_for};
use serde_json::{Value, json};

fn ids(page: &Value) -> Vec<i64> {
    page["content"].as_array().unwrap().iter().map(|item| item["id"].as_i64().unwrap()).collect()
}

async fn page(c: &Client, token: &str, path: &str) -> Value {
    c.get(token, path).await.expect(200).json()
}

async fn placed(c: &Client, sku: &str, orders: usize) -> Vec<i64> {
    let mut ids = Vec::new();
    for _ in 0..orders {
        ids.push(c.order(&[(sku, 1)]).await.expect(201).json()["id"].as_i64().unwrap());
    }
    ids
}

scenario! {
    /// Orders are placed, cancelled and removed between the pages; a rejected one is never listed.
    async fn orders_listed_by_after_appear_once(shop) {
        let c = &shop.client;
        c.stocked("o", "1", 100).await;
        let mut expected = placed(c, "o", 7).await;
        c.order(&[("unknown", 1)]).await.expect(400);
        let first = page(c, &c.alice, "/api/v1/orders?size=3&after=0").await;
        assert_eq!(ids(&first), expected[..3]);
        // the last order of the page and an earlier one are removed, a later one is cancelled, and one is added
        for gone in [expected[2], expected[0]] {
            c.delete(&c.alice, &format!("/api/v1/orders/{gone}")).await.expect(200);
        }
        c.post(&c.alice, &format!("/api/v1/orders/{}/cancel", expected[4]), json!({})).await.expect(200);
        expected.extend(placed(c, "o", 1).await);
        let second = page(c, &c.alice, &format!("/api/v1/orders?size=3&after={}", expected[2])).await;
        assert_eq!(ids(&second), expected[3..6]);
        assert_eq!((&second["last"], &second["totalElements"], &second["totalPages"]), (&json!(false), &json!(4), &json!(2)));
        assert_eq!(second["content"][1]["status"], "CANCELLED");
        let third = page(c, &c.alice, &format!("/api/v1/orders?size=3&after={}", expected[5])).await;
        assert_eq!(ids(&third), expected[6..]);
        assert_eq!((&third["last"], &third["totalElements"], &third["totalPages"]), (&json!(true), &json!(2), &json!(1)));
        let end = page(c, &c.alice, &format!("/api/v1/orders?after={}", i64::MAX)).await;
        assert_eq!((ids(&end), &end["last"], &end["empty"]), (vec![], &json!(true), &json!(true)));
        assert_eq!(second.as_object().unwrap().keys().collect::<Vec<_>>(), page(c, &c.alice, "/api/v1/orders").await.as_object().unwrap().keys().collect::<Vec<_>>());
    }
}

scenario! {
    /// A customer continues only in their own list; an administrator in that of all customers.
    async fn orders_of_other_customers_are_skipped_by_after(shop) {
        let c = &shop.client;
        c.stocked("o", "1", 100).await;
        let own = placed(c, "o", 1).await;
        let other = c.post(&c.admin, "/api/v1/orders", crate::support::client::order(&[("o", 1)])).await.expect(201).json()["id"].as_i64().unwrap();
        let later = placed(c, "o", 1).await;
        let path = format!("/api/v1/orders?after={}", own[0]);
        assert_eq!(ids(&page(c, &c.alice, &path).await), later);
        assert_eq!(ids(&page(c, &c.admin, &path).await), [other, later[0]]);
    }
}

scenario! {
    /// Pages by number hold each order once, their total is that of the list, and both follow each change.
    async fn orders_listed_by_number_agree_with_their_total(shop) {
        let c = &shop.client;
        c.stocked("o", "1", 100).await;
        let mut expected = placed(c, "o", 7).await;
        for gone in [3, 0] {
            let mut listed = Vec::new();
            for number in 0.. {
                let page = page(c, &c.alice, &format!("/api/v1/orders?size=3&page={number}")).await;
                assert_eq!((&page["totalElements"], &page["totalPages"]), (&json!(expected.len()), &json!(expected.len().div_ceil(3))));
                listed.extend(ids(&page));
                if page["last"] == true {
                    break;
                }
            }
            assert_eq!(listed, expected);
            c.delete(&c.alice, &format!("/api/v1/orders/{}", expected.remove(gone))).await.expect(200);
        }
        let beyond = page(c, &c.alice, "/api/v1/orders?size=1000&page=2147483647").await;
        assert_eq!((ids(&beyond), &beyond["totalElements"]), (vec![], &json!(5)));
    }
}

scenario! {
    /// Stock is created and removed between the pages.
    async fn stock_listed_by_after_appears_once(shop) {
        let c = &shop.client;
        let mut expected = Vec::new();
        for n in 0..5 {
            expected.push(c.stocked(&format!("s{n}"), "1", 5).await["id"].as_i64().unwrap());
        }
        assert_eq!(ids(&page(c, &c.alice, "/api/v1/inventory?size=2&after=0").await), expected[..2]);
        c.delete(&c.admin, &format!("/api/v1/inventory/{}", expected[1])).await.expect(200);
        c.delete(&c.admin, &format!("/api/v1/inventory/{}", expected[3])).await.expect(200);
        expected.push(c.stocked("s5", "1", 5).await["id"].as_i64().unwrap());
        let second = page(c, &c.alice, &format!("/api/v1/inventory?size=2&after={}", expected[1])).await;
        assert_eq!((ids(&second), &second["last"]), (vec![expected[2], expected[4]], &json!(false)));
        let third = page(c, &c.alice, &format!("/api/v1/inventory?size=2&after={}", expected[4])).await;
        assert_eq!((ids(&third), &third["last"]), (vec![expected[5]], &json!(true)));
        let all = page(c, &c.alice, "/api/v1/inventory").await;
        assert_eq!((ids(&all), &all["totalElements"]), (vec![expected[0], expected[2], expected[4], expected[5]], &json!(4)));
    }
}

scenario! {
    /// Newest first. New notifications arrive between the pages: pages by number move, pages by `after` do not.
    async fn notifications_listed_by_after_appear_once(shop) {
        let c = &shop.client;
        c.stocked("n", "1", 100).await;
        let inbox = async |count: usize| {
            wait_for(&format!("{count} notifications are there"), || async {
                let total = page(c, &c.alice, "/api/v1/notifications").await["totalElements"].clone();
                if total == count { Ok(()) } else { Err(total.to_string()) }
            }).await;
            ids(&page(c, &c.alice, "/api/v1/notifications?size=100").await)
        };
        placed(c, "n", 5).await;
        let all = inbox(5).await;
        assert!(all.is_sorted_by(|newer, older| newer > older), "{all:?}");
        let first = page(c, &c.alice, "/api/v1/notifications?size=2").await;
        assert_eq!((ids(&first), &first["totalElements"]), (all[..2].to_vec(), &json!(5)));
        placed(c, "n", 1).await;
        let newer = inbox(6).await;
        let second = page(c, &c.alice, "/api/v1/notifications?size=2&page=1").await;
        assert_eq!((ids(&second), newer[1..].to_vec()), (vec![newer[2], newer[3]], all.clone()));
        let second = page(c, &c.alice, &format!("/api/v1/notifications?size=2&after={}", all[1])).await;
        assert_eq!((ids(&second), &second["last"]), (all[2..4].to_vec(), &json!(false)));
        let third = page(c, &c.alice, &format!("/api/v1/notifications?size=2&after={}", all[3])).await;
        assert_eq!((ids(&third), &third["last"]), (all[4..].to_vec(), &json!(true)));
        assert_eq!(ids(&page(c, &c.alice, "/api/v1/notifications?page=1&size=5").await), all[4..]);
    }
}

/// `order.max_lines` is 2, so a page has at most 20 lines.
#[test]
fn page_of_orders_with_too_many_lines_is_refused_by_number_and_ends_early_by_after() {
    on_system(async {
        let mut shop = Shop::start(Shape::Local, |settings| settings.order.max_lines = 2).await;
        let c = &shop.client;
        c.stocked("l", "1", 100).await;
        let mut all = Vec::new();
        for _ in 0..12 {
            all.push(c.order(&[("l", 1), ("l", 2)]).await.expect(201).json()["id"].as_i64().unwrap());
        }
        let refused = c.get(&c.alice, "/api/v1/orders?size=11").await.expect(400).json();
        assert_eq!(refused["errors"][0]["field"], "size", "{refused}");
        let error = "its orders have more than 20 lines; request up to 10 orders, or pages by after";
        assert_eq!(refused["errors"][0]["message"], error);
        assert_eq!(ids(&page(c, &c.alice, "/api/v1/orders").await), all[..10]);
        // one order is left for the second page
        let second = page(c, &c.alice, "/api/v1/orders?size=11&page=1").await;
        assert_eq!((ids(&second), &second["totalElements"]), (all[11..].to_vec(), &json!(12)));
        let first = page(c, &c.alice, "/api/v1/orders?size=11&after=0").await;
        assert_eq!((ids(&first), &first["last"], &first["numberOfElements"]), (all[..10].to_vec(), &json!(false), &json!(10)));
        let rest = page(c, &c.alice, &format!("/api/v1/orders?size=11&after={}", all[9])).await;
        assert_eq!((ids(&rest), &rest["last"]), (all[10..].to_vec(), &json!(true)));
        assert_eq!(page(c, &c.alice, "/api/v1/orders?size=1").await["content"][0]["orderLineItems"].as_array().unwrap().len(), 2);
        shop.assert_sound().await;
        shop.stop().await;
        shop.clear();
    });
}

/// The limit was higher when these orders were placed: each has more lines than a page may have now.
#[test]
fn order_with_more_lines_than_a_page_is_a_page_of_its_own() {
    on_system(async {
        let mut shop = Shop::start(Shape::Local, |settings| settings.order.max_lines = 30).await;
        shop.client.stocked("l", "1", 100).await;
        let lines = [("l", 1); 25];
        let mut all = Vec::new();
        for _ in 0..2 {
            all.push(shop.client.order(&lines).await.expect(201).json()["id"].as_i64().unwrap());
        }
        shop.settings.order.max_lines = 2;
        let mut shop = shop.restart().await;
        let c = &shop.client;
        for (after, expected, last) in [(0, all[0], false), (all[0], all[1], true)] {
            let page = page(c, &c.alice, &format!("/api/v1/orders?after={after}")).await;
            assert_eq!((ids(&page), page["last"].as_bool()), (vec![expected], Some(last)));
            assert_eq!(page["content"][0]["orderLineItems"].as_array().unwrap().len(), 25);
        }
        assert_eq!(ids(&page(c, &c.alice, "/api/v1/orders").await), all);
        c.get(&c.alice, "/api/v1/orders?size=11").await.expect(400);
        shop.stop().await;
        shop.clear();
    });
}
