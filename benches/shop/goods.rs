//! What is sold in a bench: a thousand products that never sell out.

use super::CONNECTIONS;
use super::load::{self, Until};
use super::process::Server;

pub const SKUS: usize = 1000;
const ORDERS: &str = "/api/v1/orders";

pub fn sku(n: usize) -> String {
    format!("SKU-{n:05}")
}

/// Which one a line of an order names: far from those of its neighbours.
pub fn pick(order: usize, line: usize) -> usize {
    (order * 7919 + line * 104_729) % SKUS
}

/// Products, and stock of them, over HTTP.
pub fn stock(shop: &Server) {
    let admin = shop.token("admin");
    let product =
        |n| format!(r#"{{"skuCode":"{}","name":"product number {n}","description":"a thing to be sold","price":"19.99"}}"#, sku(n));
    let stock = |n| format!(r#"{{"skuCode":"{}","quantity":2000000000}}"#, sku(n));
    let products: Vec<_> = (0..SKUS).map(|n| load::request("POST", "/api/v1/products", &admin, &product(n))).collect();
    let stocks: Vec<_> = (0..SKUS).map(|n| load::request("POST", "/api/v1/inventory", &admin, &stock(n))).collect();
    for requests in [products, stocks] {
        let made = load::run(shop.address, &requests, CONNECTIONS, Until::Sent, 201);
        assert_eq!(made.good, SKUS, "{:?}", made.first_bad);
    }
}

/// One order as a request.
pub fn order(lines: usize, n: usize, token: &str) -> Vec<u8> {
    let line = |i| format!(r#"{{"skuCode":"{}","quantity":1}}"#, sku(pick(n, i)));
    let body = format!(r#"{{"orderLineItems":[{}]}}"#, (0..lines).map(line).collect::<Vec<_>>().join(","));
    load::request("POST", ORDERS, token, &body)
}

/// A thousand of them.
pub fn orders(lines: usize, token: &str) -> Vec<Vec<u8>> {
    (0..SKUS).map(|n| order(lines, n, token)).collect()
}
