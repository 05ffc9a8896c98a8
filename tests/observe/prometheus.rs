//! A real Prometheus with the files of `deploy/`, and a working shop: every query of every dashboard, every rule, and
//! every metric of an alert must find data. `.ci/prometheus.sh` runs this.
//!
//! Expressions that are correctly empty on a healthy shop are checked in another way, so that a misspelt name is still
//! found: an alert by each of its selectors; a dashboard's annotations (firing alerts) while one fires.

use super::boards::{panels, queries};
use super::files::{dashboards, list, rules, word};
use super::promql::selectors;
use crate::chaos::sql::Sql;
use crate::support::client::Client;
use crate::support::{Shape, Shop, on_system, wait_for};
use actix_web::http::Method;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use tradepost::kernel::module::Module;
use tradepost::kernel::uri::encode_component;
use tradepost::settings::{Secret, Settings};

/// Prometheus and Alertmanager, for one test; stopped when dropped.
struct Monitoring {
    state: PathBuf,
    prometheus: Client,
    alertmanager: Client,
    settings: Vec<(&'static str, String)>,
}

impl Monitoring {
    /// Starts both. `address` is the address of the shop, as `.ci/services/prometheus.sh` expects it; each test has its
    /// own number, from 0, because they run in parallel.
    fn start(number: u16, address: &[(&'static str, String)]) -> Self {
        let state = PathBuf::from(std::env::var("STATE_DIR").expect("STATE_DIR: .ci/prometheus.sh runs this")).join(number.to_string());
        let port = |variable: &str| std::env::var(variable).unwrap().parse::<u16>().unwrap() + number;
        let [prometheus, alertmanager] = ["PROMETHEUS_PORT", "ALERTMANAGER_PORT"].map(port);
        let own = [
            ("STATE_DIR", state.to_string_lossy().into_owned()),
            ("PROMETHEUS_PORT", prometheus.to_string()),
            ("ALERTMANAGER_PORT", alertmanager.to_string()),
        ];
        let at = |port: u16| Client::with_tokens("", &format!("http://127.0.0.1:{port}"), Default::default());
        let settings = own.into_iter().chain(address.iter().cloned()).collect();
        let watch = Self { state, prometheus: at(prometheus), alertmanager: at(alertmanager), settings };
        assert!(watch.run("alertmanager", "start") && watch.run("prometheus", "start"));
        watch
    }

    fn run(&self, service: &str, command: &str) -> bool {
        let script = format!("{}/.ci/services/{service}.sh", env!("CARGO_MANIFEST_DIR"));
        let mut run = Command::new("bash");
        run.args([&script, command]).envs(self.settings.iter().map(|(key, value)| (key, value)));
        run.status().unwrap().success()
    }

    /// Answer of Prometheus' API at this path, without its envelope.
    async fn get(&self, path: &str) -> Result<Value, String> {
        let answer = self.prometheus.try_send(Method::GET, path, &[], "").await?;
        let body = serde_json::from_str::<Value>(&answer.text).map_err(|e| format!("{e}: {}", answer.text))?;
        if body["status"] == "success" { Ok(body["data"].clone()) } else { Err(body.to_string()) }
    }

    /// Whether an expression finds data now, or the error.
    async fn finds(&self, expression: &str) -> Result<(), String> {
        let data = self.get(&format!("/api/v1/query?query={}", encode_component(expression))).await?;
        if list(&data, "result").is_empty() { Err("no data".into()) } else { Ok(()) }
    }

    /// The queries that find no data, each with its location.
    async fn without_data(&self, queries: &[(String, String)]) -> Vec<String> {
        let mut wrong = Vec::new();
        for (place, expression) in queries {
            if let Err(cause) = self.finds(expression).await {
                wrong.push(format!("\n{place}: {expression}: {cause}"));
            }
        }
        wrong
    }

    /// Whether Alertmanager has this alert now, for this receiver.
    async fn has_alert(&self, alert: &str, receiver: &str) -> bool {
        let path = format!("/api/v2/alerts?receiver={receiver}&filter={}", encode_component(&format!("alertname=\"{alert}\"")));
        let alerts = self.alertmanager.send(Method::GET, &path, &[], "").await.expect(200).json();
        !alerts.as_array().unwrap().is_empty()
    }
}

impl Drop for Monitoring {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for service in ["prometheus", "alertmanager"] {
                println!("{}", std::fs::read_to_string(self.state.join(format!("{service}.log"))).unwrap_or_default());
            }
        }
        self.run("prometheus", "stop");
        self.run("alertmanager", "stop");
    }
}

/// A query with its variables replaced, for this module.
fn filled(query: &str, module: &str) -> String {
    let values = [("$__rate_interval", "1m"), ("$__range", "1m"), ("$module", module), ("$instance", ".*")];
    let filled = values.iter().fold(query.to_string(), |query, (variable, value)| query.replace(variable, value));
    assert!(!filled.contains('$'), "a variable without a value: {filled}");
    filled
}

/// The queries of all panels, and the series that all variables need, with their locations.
fn of_dashboards() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (file, board) in dashboards() {
        for panel in panels(&board) {
            all.extend(queries(panel).into_iter().map(|query| (format!("{file}, {}", word(panel, "title")), filled(query, "order"))));
        }
        for variable in list(&board["templating"], "list").iter().filter(|variable| variable["type"] == "query") {
            let query = filled(word(&variable["query"], "query"), "order");
            let (selector, label) = query.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap().rsplit_once(", ").unwrap();
            let labelled = selector.replace('}', &format!(r#", {label}!=""}}"#));
            all.push((format!("{file}, variable {}", word(variable, "name")), labelled));
        }
    }
    all
}

/// The metrics that rules record, and the selectors of alerts, with their locations.
fn of_rules(apart_from: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (file, rule) in rules().into_iter().filter(|(file, _)| file != apart_from) {
        let expression = word(&rule, "expr");
        match rule["record"].as_str() {
            Some(name) => all.push((format!("{file}, {name}"), expression.to_string())),
            None => all.extend(selectors(expression).into_iter().map(|selector| (format!("{file}, {}", word(&rule, "alert")), selector))),
        }
    }
    all
}

/// Typical requests, so that most metrics have values.
async fn trade(client: &Client) {
    let placed = client.order(&[("WATCHED", 1)]).await.expect(201).json();
    client.order(&[("WATCHED", 1_000_000)]).await.expect(400);
    client.order(&[("NO-SUCH-SKU", 1)]).await.expect(400);
    let cancel = format!("/api/v1/orders/{}/cancel", placed["id"]);
    client.send(Method::POST, &cancel, &[("authorization", &format!("Bearer {}", client.alice))], "").await.expect(200);
    client.get(&client.alice, "/api/v1/orders").await.expect(200);
    client.get(&client.alice, "/api/v1/notifications").await.expect(200);
}

/// Waits until Prometheus has evaluated every rule without an error.
async fn every_rule_is_evaluated(watch: &Monitoring, expected: usize) {
    wait_for("every rule is evaluated", || async {
        let data = watch.get("/api/v1/rules").await?;
        let rules: Vec<_> = list(&data, "groups").iter().flat_map(|group| list(group, "rules")).collect();
        assert_eq!(rules.len(), expected);
        let wrong: Vec<_> = rules.iter().filter(|rule| rule["health"] != "ok").map(|rule| rule.to_string()).collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    })
    .await;
}

/// Exports spans to an unreachable address: they are still counted.
fn traced(settings: &mut Settings) {
    settings.telemetry.zipkin = Some(Secret::new("http://127.0.0.1:9"));
    settings.telemetry.sample = 1.0;
}

/// Sends requests until all of these queries find data.
async fn all_find(watch: &Monitoring, shop: &Client, queries: Vec<(String, String)>) {
    assert!(queries.len() > 50, "{queries:?}");
    wait_for("every query finds data", || async {
        trade(shop).await;
        let wrong = watch.without_data(&queries).await;
        if wrong.is_empty() { Ok(()) } else { Err(wrong.concat()) }
    })
    .await;
    println!("{} queries found data", queries.len());
}

/// A Spring service that registers with a secure port, as our services do when they serve TLS.
async fn a_service_with_tls_is_asked_by_tls(watch: &Monitoring, shop: &Shop) {
    let registry = shop.client.at(&shop.member(Module::Registry).unwrap());
    let password = std::fs::read_to_string(shop.data.path().join("registry/password")).unwrap();
    let basic = format!("Basic {}", STANDARD.encode(format!("tradepost:{}", password.trim())));
    let instance = json!({ "instance": {
        "instanceId": "basket-1", "app": "BASKET-SERVICE", "hostName": "basket.example", "ipAddr": "192.0.2.7", "status": "UP",
        "port": { "$": 8080, "@enabled": "false" }, "securePort": { "$": 8443, "@enabled": "true" },
        "dataCenterInfo": { "@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo", "name": "MyOwn" },
    } });
    let headers = [("authorization", basic.as_str()), ("content-type", "application/json")];
    registry.send(Method::POST, "/eureka/apps/BASKET-SERVICE", &headers, instance.to_string()).await.expect(204);
    wait_for("the service is a target", || async {
        let data = watch.get("/api/v1/targets").await?;
        let target = list(&data, "activeTargets").iter().find(|target| target["labels"]["module"] == "basket");
        let target = target.ok_or_else(|| data.to_string())?;
        assert_eq!(target["scrapeUrl"], "https://basket.example:8443/actuator/prometheus");
        assert_eq!((&target["labels"]["application"], &target["labels"]["instance"]), (&json!("basket-service"), &json!("basket-1")));
        Ok(())
    })
    .await;
    registry.send(Method::DELETE, "/eureka/apps/BASKET-SERVICE/basket-1", &headers, "").await.expect(200);
}

/// One process per module: all are found through the registry. When stock data is changed directly in the database, the
/// alert fires, and its end is reported as well.
#[test]
#[ignore = "needs Prometheus and Alertmanager: .ci/prometheus.sh"]
fn dashboards_and_rules_find_data_and_a_broken_invariant_alerts() {
    on_system(async {
        let mut shop = Shop::start(Shape::Split, traced).await;
        let registry = shop.member(Module::Registry).unwrap().replace("http://", "");
        let password = shop.data.path().join("registry/password").to_string_lossy().into_owned();
        let watch = Monitoring::start(0, &[("REGISTRY", registry), ("PASSWORD_FILE", password)]);
        shop.client.stocked("WATCHED", "9.99", 100_000).await;

        a_service_with_tls_is_asked_by_tls(&watch, &shop).await;
        for module in Module::ALL.iter().filter(|module| **module != Module::ConfigServer) {
            let up = format!(r#"up{{module="{}"}} == 1"#, module.name());
            wait_for(&format!("{} is scraped", module.name()), || watch.finds(&up)).await;
        }
        every_rule_is_evaluated(&watch, rules().iter().filter(|(file, _)| file != "all-in-one.yml").count()).await;
        all_find(&watch, &shop.client, [of_dashboards(), of_rules("all-in-one.yml")].concat()).await;

        assert!(!watch.has_alert("StockInvariantBroken", "page").await);
        let mut stock = Sql::open(shop.data.path(), "inventory");
        let mut receive = |n: i64| {
            stock.run(&format!(
                "PRAGMA ignore_check_constraints = ON; UPDATE stock SET received = received + {n} WHERE sku_code = 'WATCHED'"
            ))
        };
        receive(1);
        let is_alerted = async |expected: bool| {
            if watch.has_alert("StockInvariantBroken", "page").await == expected { Ok(()) } else { Err(String::new()) }
        };
        wait_for("the alert fires", || is_alerted(true)).await;
        let annotations = dashboards()
            .iter()
            .flat_map(|(file, board)| {
                list(&board["annotations"], "list")
                    .iter()
                    .map(|note| (format!("{file}, annotation"), word(note, "expr").to_string()))
                    .collect::<Vec<_>>()
            })
            .collect::<Vec<_>>();
        assert!(!annotations.is_empty());
        // A failed scrape removes them for a moment.
        wait_for("every annotation finds the alert", || async {
            let wrong = watch.without_data(&annotations).await;
            if wrong.is_empty() { Ok(()) } else { Err(wrong.concat()) }
        })
        .await;
        receive(-1);
        wait_for("the alert is resolved", || is_alerted(false)).await;

        shop.assert_sound().await;
        shop.stop().await;
    });
}

/// All modules in one process, found at its address: the metrics of its server feed the service level objectives.
#[test]
#[ignore = "needs Prometheus and Alertmanager: .ci/prometheus.sh"]
fn dashboards_and_rules_find_data_of_a_shop_in_one_process() {
    on_system(async {
        let mut shop = Shop::start(Shape::Local, traced).await;
        let watch = Monitoring::start(1, &[("SHOP", shop.client.url.replace("http://", ""))]);
        shop.client.stocked("WATCHED", "9.99", 100_000).await;
        wait_for("the shop is scraped", || watch.finds(r#"up{module="all"} == 1"#)).await;
        every_rule_is_evaluated(&watch, rules().iter().filter(|(file, _)| file != "modules.yml").count()).await;
        // Nothing is called over HTTP here.
        let asked = of_rules("modules.yml").into_iter().filter(|(place, _)| !place.contains("module:peer_"));
        all_find(&watch, &shop.client, asked.collect()).await;
        shop.stop().await;
    });
}
