//! TLS to the server, and verification of its certificate.

use super::url;
use crate::support::{Shape, Shop, on_system, wait_until};
use serde_json::json;
use std::path::PathBuf;
use tradepost::data::mongodb::Db;
use tradepost::settings::{MongoDb, Secret, Settings, Tls};

/// A server that accepts only TLS, and the folder with its certificates.
fn secured() -> (String, PathBuf) {
    let server = std::env::var("TRADEPOST_TEST_MONGO_TLS").expect("TRADEPOST_TEST_MONGO_TLS: the address of a server that speaks TLS");
    (server, std::env::var("TRADEPOST_TEST_MONGO_CA").expect("TRADEPOST_TEST_MONGO_CA: a folder").into())
}

#[test]
#[ignore = "needs a MongoDB: .ci/mongo.sh"]
fn products_over_tls_are_stored() {
    on_system(async {
        let (server, certificates) = secured();
        let mut shop = Shop::start(Shape::Local, |settings| {
            settings.product.store = Some(Secret::new(format!("{server}/t{}?tls=true", uuid::Uuid::new_v4().simple())));
            settings.tls.ca = Some(certificates.join("server.pem"));
            settings.mongodb.migrate = true;
        })
        .await;
        let c = &shop.client;
        c.post(&c.admin, "/api/v1/products", json!({ "skuCode": "s", "name": "n", "price": "1.50" })).await.expect(201);
        assert_eq!(c.get(&c.alice, "/api/v1/products/s/price").await.expect(200).text, "1.50");
        assert!(url(&shop).ends_with("?tls=true"));
        shop.stop().await;
        shop.clear();
    });
}

/// A server with another certificate is rejected; without TLS the server does not answer.
#[test]
#[ignore = "needs a MongoDB: .ci/mongo.sh"]
fn server_with_another_certificate_is_rejected() {
    let (server, certificates) = secured();
    // The server's first handshake is slow.
    let patient = MongoDb { wait_seconds: 30, connect_ms: 10_000, acquire_ms: 10_000, ..MongoDb::default() };
    let hasty = MongoDb { wait_seconds: 0, acquire_ms: 700, ..MongoDb::default() };
    let reach = |ca: &str, query: &str, limits: &MongoDb| {
        let tls = Tls { ca: Some(certificates.join(ca)), ..Tls::default() };
        let settings = Settings { mongodb: limits.clone(), tls, ..Settings::default() };
        Db::open_without_checks(&Secret::new(format!("{server}/d{query}")), "product", &settings).map(drop)
    };
    reach("server.pem", "?tls=true", &patient).unwrap();
    on_system(async {
        wait_until("the reason is known", || {
            let refused = reach("other.pem", "?tls=true", &hasty).unwrap_err().to_string();
            if refused.contains("ertificate") { Ok(()) } else { Err(refused) }
        })
        .await;
    });
    reach("server.pem", "", &hasty).unwrap_err();
}
