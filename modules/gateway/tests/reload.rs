//! Routes that change, and who may change them.

use super::support::{PATIENCE, Upstream, front, got, one};
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[actix_web::test]
async fn a_changed_file_is_taken_and_a_bad_one_is_not() {
    let upstream = Upstream::start("a");
    let door = front(&upstream, &one("SetPath=/first"), &[], |_| {});
    let target = async || door.get("/x").await.json()["target"].as_str().unwrap().to_string();
    assert_eq!(target().await, "/first");
    // the file is watched on this thread, and so is its log
    let log = door.dir.path().join("log");
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(Arc::new(File::create(&log).unwrap())).finish();
    let _logged = tracing::subscriber::set_default(subscriber);
    std::fs::write(&door.file, one("Nonsense=1").replace("URL", &upstream.url)).unwrap();
    until("the bad file is read", async || std::fs::read_to_string(&log).unwrap().contains("routes not read")).await;
    assert_eq!(target().await, "/first", "the bad one is refused");
    std::fs::write(&door.file, one("SetPath=/second").replace("URL", &upstream.url)).unwrap();
    until("the good one is taken", async || target().await == "/second").await;
}

async fn until(what: &str, is: impl AsyncFn() -> bool) {
    let since = Instant::now();
    while !is().await {
        assert!(since.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[actix_web::test]
async fn routes_are_shown_and_changed_by_administrators_only() {
    let upstream = Upstream::start("a");
    let closed = front(&upstream, &one(""), &["/none"], |_| {});
    let admin = upstream.token("root", &["admin"]);
    let listed = closed.send(closed.request("GET", "/actuator/gateway/routes").bearer_auth(&admin)).await;
    assert_eq!((listed.status, &listed.json()["path"]), (404, &"/actuator/gateway/routes".into()), "closed unless opened");
    let file = "spring.cloud.gateway.routes:\n- {id: a, uri: 'lb://product-service', predicates: ['Path=/first', Method=GET], filters: [StripPrefix=1]}\n";
    let door = front(&upstream, file, &["/none"], |s| s.gateway.actuator = true);
    let ask = async |method: &str, path: &str, token: &str, body: &'static str| {
        let request = door.request(method, &format!("/actuator/gateway{path}")).bearer_auth(token);
        got(request.send_body(body).await.unwrap()).await
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
    let through = door.send(door.request("GET", "/new").bearer_auth(&admin)).await;
    assert_eq!(through.json()["target"], "/made");
    assert_eq!(ask("POST", "/routes/c", &admin, r#"{"uri":"lb://x","filters":["Nope"]}"#).await.status, 400);
    assert_eq!(ask("DELETE", "/routes/b", &admin, "").await.status, 200);
    assert_eq!(ask("GET", "/routes/b", &admin, "").await.status, 404);
    assert_eq!(ask("DELETE", "/routes/a", &admin, "").await.status, 404, "the file's routes stay");
}

#[actix_web::test]
async fn the_shops_own_routes_and_the_locator() {
    let upstream = Upstream::start("a");
    let door = front(&upstream, "", &["/eureka/web", "/billing/**", "/registry/**", "/eureka/**"], |s| s.gateway.locator = true);
    let token = upstream.token("ann", &[]);
    let got = door.send(door.request("GET", "/api/v1/products/7?x=1").bearer_auth(&token)).await;
    assert_eq!(got.json()["target"], "/api/v1/products/7?x=1");
    assert_eq!(door.get("/eureka/web").await.json()["target"], "/");
    assert_eq!(door.get("/billing/a/b").await.json()["target"], "/a/b");
    assert_eq!(door.get("/eureka/apps").await.status, 404);
    for path in ["/eureka/apps/ORDER-SERVICE", "/registry/eureka/apps/X", "/registry/Eureka/apps/X"] {
        assert_eq!(door.send(door.request("POST", path)).await.status, 403, "{path}");
    }
}
