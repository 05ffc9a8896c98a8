//! The gateway as a process of its own: what reaches the modules behind it, and what does not.

use crate::support::{Shape, Shop, on_system};
use actix_web::http::Method;
use serde_json::json;

#[test]
fn gateway_of_a_split_shop_protects_modules() {
    on_system(async {
        let mut shop = Shop::start(Shape::Split, |_| {}).await;
        let c = &shop.client;
        let bearer = format!("Bearer {}", c.admin);
        let auth = [("authorization", bearer.as_str())];

        // the registry's page is shown, and nothing is written into it from outside, whoever asks
        let page = c.send(Method::GET, "/eureka/web", &[], "").await.expect(200);
        assert!(page.text.contains("ORDER-SERVICE") && page.text.contains("API-GATEWAY"), "{}", page.text);
        c.send(Method::POST, "/eureka/apps/PRODUCT-SERVICE", &[], "{}").await.expect(401);
        c.send(Method::POST, "/eureka/apps/PRODUCT-SERVICE", &auth, "{}").await.expect(403);

        // one form of a path, and no tricks
        for path in ["/api/v1/products/../orders", "/api/v1/products%2Fx", "/api/v1/products/%252e%252e/orders", "/api/v1/products/%00"] {
            c.send(Method::GET, path, &auth, "").await.expect(400);
        }
        c.send(Method::GET, "//api/v1/products", &[], "").await.expect(401);
        c.send(Method::GET, "//api/v1/products", &auth, "").await.expect(200);

        // an operator's endpoints are each process's own: those of the modules are not open to the outside
        c.send(Method::GET, "/actuator/health", &[], "").await.expect(200);
        assert_eq!(c.get(&c.admin, "/actuator/info").await.expect(200).json()["modules"], json!(["gateway"]));
        shop.stop().await;
    });
}
