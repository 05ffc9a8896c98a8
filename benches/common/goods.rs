//! Bench data: products that never sell out, and orders for them.

use super::load::{self, Until};
use super::process::Server;

const ORDERS: &str = "/api/v1/orders";
/// Number of connections that create the stock; not measured.
const STOCKING: usize = 8;

pub fn sku(n: usize) -> String {
    format!("SKU-{n:05}")
}

/// The SKU number of an order line; neighbouring lines and orders get distant SKUs.
pub fn pick(order: usize, line: usize, skus: usize) -> usize {
    (order * 7919 + line * 104_729) % skus
}

/// Creates products and their stock over HTTP.
pub fn stock(shop: &Server, skus: usize) {
    let admin = shop.token("admin");
    let product =
        |n| format!(r#"{{"skuCode":"{}","name":"product number {n}","description":"a thing to be sold","price":"19.99"}}"#, sku(n));
    let stock = |n| format!(r#"{{"skuCode":"{}","quantity":2000000000}}"#, sku(n));
    let products: Vec<_> = (0..skus).map(|n| load::request("POST", "/api/v1/products", &admin, &product(n))).collect();
    let stocks: Vec<_> = (0..skus).map(|n| load::request("POST", "/api/v1/inventory", &admin, &stock(n))).collect();
    for requests in [products, stocks] {
        let outcome = load::run(shop.address, &requests, STOCKING, Until::Sent, 201);
        assert_eq!(outcome.good, skus, "{:?}", outcome.first_bad);
    }
}

/// The request for one order.
pub fn order(lines: usize, n: usize, skus: usize, token: &str) -> Vec<u8> {
    let line = |i| format!(r#"{{"skuCode":"{}","quantity":1}}"#, sku(pick(n, i, skus)));
    let body = format!(r#"{{"orderLineItems":[{}]}}"#, (0..lines).map(line).collect::<Vec<_>>().join(","));
    load::request("POST", ORDERS, token, &body)
}

/// One order request per product.
pub fn orders(lines: usize, skus: usize, token: &str) -> Vec<Vec<u8>> {
    (0..skus).map(|n| order(lines, n, skus, token)).collect()
}
