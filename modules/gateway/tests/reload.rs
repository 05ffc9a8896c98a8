//! Changes of routes: by the file and by the actuator.

use super::support::{TEST_TIMEOUT, Upstream, read_response, single_route, start_gateway};
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[actix_web::test]
async fn changed_file_is_reloaded_and_invalid_file_rejected() {
    let upstream = Upstream::start("a");
    let gateway = start_gateway(&upstream, &single_route("SetPath=/first"), &[], |_| {});
    let target = async || gateway.get("/x").await.json()["target"].as_str().unwrap().to_string();
    assert_eq!(target().await, "/first");
    // the worker runs on this thread, so a thread-local subscriber captures its log
    let log = gateway.dir.path().join("log");
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(Arc::new(File::create(&log).unwrap())).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    std::fs::write(&gateway.file, single_route("Nonsense=1").replace("URL", &upstream.url)).unwrap();
    wait_until("the invalid file is read", async || std::fs::read_to_string(&log).unwrap().contains("cannot load routes")).await;
    assert_eq!(target().await, "/first", "the invalid file is rejected");
    std::fs::write(&gateway.file, single_route("SetPath=/second").replace("URL", &upstream.url)).unwrap();
    wait_until("the valid file is loaded", async || target().await == "/second").await;
}

async fn wait_until(what: &str, condition: impl AsyncFn() -> bool) {
    let since = Instant::now();
    while !condition().await {
        assert!(since.elapsed() < TEST_TIMEOUT, "timed out: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[actix_web::test]
async fn actuator_routes_require_administrator() {
    let upstream = Upstream::start("a");
    let closed = start_gateway(&upstream, &single_route(""), &["/none"], |_| {});
    let admin = upstream.token("root", &["admin"]);
    let listed = closed.send(closed.request("GET", "/actuator/gateway/routes").bearer_auth(&admin)).await;
    assert_eq!((listed.status, &listed.json()["path"]), (404, &"/actuator/gateway/routes".into()), "disabled by default");
    let file = "spring.cloud.gateway.routes:\n- {id: a, uri: 'lb://product-service', predicates: ['Path=/first', Method=GET], filters: [StripPrefix=1]}\n";
    let gateway = start_gateway(&upstream, file, &["/none"], |s| s.gateway.actuator = true);
    let ask = async |method: &str, path: &str, token: &str, body: &'static str| {
        let request = gateway.request(method, &format!("/actuator/gateway{path}")).bearer_auth(token);
        read_response(request.send_body(body).await.unwrap()).await
    };
    assert_eq!(ask("GET", "/routes", &upstream.token("ann", &["customer"]), "").await.status, 403);
    let routes = ask("GET", "/routes", &admin, "").await.json();
    assert_eq!(routes[0]["route_id"], "a");
    assert_eq!(routes[0]["predicate"], "(Paths: [/first], match trailing slash: true && Methods: [GET])");
    assert_eq!((&routes[0]["uri"], &routes[0]["order"]), (&"lb://product-service".into(), &0.into()));
    assert_eq!(routes[0]["filters"][0], "[[StripPrefix 1], order = 1]");
    for list in ["globalfilters", "routefilters", "routepredicates"] {
        insta::assert_json_snapshot!(list, ask("GET", &format!("/{list}"), &admin, "").await.json());
    }
    let new = r#"{"predicates":["Path=/new"],"filters":["SetPath=/made"],"uri":"lb://billing","order":0}"#;
    assert_eq!(ask("POST", "/routes/b", &admin, new).await.status, 201);
    assert_eq!(ask("POST", "/refresh", &admin, "").await.status, 200);
    assert_eq!(ask("GET", "/routes/b", &admin, "").await.json()["uri"], "lb://billing");
    let forwarded = gateway.send(gateway.request("GET", "/new").bearer_auth(&admin)).await;
    assert_eq!(forwarded.json()["target"], "/made");
    assert_eq!(ask("POST", "/routes/c", &admin, r#"{"uri":"lb://x","filters":["Nope"]}"#).await.status, 400);
    assert_eq!(ask("DELETE", "/routes/b", &admin, "").await.status, 200);
    assert_eq!(ask("GET", "/routes/b", &admin, "").await.status, 404);
    assert_eq!(ask("DELETE", "/routes/a", &admin, "").await.status, 404, "the actuator cannot remove the file's routes");
}

#[actix_web::test]
async fn builtin_routes_and_discovery_locator_forward() {
    let upstream = Upstream::start("a");
    let gateway =
        start_gateway(&upstream, "", &["/eureka/web", "/billing/**", "/registry/**", "/eureka/**"], |s| s.gateway.discovery_locator = true);
    let token = upstream.token("ann", &[]);
    let response = gateway.send(gateway.request("GET", "/api/v1/products/7?x=1").bearer_auth(&token)).await;
    assert_eq!(response.json()["target"], "/api/v1/products/7?x=1");
    assert_eq!(gateway.get("/eureka/web").await.json()["target"], "/");
    assert_eq!(gateway.get("/billing/a/b").await.json()["target"], "/a/b");
    assert_eq!(gateway.get("/eureka/apps").await.status, 404);
    for path in ["/eureka/apps/ORDER-SERVICE", "/registry/eureka/apps/X", "/registry/Eureka/apps/X"] {
        assert_eq!(gateway.send(gateway.request("POST", path)).await.status, 403, "{path}");
    }
}
