//! Tests of the registry through its HTTP endpoints.

mod client;
mod leases;
mod protocol;
mod replication;

use super::http;
use super::state::Registry;
use crate::edge::web::{Edge, configure, testing};
use crate::kernel::ports::free_port;
use crate::settings::{Registry as Settings, Secret};
use actix_web::dev::{Server, ServerHandle};
use actix_web::http::header::HeaderMap;
use actix_web::test::TestRequest;
use actix_web::{App, HttpServer};
use futures_util::future::LocalBoxFuture;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// A registry with a clock that only the test advances.
struct TestRegistry {
    state: Arc<Registry>,
    time: Arc<AtomicI64>,
    _data: tempfile::TempDir,
}

impl TestRegistry {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings { password: Some(Secret::new("pw")), ..Settings::default() };
        change(&mut settings);
        let (data, time) = (tempfile::tempdir().unwrap(), Arc::new(AtomicI64::new(1_000_000)));
        let clock = time.clone();
        let state = Registry::new(&settings, data.path(), 1 << 20, Arc::new(move || clock.load(Ordering::SeqCst))).unwrap();
        Self { state: Arc::new(state), time, _data: data }
    }

    fn advance(&self, seconds: i64) {
        self.time.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    /// A client that calls the endpoints without a network.
    async fn client(&self) -> TestClient {
        let app = testing::app(http::endpoints(&self.state), edge()).await;
        TestClient(Rc::new(move |request: TestRequest| {
            let app = app.clone();
            Box::pin(async move {
                let (status, headers, body) = app(request).await;
                Response { status, headers, body: body.to_vec() }
            })
        }))
    }

    /// Starts an HTTP server; port 0 is any free port.
    fn listen(&self, port: u16) -> (u16, ServerHandle) {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (endpoints, edge) = (http::endpoints(&self.state), edge());
        let server: Server = HttpServer::new(move || {
            let (endpoints, edge) = (endpoints.clone(), edge.clone());
            App::new().configure(move |c| configure(c, &endpoints, &edge))
        })
        .workers(1)
        .disable_signals()
        .listen(listener)
        .unwrap()
        .run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        (port, handle)
    }

    fn count(&self) -> usize {
        self.state.leases().entries().count()
    }
}

fn edge() -> Arc<Edge> {
    Arc::new(testing::edge(testing::NO_ISSUER))
}

fn url(port: u16) -> String {
    format!("http://tradepost:pw@127.0.0.1:{port}/eureka")
}

/// The registration of a Spring Cloud client.
fn instance(app: &str, id: &str, dirty: i64) -> Value {
    json!({
        "instanceId": id, "hostName": "host.test", "app": app, "ipAddr": "10.0.0.7", "status": "UP", "overriddenStatus": "UNKNOWN",
        "port": {"$": 8080, "@enabled": "true"}, "securePort": {"$": 443, "@enabled": "false"}, "countryId": 1,
        "dataCenterInfo": {"@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo", "name": "MyOwn"},
        "leaseInfo": {"renewalIntervalInSecs": 30, "durationInSecs": 90, "registrationTimestamp": 0, "lastRenewalTimestamp": 0, "evictionTimestamp": 0, "serviceUpTimestamp": 0},
        "metadata": {"zone": "<b>z1</b>", "management.port": "8081"}, "homePageUrl": "http://host.test:8080/",
        "statusPageUrl": "javascript:alert(1)", "healthCheckUrl": "http://host.test:8080/actuator/health",
        "vipAddress": app.to_lowercase(), "secureVipAddress": app.to_lowercase(), "isCoordinatingDiscoveryServer": "false",
        "lastUpdatedTimestamp": dirty.to_string(), "lastDirtyTimestamp": dirty.to_string()
    })
}

#[derive(Clone)]
struct TestClient(Rc<dyn Fn(TestRequest) -> LocalBoxFuture<'static, Response>>);

#[derive(Debug)]
struct Response {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Response {
    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|v| v.to_str().unwrap()).unwrap_or_default()
    }
}

/// `tradepost:pw`
const BASIC: (&str, &str) = ("authorization", "Basic dHJhZGVwb3N0OnB3");

impl TestClient {
    async fn send(&self, request: TestRequest) -> Response {
        (self.0)(request).await
    }

    async fn get(&self, path: &str) -> Response {
        self.send(TestRequest::get().uri(path).insert_header(("accept", "application/json"))).await
    }

    async fn put(&self, path: &str) -> u16 {
        self.send(TestRequest::put().uri(path).insert_header(BASIC)).await.status
    }

    async fn delete(&self, path: &str) -> u16 {
        self.send(TestRequest::delete().uri(path).insert_header(BASIC)).await.status
    }

    async fn register(&self, instance: Value) -> u16 {
        let path = format!("/eureka/apps/{}", instance["app"].as_str().unwrap());
        self.post(&path, json!({ "instance": instance })).await.status
    }

    async fn post(&self, path: &str, body: Value) -> Response {
        self.send(TestRequest::post().uri(path).insert_header(BASIC).set_json(body)).await
    }

    /// Id, status and action type of each instance in the response.
    async fn list(&self, path: &str) -> Vec<(String, String, String)> {
        let response = self.get(path).await.json();
        let apps = response["applications"]["application"].as_array().unwrap().clone();
        let all = apps.iter().flat_map(|app| app["instance"].as_array().unwrap());
        let text = |i: &Value, key: &str| i[key].as_str().unwrap().to_string();
        all.map(|i| (text(i, "instanceId"), text(i, "status"), text(i, "actionType"))).collect()
    }

    async fn hash(&self, path: &str) -> String {
        self.get(path).await.json()["applications"]["apps__hashcode"].as_str().unwrap().to_string()
    }
}
