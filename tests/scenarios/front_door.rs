//! The gateway as a separate process: which requests reach the modules behind it.

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

        // the registry's page is public; writes from outside are refused, even for an administrator
        let page = c.send(Method::GET, "/eureka/web", &[], "").await.expect(200);
        assert!(page.text.contains("ORDER-SERVICE") && page.text.contains("API-GATEWAY"), "{}", page.text);
        c.send(Method::POST, "/eureka/apps/PRODUCT-SERVICE", &[], "{}").await.expect(401);
        c.send(Method::POST, "/eureka/apps/PRODUCT-SERVICE", &auth, "{}").await.expect(403);

        // paths are normalised; traversal and encoded separators are refused
        for path in ["/api/v1/products/../orders", "/api/v1/products%2Fx", "/api/v1/products/%252e%252e/orders", "/api/v1/products/%00"] {
            c.send(Method::GET, path, &auth, "").await.expect(400);
        }
        c.send(Method::GET, "//api/v1/products", &[], "").await.expect(401);
        c.send(Method::GET, "//api/v1/products", &auth, "").await.expect(200);

        // each process has its own actuator; the gateway serves its own and does not forward to those of the modules
        c.send(Method::GET, "/actuator/health", &[], "").await.expect(200);
        assert_eq!(c.get(&c.admin, "/actuator/info").await.expect(200).json()["modules"], json!(["gateway"]));
        shop.stop().await;
    });
}
