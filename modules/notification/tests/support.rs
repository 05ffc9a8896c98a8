//! A running module, and receivers for its deliveries.

use super::super::api::NotificationApi;
use super::super::assemble;
use super::super::store::{self, NotificationStore};
use crate::events::bus::local::LocalBus;
use crate::events::bus::{Bus, Consumer};
use crate::events::event::Event;
use crate::observe::trace::Trace;
use crate::rpc::context::{Caller, Cx, Principal};
use crate::rpc::contract::Endpoint;
use crate::runtime::{Parts, RunningServices};
use crate::settings::{Notification, Secret, Settings, Webhook};
use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::rt::task::JoinHandle;
use actix_web::web::{self, Bytes};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Far longer than any step takes; exceeding it fails the test.
pub(super) const TEST_TIMEOUT: Duration = Duration::from_secs(30);
const KEY: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A module with its workers and its consumer on a separate bus.
pub(super) struct Running {
    pub(super) api: Arc<dyn NotificationApi>,
    pub(super) store: Arc<dyn NotificationStore>,
    pub(super) bus: Arc<LocalBus>,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) consumer: Arc<dyn Consumer>,
    pub(super) stop: CancellationToken,
    services: Option<RunningServices>,
    feeding: Option<JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Running {
    pub(super) fn start(settings: &Notification) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut store_settings = Settings::default();
        store_settings.data.dir = dir.path().into();
        let store = store::open(&store_settings, &Default::default(), &mut Parts::default()).unwrap();
        let bus = Arc::new(LocalBus::open(&dir.path().join("bus.db")).unwrap());
        let ((api, mut parts), stop) = {
            let stop = CancellationToken::new();
            (assemble(store.clone(), settings, stop.clone()).unwrap(), stop)
        };
        let services = Some(parts.services.start());
        let consumer = parts.consumers.pop().unwrap();
        let (feed, subscriber, until) = (bus.clone(), consumer.clone(), stop.clone());
        let feeding = Some(actix_web::rt::spawn(async move { feed.consume(subscriber, until).await }));
        Self { api, store, bus, endpoints: parts.endpoints, consumer, stop, services, feeding, _dir: dir }
    }

    pub(super) async fn publish(&self, events: &[&Event]) {
        self.bus.publish(events.iter().map(|event| (*event).clone()).collect()).await.unwrap();
    }

    /// Waits until the check returns a value; runs it after each commit.
    pub(super) async fn until<T>(&self, check: impl AsyncFn(&Self) -> Option<T>) -> T {
        let wait = async {
            loop {
                let committed = self.store.next_commit();
                if let Some(found) = check(self).await {
                    return found;
                }
                committed.await;
            }
        };
        tokio::time::timeout(TEST_TIMEOUT, wait).await.expect("the store did not reach the expected state")
    }

    /// Stops all workers; fails if one does not end.
    pub(super) async fn stop(mut self) {
        self.stop_workers().await;
    }

    /// Like `stop`, but the store stays open.
    pub(super) async fn stop_workers(&mut self) {
        self.stop.cancel();
        if let Some(feeding) = self.feeding.take() {
            tokio::time::timeout(TEST_TIMEOUT, feeding).await.expect("the bus did not stop feeding the consumer").unwrap();
        }
        if let Some(services) = self.services.take() {
            assert_eq!(services.stop(TEST_TIMEOUT).await, [""; 0], "services did not stop");
        }
    }
}

/// The context of a call with this subject's token.
pub(super) fn cx(subject: &str) -> Cx {
    let principal = Principal { subject: subject.into(), username: subject.into(), email: None, roles: vec![], token: String::new() };
    Cx { caller: Caller::User(Arc::new(principal)), deadline: Instant::now() + TEST_TIMEOUT, trace: Trace::start() }
}

pub(super) fn order_data(customer: &str, name: &str, email: Option<&str>) -> Value {
    json!({
        "orderNumber": Uuid::new_v4(),
        "customer": { "id": customer, "name": name, "email": email, "segment": "unknown to the module" },
        "lines": [{ "skuCode": "SKU-1", "quantity": 2, "price": 10.5 }, { "skuCode": "SKU-2", "quantity": 1, "price": null }],
        "total": 21,
        "reason": null,
    })
}

pub(super) fn event(kind: &str, data: &Value) -> Event {
    let subject = data.get("orderNumber").and_then(Value::as_str).unwrap_or("x").to_string();
    Event::new(kind.split('.').next().unwrap(), kind, subject, Trace::start(), data).unwrap()
}

pub(super) fn placed(customer: &str) -> Event {
    event("order.placed", &order_data(customer, "Jane", None))
}

/// A request that a webhook received.
pub(super) struct Received {
    pub(super) path: String,
    pub(super) headers: HashMap<String, String>,
    pub(super) body: String,
}

impl Received {
    /// Verifies a request as Standard Webhooks requires, without the sender's code.
    pub(super) fn verify(&self) {
        let (id, timestamp) = (&self.headers["webhook-id"], &self.headers["webhook-timestamp"]);
        let age =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().abs_diff(timestamp.parse().unwrap());
        assert!(age < 300, "the timestamp is not now: {timestamp}");
        let signature = self.headers["webhook-signature"].strip_prefix("v1,").unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&STANDARD.decode(KEY).unwrap()).unwrap();
        mac.update(id.as_bytes());
        mac.update(b".");
        mac.update(timestamp.as_bytes());
        mac.update(b".");
        mac.update(self.body.as_bytes());
        mac.verify_slice(&STANDARD.decode(signature).unwrap()).expect("the signature is wrong");
    }
}

/// A status with headers.
type ScriptedResponse = (u16, &'static [(&'static str, &'static str)]);

/// A webhook server that responses as scripted, then with 204.
pub(super) struct Receiver {
    pub(super) url: String,
    pub(super) received: mpsc::UnboundedReceiver<Received>,
    server: ServerHandle,
}

impl Receiver {
    pub(super) fn start(responses: &[ScriptedResponse]) -> Self {
        let script = web::Data::new(Mutex::new(responses.iter().copied().collect::<VecDeque<_>>()));
        let (sender, received) = mpsc::unbounded_channel();
        let handler = move |request: HttpRequest, body: Bytes, script: web::Data<Mutex<VecDeque<ScriptedResponse>>>| {
            let headers = request.headers().iter().map(|(k, v)| (k.to_string(), v.to_str().unwrap().to_string())).collect();
            let body = String::from_utf8(body.to_vec()).unwrap();
            let _ = sender.send(Received { path: request.path().into(), headers, body });
            let (status, headers) = script.lock().unwrap().pop_front().unwrap_or((204, &[]));
            let mut response = HttpResponse::build(StatusCode::from_u16(status).unwrap());
            headers.iter().for_each(|header| {
                response.insert_header(*header);
            });
            async move { response.finish() }
        };
        let app = move || App::new().app_data(script.clone()).default_service(web::to(handler.clone()));
        let server = HttpServer::new(app).workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Self { url, received, server: handle }
    }

    pub(super) fn settings(&self, events: &[&str]) -> Webhook {
        let events = events.iter().map(|event| event.to_string()).collect();
        Webhook { url: format!("{}/hook?code=hidden", self.url), secret: Secret::new(format!("whsec_{KEY}")), events }
    }

    pub(super) async fn next(&mut self) -> Received {
        tokio::time::timeout(TEST_TIMEOUT, self.received.recv()).await.expect("the webhook was not called").unwrap()
    }

    pub(super) async fn stop(self) {
        self.server.stop(false).await;
    }
}

/// Settings with a backoff of 1 ms.
pub(super) fn test_settings(attempts: u32, webhooks: Vec<Webhook>) -> Notification {
    Notification { attempts, backoff_ms: 1, webhooks, ..Notification::default() }
}
