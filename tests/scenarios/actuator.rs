//! The actuator's endpoints: response formats that Spring Boot's tools read, and access control.

use crate::support::client::{Client, Reply};
use crate::support::process::{Process, tradepost};
use crate::support::{Shape, Shop, on_system};
use actix_web::http::Method;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tradepost::settings::Secret;

const V3: &str = "application/vnd.spring-boot.actuator.v3+json";
/// The `Accept` header of Spring Boot Admin.
const ACCEPT: &str = "application/vnd.spring-boot.actuator.v3+json,application/vnd.spring-boot.actuator.v2+json,application/json";

async fn get(c: &Client, path: &str) -> Value {
    c.get(&c.admin, path).await.expect(200).json()
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

async fn accepting(c: &Client, accept: &str, path: &str) -> Reply {
    let bearer = format!("Bearer {}", c.admin);
    c.send(Method::GET, path, &[("authorization", &bearer), ("accept", accept)], "").await
}

async fn with_password(c: &Client, method: Method, path: &str, pair: &str) -> Reply {
    c.send(method, path, &[("authorization", &format!("Basic {}", STANDARD.encode(pair)))], "").await
}

scenario! { of one process:
    /// Every link resolves, and URI templates use Spring Boot's parameter names.
    async fn the_index_has_links_to_what_there_is(shop) {
        let c = &shop.client;
        let index = accepting(c, ACCEPT, "/actuator").await.expect(200);
        assert_eq!(index.headers["content-type"], V3);
        insta::assert_snapshot!("index", pretty(&index.json()).replace(&c.url, "[url]"));
        let links = index.json()["_links"].as_object().unwrap().clone();
        for (name, link) in links.iter().filter(|(name, link)| link["templated"] == false && *name != "refresh") {
            let path = link["href"].as_str().unwrap().strip_prefix(&c.url).unwrap();
            accepting(c, ACCEPT, path).await.expect(200);
            assert!(name == "self" || path.contains("/actuator/"), "{path}");
        }
    }
}

scenario! { of one process:
    /// The default is `application/json`; the actuator's media types need an `Accept` header.
    async fn actuator_accept_header_selects_media_type(shop) {
        let c = &shop.client;
        for (accept, expected) in [
            (ACCEPT, V3),
            ("application/vnd.spring-boot.actuator.v2+json, application/json", "application/vnd.spring-boot.actuator.v2+json"),
            ("application/json", "application/json"),
            ("*/*", "application/json"),
        ] {
            for path in ["/actuator/health", "/actuator/metrics", "/actuator/metrics/process.uptime", "/actuator/mappings", "/actuator/env"] {
                assert_eq!(accepting(c, accept, path).await.expect(200).headers["content-type"], expected, "{path}");
            }
        }
        let dump = accepting(c, "text/plain", "/actuator/threaddump").await.expect(200);
        assert!(dump.headers["content-type"].starts_with("text/plain") && dump.text.contains("cpu="), "{dump:?}");
    }
}

scenario! { of one process:
    /// Statuses are public; details need an administrator's or a service token.
    async fn health_details_need_admin_or_service_token(shop) {
        let c = &shop.client;
        let anonymous = c.send(Method::GET, "/actuator/health", &[], "").await.expect(200);
        assert!(!anonymous.text.contains("details"), "{}", anonymous.text);
        for response in [c.get(&c.alice, "/actuator/health").await, c.get("no.good.token", "/actuator/health").await] {
            assert_eq!(response.expect(200).json(), anonymous.json());
        }
        let body = anonymous.json();
        assert_eq!((&body["status"], &body["groups"]), (&json!("UP"), &json!(["liveness", "readiness"])));
        assert_eq!(body["components"]["diskSpace"], json!({ "status": "UP" }));

        let secret = std::fs::read_to_string(shop.data.path().join("identity/service-secret")).unwrap();
        let peer = c.service_token(secret.trim()).await;
        for token in [&c.admin, &peer] {
            let health = c.get(token, "/actuator/health").await.expect(200).json();
            let disk = &health["components"]["diskSpace"]["details"];
            assert!(disk["free"].as_u64().unwrap() > 0 && disk["threshold"] == 10 << 20, "{disk}");
            assert_eq!(health["components"]["bus"]["details"]["state"], "up");
            assert_eq!(health["components"]["ping"], json!({ "status": "UP" }));
            assert!(health["components"]["orderStore"]["details"].is_object(), "{health}");
        }
        assert_eq!(c.send(Method::GET, "/actuator/health/orderStore", &[], "").await.expect(200).json(), json!({ "status": "UP" }));
        assert_eq!(get(c, "/actuator/health/diskSpace").await["details"]["exists"], true);
        assert_eq!(get(c, "/actuator/health/bus").await["details"], json!({ "state": "up" }));
        assert_eq!(get(c, "/actuator/health/liveness").await, json!({ "status": "UP" }));
        assert!(get(c, "/actuator/health/readiness").await["components"]["diskSpace"].is_null(), "a full disk must not fail readiness: reads still work");
        c.get(&c.admin, "/actuator/health/nothing").await.expect(404);
    }
}

scenario! { of one process:
    /// Sensitive endpoints need an administrator; invalid requests are refused with a reason.
    async fn actuator_missing_role_or_bad_request_is_refused(shop) {
        let c = &shop.client;
        for path in [
            "/actuator/metrics", "/actuator/metrics/process.uptime", "/actuator/httpexchanges", "/actuator/threaddump", "/actuator/configprops",
            "/actuator/configprops/order", "/actuator/env/order.lease_seconds", "/actuator/mappings", "/actuator/loggers/ROOT",
        ] {
            c.send(Method::GET, path, &[], "").await.expect(401);
            c.get(&c.alice, path).await.expect(403);
            c.get(&c.admin, path).await.expect(200);
        }
        for path in ["/actuator/metrics/jvm.memory.used", "/actuator/metrics/process.uptime?tag=a:b", "/actuator/env/order.leash", "/actuator/configprops/basket", "/actuator/beans"] {
            c.get(&c.admin, path).await.expect(404);
        }
        let refused = c.get(&c.admin, "/actuator/metrics/process.uptime?tag=colour").await.expect(400);
        assert!(refused.text.contains("key:value"), "{}", refused.text);
        for body in [json!({ "configuredLevel": "LOUD" }), json!({ "configuredLevel": 7 })] {
            assert!(c.post(&c.admin, "/actuator/loggers/ROOT", body).await.expect(400).text.contains("configuredLevel"));
        }
        let bearer = format!("Bearer {}", c.admin);
        for body in ["[]", "\"DEBUG\"", "{", "null"] {
            c.send(Method::POST, "/actuator/loggers/ROOT", &[("authorization", &bearer)], body).await.expect(400);
        }
        c.with_body(Method::PUT, &c.admin, "/actuator/loggers/ROOT", &[], &json!({})).await.expect(405);
    }
}

scenario! { of one process:
    async fn http_requests_have_micrometer_metric_names(shop) {
        let c = &shop.client;
        c.stocked("m", "1", 1).await;
        c.order(&[("m", 1)]).await.expect(201);
        for _ in 0..3 {
            c.get(&c.alice, "/api/v1/orders?size=1").await.expect(200);
        }
        let names = get(c, "/actuator/metrics").await["names"].clone();
        for name in ["http.server.requests", "process.cpu.usage", "system.cpu.count", "process.uptime", "disk.free", "tradepost.orders"] {
            assert!(names.as_array().unwrap().contains(&json!(name)), "{name} in {names}");
        }
        let all = get(c, "/actuator/metrics/http.server.requests").await;
        assert_eq!(all["baseUnit"], "seconds");
        let tags: Vec<_> = all["availableTags"].as_array().unwrap().iter().map(|tag| tag["tag"].as_str().unwrap()).collect();
        assert_eq!(tags, ["method", "status", "uri"]);
        let ours = get(c, "/actuator/metrics/http.server.requests?tag=uri:/api/v1/orders&tag=method:GET&tag=status:200").await;
        assert_eq!(ours["measurements"][0], json!({ "statistic": "COUNT", "value": 3.0 }));
        assert_eq!(ours["measurements"][1]["statistic"], "TOTAL_TIME");
        assert_eq!(ours["availableTags"], json!([]));
        let path = shop.data.path().to_string_lossy();
        assert!(get(c, &format!("/actuator/metrics/disk.free?tag=path:{path}")).await["measurements"][0]["value"].as_f64().unwrap() > 0.0);
    }
}

scenario! { of one process:
    /// Recent requests, without query values, credentials and requests to the actuator.
    async fn http_exchanges_mask_secrets(shop) {
        let c = &shop.client;
        c.get(&c.alice, "/api/v1/orders?size=1&page=0").await.expect(200);
        c.send(Method::GET, "/api/v1/orders?access_token=topsecret", &[("authorization", "Bearer topsecret"), ("cookie", "a=topsecret")], "").await.expect(401);
        let shown = c.get(&c.admin, "/actuator/httpexchanges").await.expect(200);
        let exchanges = shown.json()["exchanges"].as_array().unwrap().clone();
        let [refused, listed] = [&exchanges[0], &exchanges[1]];
        assert_eq!(refused["request"]["uri"], format!("{}/api/v1/orders?access_token=******", c.url));
        assert_eq!(refused["response"]["status"], 401);
        assert_eq!((&listed["request"]["method"], &listed["response"]["status"]), (&json!("GET"), &json!(200)));
        assert_eq!(listed["request"]["uri"], format!("{}/api/v1/orders?size=******&page=******", c.url));
        assert_eq!(listed["response"]["headers"]["content-type"], json!(["application/json"]));
        let took = listed["timeTaken"].as_str().and_then(|text| text.strip_prefix("PT")?.strip_suffix('S')?.parse::<f64>().ok());
        assert!(took.is_some_and(|seconds| seconds >= 0.0) && listed["timestamp"].as_str().unwrap().ends_with('Z'), "{listed}");
        for secret in ["topsecret", &c.alice, "authorization", "cookie", "/actuator"] {
            assert!(!shown.text.contains(secret), "{secret}");
        }
    }
}

scenario! { of one process:
    async fn settings_are_shown_by_section_and_one_by_one(shop) {
        let c = &shop.client;
        let order = get(c, "/actuator/configprops/order").await["contexts"]["application"]["beans"].clone();
        let bean = &order["tradepost.order"];
        assert_eq!((order.as_object().unwrap().len(), &bean["prefix"], &bean["properties"]["lease_seconds"]), (1, &json!("order"), &json!(1)));
        assert_eq!(bean["inputs"]["lease_seconds"]["value"], 1);
        let all = get(c, "/actuator/configprops").await["contexts"]["application"]["beans"].clone();
        let section = |(name, bean): (&String, &Value)| {
            let keys = bean["properties"].as_object().unwrap().keys().map(|key| format!("\n  {key}"));
            format!("{name}{}", keys.collect::<String>())
        };
        insta::assert_snapshot!("settings", all.as_object().unwrap().iter().map(section).collect::<Vec<_>>().join("\n"));
        let one = get(c, "/actuator/env/order.lease_seconds").await;
        assert_eq!(one["property"], json!({ "source": "tradepost", "value": 1 }));
        assert_eq!(one["propertySources"][0]["property"]["value"], 1);
        // Spring Boot Admin displays PID as the process id
        assert_eq!(get(c, "/actuator/env/PID").await["property"]["value"], std::process::id().to_string());
    }
}

scenario! { of one process:
    async fn mappings_threads_and_info_have_springs_forms(shop) {
        let c = &shop.client;
        let mappings = get(c, "/actuator/mappings").await;
        let handlers = mappings["contexts"]["application"]["mappings"]["dispatcherHandlers"]["webHandler"].as_array().unwrap().clone();
        let mut lines = Vec::new();
        for handler in &handlers {
            assert_eq!(handler["details"]["requestMappingConditions"]["patterns"].as_array().unwrap().len(), 1, "{handler}");
            lines.push(format!("{} {}", handler["predicate"].as_str().unwrap(), handler["roles"]));
        }
        lines.sort();
        insta::assert_snapshot!("mappings", lines.join("\n"));
        let threads = get(c, "/actuator/threaddump").await["threads"].as_array().unwrap().clone();
        let states = ["RUNNABLE", "WAITING", "BLOCKED", "TERMINATED"];
        assert!(threads.iter().all(|thread| thread["stackTrace"] == json!([]) && states.contains(&thread["threadState"].as_str().unwrap())));
        assert!(threads.iter().any(|thread| thread["threadState"] == "RUNNABLE"), "the thread that serves this request");
        let info = c.send(Method::GET, "/actuator/info", &[], "").await.expect(200).json();
        assert_eq!((&info["build"]["artifact"], &info["build"]["version"]), (&json!("tradepost"), &json!(env!("CARGO_PKG_VERSION"))));
        assert!(info["git"]["commit"]["id"].as_str().is_none_or(|id| id.len() == 7), "{info}");
    }
}

/// HTTP Basic with `actuator.password` grants access to the actuator and to no other endpoint.
#[test]
fn actuator_password_opens_actuator_only() {
    on_system(async {
        let mut shop = Shop::start(Shape::Local, |s| s.actuator.password = Some(Secret::new("open:sesame"))).await;
        let c = &shop.client;
        let get = |path, pair| with_password(c, Method::GET, path, pair);
        for path in ["/actuator/env", "/actuator/metrics", "/actuator/circuitbreakers", "/actuator/deadletters"] {
            get(path, "tradepost:open:sesame").await.expect(200);
            for wrong in ["tradepost:open", "tradepost:", ":open:sesame", "admin:open:sesame", "tradepost"] {
                get(path, wrong).await.expect(401);
            }
        }
        assert!(get("/actuator/health", "tradepost:open:sesame").await.expect(200).text.contains("details"));
        assert!(!get("/actuator/health", "tradepost:wrong").await.expect(200).text.contains("details"));
        let env = get("/actuator/env", "tradepost:open:sesame").await;
        assert_eq!(env.json()["propertySources"][0]["properties"]["actuator.password"]["value"], "******");
        assert!(!env.text.contains("sesame"));
        for path in ["/api/v1/orders", "/api/v1/notifications", "/api/v1/inventory"] {
            get(path, "tradepost:open:sesame").await.expect(401);
        }
        with_password(c, Method::POST, "/actuator/refresh", "tradepost:wrong").await.expect(401);
        shop.stop().await;
    });
}

#[test]
fn actuator_unset_or_empty_password_is_refused() {
    on_system(async {
        let mut shop = Shop::start(Shape::Local, |_| {}).await;
        for pair in ["tradepost:", ":", "tradepost:******"] {
            with_password(&shop.client, Method::GET, "/actuator/env", pair).await.expect(401);
        }
        shop.stop().await;
        let data = tempfile::tempdir().unwrap();
        for (key, value, expected) in
            [("TRADEPOST__ACTUATOR__PASSWORD", "", "actuator.password"), ("TRADEPOST__ACTUATOR__USER", "a:b", "actuator.user")]
        {
            let mut start = tradepost(&["serve", "--port", "0", "--data", &data.path().to_string_lossy()]);
            let output = start.env("TRADEPOST__ACTUATOR__PASSWORD", "x").env(key, value).output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.code() == Some(1) && stderr.contains(expected), "{stderr}");
        }
    });
}

/// The list has all modules, parts of the platform, and every logger with a configured level.
#[test]
fn loggers_list_has_configured_and_effective_levels() {
    on_system(async {
        let data = tempfile::tempdir().unwrap();
        let process = Process::start(data.path(), &[("TRADEPOST__LOG__LEVEL", "info,tradepost::modules::order=debug")]);
        let c = process.client().await;
        let all = get(&c, "/actuator/loggers").await;
        assert_eq!((&all["levels"][0], &all["groups"]), (&json!("OFF"), &json!({})));
        for (name, configured, effective) in [
            ("ROOT", json!("INFO"), "INFO"),
            ("tradepost", json!(null), "INFO"),
            ("tradepost::events::bus", json!(null), "INFO"),
            ("tradepost::modules::order", json!("DEBUG"), "DEBUG"),
            ("tradepost::modules::config_server", json!(null), "INFO"),
        ] {
            assert_eq!(all["loggers"][name], json!({ "configuredLevel": configured, "effectiveLevel": effective }), "{name}");
        }
        c.post(&c.admin, "/actuator/loggers/tradepost%3A%3Amodules", json!({ "configuredLevel": "TRACE" })).await.expect(204);
        let all = get(&c, "/actuator/loggers").await;
        assert_eq!(all["loggers"]["tradepost::modules"]["configuredLevel"], "TRACE");
        assert_eq!(all["loggers"]["tradepost::modules::config_server"], json!({ "configuredLevel": null, "effectiveLevel": "TRACE" }));
        assert_eq!(all["loggers"]["tradepost::modules::order"]["effectiveLevel"], "DEBUG");
    });
}
