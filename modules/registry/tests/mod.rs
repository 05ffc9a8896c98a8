//! The registry as its clients see it.

mod client;
mod leases;
mod protocol;
mod replication;

use super::{Registry, http};
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

/// A registry whose time the test makes pass.
struct Desk {
    registry: Arc<Registry>,
    time: Arc<AtomicI64>,
    _data: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings { password: Some(Secret::new("pw")), ..Settings::default() };
        change(&mut settings);
        let (data, time) = (tempfile::tempdir().unwrap(), Arc::new(AtomicI64::new(1_000_000)));
        let clock = time.clone();
        let registry = Registry::new(&settings, data.path(), 1 << 20, Arc::new(move || clock.load(Ordering::SeqCst))).unwrap();
        Self { registry: Arc::new(registry), time, _data: data }
    }

    fn pass(&self, seconds: i64) {
        self.time.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    /// An app in this process: a request in, an answer out.
    async fn web(&self) -> Web {
        let app = testing::app(http::endpoints(&self.registry), edge()).await;
        Web(Rc::new(move |request: TestRequest| {
            let app = app.clone();
            Box::pin(async move {
                let (status, headers, body) = app(request).await;
                Answer { status, headers, body: body.to_vec() }
            })
        }))
    }

    /// A real server on this port, or any free one.
    fn listen(&self, port: u16) -> (u16, ServerHandle) {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (endpoints, edge) = (http::endpoints(&self.registry), edge());
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

    fn known(&self) -> usize {
        self.registry.leases().entries().count()
    }
}

fn edge() -> Arc<Edge> {
    Arc::new(testing::edge(testing::NO_ISSUER))
}

fn url(port: u16) -> String {
    format!("http://tradepost:pw@127.0.0.1:{port}/eureka")
}

/// What a Spring Cloud client sends.
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
struct Web(Rc<dyn Fn(TestRequest) -> LocalBoxFuture<'static, Answer>>);

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
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

impl Web {
    async fn send(&self, request: TestRequest) -> Answer {
        (self.0)(request).await
    }

    async fn get(&self, path: &str) -> Answer {
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

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(TestRequest::post().uri(path).insert_header(BASIC).set_json(body)).await
    }

    /// Ids with their status and what became of them, in this answer.
    async fn list(&self, path: &str) -> Vec<(String, String, String)> {
        let answer = self.get(path).await.json();
        let apps = answer["applications"]["application"].as_array().unwrap().clone();
        let all = apps.iter().flat_map(|app| app["instance"].as_array().unwrap());
        let text = |i: &Value, key: &str| i[key].as_str().unwrap().to_string();
        all.map(|i| (text(i, "instanceId"), text(i, "status"), text(i, "actionType"))).collect()
    }

    async fn hash(&self, path: &str) -> String {
        self.get(path).await.json()["applications"]["apps__hashcode"].as_str().unwrap().to_string()
    }
}
