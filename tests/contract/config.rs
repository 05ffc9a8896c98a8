//! Settings from a config server: a shop loads them at start and on refresh.

use crate::support::Shape;
use crate::support::Shop;
use crate::support::process::{Process, tradepost};
use actix_web::http::Method;
use serde_json::{Value, json};
use std::path::Path;

const UNREACHABLE_ISSUER: (&str, &str) = ("TRADEPOST__IDENTITY__ISSUER", "http://127.0.0.1:9/realms/none");

fn write(dir: &Path, file: &str, text: &str) {
    std::fs::write(dir.join(file), text).unwrap();
}

/// Starts a config server for this folder; returns it and its URL with the password.
fn config_server(files: &Path, data: &Path) -> (Process, String) {
    let env = [
        UNREACHABLE_ISSUER,
        ("TRADEPOST__SERVER__MODULES", "config-server"),
        ("TRADEPOST__CONFIG_SERVER__FOLDER", files.to_str().unwrap()),
    ];
    let server = Process::start(data, &env);
    let password = std::fs::read_to_string(data.join("config-server/password")).unwrap();
    let url = server.url.replace("http://", &format!("http://tradepost:{}@", password.trim()));
    (server, url)
}

#[test]
fn config_server_settings_apply_at_start_and_on_refresh() {
    crate::support::on_system(async {
        let (files, data, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(files.path(), "application.yml", "tradepost:\n  gateway:\n    rate: 900\n  order:\n    maxLines: 3\n    lease-seconds: 99\n");
        write(
            files.path(),
            "tradepost-eu.yml",
            "tradepost.server.request-seconds: 55\ntradepost.identity.client-secret: ${unset:topsecret}\n",
        );
        let (server, url) = config_server(files.path(), data.path());
        // with fail_fast off, an unreachable config server must not reset settings on refresh
        let env =
            [("TRADEPOST__CONFIG__SERVER", url.as_str()), ("TRADEPOST__CONFIG__PROFILE", "eu"), ("TRADEPOST__CONFIG__FAIL_FAST", "false")];
        let shop = Process::start(own.path(), &env);
        let client = shop.client().await;
        let settings =
            async || client.get(&client.admin, "/actuator/env").await.expect(200).json()["propertySources"][0]["properties"].clone();
        let at_start = settings().await;
        let layer = |key: &str| at_start[key]["origin"].as_str().unwrap().to_string();
        assert_eq!(at_start["order.max_lines"]["value"], 3);
        assert!(layer("order.max_lines").starts_with("config server http://127.0.0.1:"), "{}", layer("order.max_lines"));
        assert!(layer("order.max_lines").ends_with("application.yml)") && layer("server.request_seconds").ends_with("tradepost-eu.yml)"));
        // the environment, which the test support sets, has precedence
        assert_eq!((&at_start["order.lease_seconds"]["value"], layer("order.lease_seconds").as_str()), (&json!(1), "the environment"));
        assert!(!at_start.to_string().contains("topsecret") && !at_start.to_string().contains(&url), "{at_start}");

        write(
            files.path(),
            "application.yml",
            "tradepost:\n  log.level: error\n  gateway:\n    rate: 800\n    burst: 801\n  order:\n    maxLines: 4\n",
        );
        let refresh =
            async |token: &str| client.send(Method::POST, "/actuator/refresh", &[("authorization", &format!("Bearer {token}"))], "").await;
        assert_eq!(refresh(&client.alice).await.status, 403);
        // the log level from the environment has precedence
        assert_eq!(refresh(&client.admin).await.expect(200).json(), json!(["gateway.burst", "gateway.rate"]));
        let after = client.get(&client.admin, "/actuator/env").await.expect(200);
        assert_eq!(after.headers["x-ratelimit-burst-capacity"], "801");
        let values = after.json()["propertySources"][0]["properties"].clone();
        assert_eq!(
            (&values["gateway.rate"]["value"], &values["order.max_lines"]["value"]),
            (&json!(800), &json!(3)),
            "the active values, not those of the file"
        );
        assert_eq!(refresh(&client.admin).await.expect(200).json(), json!([]));

        // an invalid setting changes nothing
        write(files.path(), "application.yml", "tradepost.gateway.rates: 1\n");
        let refused = refresh(&client.admin).await.expect(409);
        assert!(refused.message().contains("gateway.rates") && refused.message().contains("application.yml"), "{refused:?}");
        assert_eq!(settings().await["gateway.rate"]["value"], 800);
        // a missing route file changes nothing either
        write(files.path(), "application.yml", "tradepost.gateway: {rate: 700, burst: 801, routes: /nowhere.yml}\n");
        assert!(refresh(&client.admin).await.expect(409).message().contains("/nowhere.yml"));
        let routes = files.path().join("routes.yml");
        write(
            files.path(),
            "routes.yml",
            "spring.cloud.gateway.routes:\n- id: gone\n  uri: no://op\n  predicates: [Path=/gone]\n  filters: [SetStatus=410]\n",
        );
        write(files.path(), "application.yml", &format!("tradepost.gateway: {{rate: 700, burst: 801, routes: {}}}\n", routes.display()));
        assert_eq!(refresh(&client.admin).await.expect(200).json(), json!(["gateway.routes"]));
        assert_eq!(client.get(&client.admin, "/gone").await.status, 410);

        server.kill();
        assert!(refresh(&client.admin).await.expect(409).message().contains("config.server"));
        assert_eq!(client.get(&client.admin, "/gone").await.status, 410);
    });
}

#[test]
fn config_server_down_fails_the_start_unless_fail_fast_is_off() {
    let data = tempfile::tempdir().unwrap();
    let migrate = |env: &[(&str, &str)]| {
        let output = tradepost(&["migrate", "--modules", "identity", "--data", data.path().to_str().unwrap()])
            .env("TRADEPOST__CONFIG__SERVER", "http://user:topsecret@127.0.0.1:9/config")
            .env("TRADEPOST__CONFIG__RETRY_SECONDS", "0")
            .envs(env.iter().copied())
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (started, stderr) = migrate(&[]);
    assert!(!started && stderr.contains("config.server: http://127.0.0.1:9/config") && !stderr.contains("topsecret"), "{stderr}");
    let (started, stderr) = migrate(&[("TRADEPOST__CONFIG__FAIL_FAST", "false")]);
    assert!(started && stderr.contains("without the config server") && !stderr.contains("topsecret"), "{stderr}");
}

/// In one process with other modules, the config server is below `/config` and needs an administrator's token or its
/// credentials.
#[test]
fn config_endpoints_in_one_process_need_admin() {
    crate::support::on_system(async {
        let files = tempfile::tempdir().unwrap();
        write(files.path(), "basket.yml", "password: hidden\n");
        let mut shop = Shop::start(Shape::Local, |settings| settings.config_server.folder = Some(files.path().into())).await;
        let c = &shop.client;
        let paths = [
            "/config/basket/default",
            "/config/basket/default/main",
            "/config/basket-default.yml",
            "/config/basket/default/main/basket.yml",
        ];
        for path in paths {
            assert!(c.get(&c.admin, path).await.expect(200).text.contains("hidden"));
            assert!(!c.get(&c.alice, path).await.expect(403).text.contains("hidden"));
            assert!(!c.send(Method::GET, path, &[], "").await.expect(401).text.contains("hidden"));
        }
        let refused: Value = c.send(Method::GET, paths[0], &[("authorization", "Basic eDp5")], "").await.expect(401).json();
        assert!(refused["message"].as_str().unwrap().contains("http://user:password@"));
        for call in ["/config/encrypt", "/config/decrypt", "/config/monitor"] {
            c.send(Method::POST, call, &[], "").await.expect(401);
        }
        shop.stop().await;
    });
}
