//! Operation: health, info, settings, log levels, metrics, API documents, start and shutdown.

use crate::support::process::{Process, audit, last_words, tradepost};
use crate::support::{Shape, Shop, on_system, wait_for};
use actix_web::http::Method;
use serde_json::{Value, json};

scenario! { of one process:
    /// Public endpoints need no token; the others need an administrator's token.
    async fn actuator_endpoints_need_admin_except_public_ones(shop) {
        let c = &shop.client;
        for path in ["/actuator", "/actuator/health", "/actuator/health/liveness", "/actuator/health/readiness", "/actuator/info", "/actuator/prometheus", "/v3/api-docs"] {
            c.send(Method::GET, path, &[], "").await.expect(200);
        }
        for path in ["/actuator/env", "/actuator/loggers", "/actuator/deadletters"] {
            c.send(Method::GET, path, &[], "").await.expect(401);
            c.get(&c.alice, path).await.expect(403);
            c.get(&c.admin, path).await.expect(200);
        }
        let health = c.send(Method::GET, "/actuator/health", &[], "").await.json();
        assert_eq!(health["status"], "UP");
        assert_eq!(health["components"]["orderStore"]["status"], "UP");
    }
}

#[test]
fn settings_are_shown_without_secrets() {
    on_system(async {
        let mut shop =
            Shop::start(Shape::Local, |s| s.identity.client_secret = Some(tradepost::settings::Secret::new("do-not-show"))).await;
        let env = shop.client.get(&shop.client.admin, "/actuator/env").await.expect(200);
        assert!(!env.text.contains("do-not-show"), "{}", env.text);
        let properties = env.json()["propertySources"][0]["properties"].clone();
        assert_eq!(properties["identity.client_secret"]["value"], "******");
        assert_eq!(properties["server.workers"]["value"], 2);
        shop.stop().await;
    });
}

#[test]
fn log_level_post_changes_level_at_runtime() {
    on_system(async {
        let data = tempfile::tempdir().unwrap();
        let process = Process::start(data.path(), &[]);
        let c = process.client().await;
        let path = "/actuator/loggers/tradepost::modules::order";
        assert_eq!(c.get(&c.admin, path).await.json(), json!({ "configuredLevel": null, "effectiveLevel": "WARN" }));
        c.post(&c.admin, path, json!({ "configuredLevel": "DEBUG" })).await.expect(204);
        assert_eq!(c.get(&c.admin, path).await.json(), json!({ "configuredLevel": "DEBUG", "effectiveLevel": "DEBUG" }));
        c.post(&c.admin, path, json!({ "configuredLevel": "LOUD" })).await.expect(400);
        c.post(&c.admin, path, json!({ "configuredLevel": null })).await.expect(204);
        assert_eq!(c.get(&c.admin, path).await.json()["configuredLevel"], json!(null));
    });
}

scenario! {
    /// The document is generated from the contracts and is the same in every deployment mode; Swagger UI displays it.
    async fn openapi_describes_the_contract(shop) {
        let c = &shop.client;
        let doc = c.send(Method::GET, "/v3/api-docs", &[], "").await.expect(200).json();
        let printed = tradepost(&["openapi"]).output().unwrap();
        let mut printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
        printed["servers"] = doc["servers"].clone();
        assert_eq!(doc, printed, "the served document equals the output of `tradepost openapi`");
        let page = c.send(Method::GET, "/swagger-ui/", &[], "").await.expect(200);
        assert!(page.text.contains("swagger-ui-bundle.js") && page.headers["content-type"].starts_with("text/html"));
        c.send(Method::GET, "/swagger-ui/swagger-ui-bundle.js", &[], "").await.expect(200);
        assert!(c.send(Method::GET, "/swagger-ui/swagger-initializer.js", &[], "").await.expect(200).text.contains("/v3/api-docs"));
        c.send(Method::GET, "/swagger-ui/nothing.js", &[], "").await.expect(404);
    }
}

/// Placed orders survive a restart; the shutdown completes orders in progress.
#[test]
fn restart_keeps_orders_and_stock() {
    on_system(async {
        let shop = Shop::start(Shape::Local, |_| {}).await;
        shop.client.stocked("k", "1", 10).await;
        let placed = shop.client.order(&[("k", 3)]).await.expect(201).json();
        let mut shop = shop.restart().await;
        let c = &shop.client;
        assert_eq!(c.get(&c.alice, &format!("/api/v1/orders/{}", placed["id"])).await.expect(200).json(), placed);
        assert_eq!(c.quantity("k").await, 7);
        shop.assert_sound().await;
        shop.stop().await;
    });
}

#[test]
fn sigterm_finishes_and_exits_with_0() {
    on_system(async {
        let data = tempfile::tempdir().unwrap();
        let process = Process::start(data.path(), &[]);
        let c = process.client().await;
        c.stocked("t", "1", 1000).await;
        // an endless stream must not block the shutdown
        let _stream =
            awc::Client::default().get(format!("{}/api/v1/notifications/stream", c.url)).bearer_auth(&c.alice).send().await.unwrap();
        for _ in 0..20 {
            c.order(&[("t", 1)]).await.expect(201);
        }
        assert_eq!(process.terminate(), Some(0));
        let (clean, text) = audit(data.path());
        assert!(clean && text.contains("20 placed") && text.contains("20 sold"), "{text}");
    });
}

/// A client that sends while the server closes the connection cannot know whether its request was processed. So during
/// the shutdown delay each response has `connection: close`, and readiness fails for load balancers.
#[test]
fn sigterm_with_shutdown_delay_closes_connections_after_a_response() {
    on_system(async {
        let data = tempfile::tempdir().unwrap();
        let process = Process::start(data.path(), &[("TRADEPOST__SERVER__SHUTDOWN_DELAY_SECONDS", "3600")]);
        let c = process.client().await;
        c.stocked("t", "1", 10).await;
        let reply = c.order(&[("t", 1)]).await.expect(201);
        assert_ne!(reply.headers.get("connection").map(String::as_str), Some("close"));
        process.signal("TERM");
        wait_for("readiness is OUT_OF_SERVICE", || async {
            let reply = c.send(Method::GET, "/actuator/health/readiness", &[], "").await;
            if reply.status == 503 && reply.json()["status"] == "OUT_OF_SERVICE" { Ok(()) } else { Err(reply.text) }
        })
        .await;
        assert_eq!(c.order(&[("t", 1)]).await.expect(201).headers["connection"], "close");
        c.send(Method::GET, "/actuator/health/liveness", &[], "").await.expect(200);
        // a second SIGTERM ends the delay
        assert_eq!(process.terminate(), Some(0));
        let (clean, text) = audit(data.path());
        assert!(clean && text.contains("2 placed"), "{text}");
    });
}

/// A failed start prints the reason and how to fix it.
#[test]
fn invalid_start_exits_with_a_reason() {
    let data = tempfile::tempdir().unwrap();
    let dir = data.path().to_string_lossy().into_owned();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut messages = Vec::new();
    let mut refused = |what: &str, args: &[&str], env: &[(&str, &str)]| {
        let output = tradepost(&[&["serve", "--data", &dir], args].concat()).envs(env.iter().copied()).output().unwrap();
        messages
            .push(format!("{what}\n{}\n", last_words(&output).replace(&dir, "[dir]").replace(&port, "[port]").replace(", kafka://", "")));
    };
    let free = ["--port", "0"];
    refused("peers that are nowhere", &[&free[..], &["--modules", "order,identity"]].concat(), &[]);
    refused("an unknown module", &[&free[..], &["--modules", "basket"]].concat(), &[]);
    refused("no issuer", &[&free[..], &["--modules", "product"]].concat(), &[]);
    refused("an unknown setting", &free, &[("TRADEPOST__SERVER__PROT", "1")]);
    refused("the built-in issuer in production", &free, &[("TRADEPOST__SERVER__PROFILE", "production")]);
    refused("an unknown bus", &free, &[("TRADEPOST__BUS__URL", "pigeons://loft")]);
    refused("a port that is taken", &["--port", &port], &[]);
    insta::assert_snapshot!("start_errors", messages.join("\n"));
    let nowhere = tradepost(&["serve", "--data", "/proc/nowhere"]).output().unwrap();
    assert!(last_words(&nowhere).starts_with("tradepost: data.dir: "), "{nowhere:?}");
}

/// Commands without a snapshot: the help of `migrate` depends on features, and `help` is generated by clap.
const EXCLUDED: [&str; 2] = ["migrate", "help"];

/// The help of every command.
#[test]
fn command_help_matches_snapshot() {
    let help = |args: &[&str]| {
        let output = tradepost(args).env_remove("TRADEPOST_PASSWORD").env("COLUMNS", "100").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let whole = help(&["--help"]);
    let commands = whole.split("Commands:").nth(1).unwrap().split("\n\n").next().unwrap();
    let names: Vec<_> =
        commands.lines().filter_map(|line| line.split_whitespace().next()).filter(|name| !EXCLUDED.contains(name)).collect();
    let shown = names.iter().map(|name| format!("$ tradepost {name} --help\n{}", help(&[name, "--help"])));
    insta::assert_snapshot!("help", format!("$ tradepost --help\n{whole}\n{}", shown.collect::<Vec<_>>().join("\n")));
}

/// A gateway stores no data and publishes no events: it starts without a writable folder and ignores the bus setting.
#[test]
fn gateway_alone_starts_without_folder_or_bus() {
    on_system(async {
        let data = tempfile::tempdir().unwrap();
        let shop = Process::start(data.path(), &[]);
        let mut c = shop.client().await;
        let issuer = format!("{}{}", shop.url, crate::support::client::REALM);
        let settings = [
            ("TRADEPOST__BUS__URL", "pigeons://loft"),
            ("TRADEPOST__SERVER__MODULES", "gateway"),
            ("TRADEPOST__IDENTITY__ISSUER", &issuer),
        ];
        let gateway = Process::start(std::path::Path::new("/proc/nowhere"), &settings);
        c.url = gateway.url.clone();
        c.send(Method::GET, "/actuator/health", &[], "").await.expect(200);
        let links = c.send(Method::GET, "/actuator", &[], "").await.expect(200);
        assert!(!links.text.contains("deadletters"), "{links:?}");
        // the notification module serves dead letters, and no process runs it
        c.get(&c.admin, "/actuator/deadletters").await.expect(503);
    });
}

/// Settings of an order process: slow responses do not count as failures, and an open breaker retries soon.
const LENIENT: [(&str, &str); 4] = [
    ("TRADEPOST__RESILIENCE__CALL_MS", "8000"),
    ("TRADEPOST__ORDER__PEER_TIMEOUT_MS", "8000"),
    ("TRADEPOST__RESILIENCE__OPEN_SECONDS", "1"),
    ("TRADEPOST__RESILIENCE__PEERS__INVENTORY__OPEN_SECONDS", "1"),
];

/// Peers have fixed addresses: the order module in one process, the other modules in another.
#[test]
fn order_process_finds_peers_by_address() {
    on_system(async {
        let (rest_data, order_data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let rest = Process::start(
            rest_data.path(),
            &[("TRADEPOST__SERVER__MODULES", "product,inventory,identity,notification"), ("TRADEPOST__PEERS__ORDER", "http://127.0.0.1:9")],
        );
        let c = rest.client().await;
        c.stocked("p", "2.50", 5).await;
        let secret = std::fs::read_to_string(rest_data.path().join("identity/service-secret")).unwrap();
        let issuer = format!("{}{}", rest.url, crate::support::client::REALM);
        let settings = [
            ("TRADEPOST__SERVER__MODULES", "order"),
            ("TRADEPOST__PEERS__PRODUCT", &rest.url),
            ("TRADEPOST__PEERS__INVENTORY", &rest.url),
            ("TRADEPOST__IDENTITY__ISSUER", &issuer),
            ("TRADEPOST__IDENTITY__CLIENT_SECRET", secret.trim()),
        ];
        let order = Process::start(order_data.path(), &[&settings[..], &LENIENT].concat());
        let mut orders = c.clone();
        orders.url = order.url.clone();
        let placed = orders.order(&[("p", 2)]).await.expect(201).json();
        assert_eq!(placed["total"].to_string(), "5.0");
        assert_eq!(c.quantity("p").await, 3);
        rest.kill();
        let refused = orders.order(&[("p", 1)]).await.expect(503);
        assert_eq!(refused.headers["retry-after"], "1");
        assert_eq!(orders.get(&orders.alice, "/api/v1/orders").await.json()["totalElements"], 1);
    });
}

/// Processes find their peers in the registry and deregister before they stop.
#[test]
fn order_process_finds_peers_by_registry() {
    on_system(async {
        let [registry_data, rest_data, notification_data, order_data] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
        // the registry needs an issuer URL but sends no request to it
        let registry = Process::start(
            registry_data.path(),
            &[("TRADEPOST__SERVER__MODULES", "registry"), ("TRADEPOST__IDENTITY__ISSUER", "http://127.0.0.1:9/realms/none")],
        );
        let password = std::fs::read_to_string(registry_data.path().join("registry/password")).unwrap();
        let url = format!("{}/eureka", registry.url.replace("://", &format!("://tradepost:{}@", password.trim())));
        let registry_settings = [("TRADEPOST__REGISTRY__URL", url.as_str()), ("TRADEPOST__REGISTRY__FETCH_SECONDS", "1")];
        let rest = Process::start(
            rest_data.path(),
            &[("TRADEPOST__SERVER__MODULES", "product,inventory,identity"), registry_settings[0], registry_settings[1]],
        );
        let c = rest.client().await;
        c.stocked("p", "2.50", 5).await;
        let secret = std::fs::read_to_string(rest_data.path().join("identity/service-secret")).unwrap();
        let issuer = format!("{}{}", rest.url, crate::support::client::REALM);
        let settings = [
            ("TRADEPOST__SERVER__MODULES", "order"),
            ("TRADEPOST__IDENTITY__ISSUER", &issuer),
            ("TRADEPOST__IDENTITY__CLIENT_SECRET", secret.trim()),
        ];
        let order = Process::start(order_data.path(), &[&settings[..], &registry_settings, &LENIENT].concat());
        let notification = Process::start(
            notification_data.path(),
            &[("TRADEPOST__SERVER__MODULES", "notification"), ("TRADEPOST__IDENTITY__ISSUER", &issuer), registry_settings[0]],
        );
        let mut orders = c.clone();
        orders.url = order.url.clone();
        wait_for("order has found its peers", || async {
            let reply = orders.order(&[("p", 2)]).await;
            if reply.status == 201 { Ok(()) } else { Err(format!("{reply:?}")) }
        })
        .await;
        let dashboard = || async {
            let page = awc::Client::default().get(format!("{}/", registry.url)).send().await.unwrap().body().await.unwrap();
            String::from_utf8(page.to_vec()).unwrap()
        };
        for app in ["PRODUCT-SERVICE", "INVENTORY-SERVICE", "IDENTITY-SERVICE", "NOTIFICATION-SERVICE", "ORDER-SERVICE"] {
            wait_for(&format!("{app} is registered"), || async {
                let shown = dashboard().await;
                if shown.contains(app) { Ok(()) } else { Err(shown) }
            })
            .await;
        }
        assert!(!dashboard().await.contains(password.trim()));
        assert_eq!(notification.terminate(), Some(0));
        let shown = dashboard().await;
        assert!(!shown.contains("NOTIFICATION-SERVICE") && shown.contains("ORDER-SERVICE"), "a stopping process deregisters: {shown}");
        registry.kill();
        orders.order(&[("p", 1)]).await.expect(201);
    });
}
