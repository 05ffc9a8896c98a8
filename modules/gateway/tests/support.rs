//! An upstream that records its requests and issues tokens, and a gateway in front of it.

use super::super::{Built, build};
use crate::edge::web::{Edge, configure, prepare_request, testing};
use crate::kernel::clock::now_ms;
use crate::rpc::discovery::{Discovery, PickedInstance, StaticDiscovery};
use crate::rpc::resilience::Peers;
use crate::runtime::Host;
use crate::settings::Settings;
use actix_web::dev::Service;
use actix_web::web::{self, Bytes, BytesMut};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{StreamExt, stream};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rsa::PrivateKey;
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::traits::PublicKeyParts;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Signing key of the issuer, generated once per run.
static KEY: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::new(&mut rand::rng(), 2048).unwrap());

/// A test that waits this long has failed.
pub(super) const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Requests that an upstream received, and its behaviour.
#[derive(Default)]
pub(super) struct Recorded {
    pub(super) targets: Mutex<Vec<String>>,
    pub(super) calls: AtomicUsize,
    /// Failures of `/flaky` before it succeeds.
    pub(super) failures: AtomicUsize,
    /// Chunks of `/big` sent, 64 KiB each.
    pub(super) chunks_sent: AtomicUsize,
    /// Releases the second event of `/events`.
    pub(super) release_event: CancellationToken,
}

pub(super) struct Upstream {
    pub(super) url: String,
    pub(super) recorded: Arc<Recorded>,
}

fn echo(name: String, recorded: web::Data<Recorded>, request: HttpRequest, body: Bytes) -> HttpResponse {
    recorded.calls.fetch_add(1, Ordering::SeqCst);
    recorded.targets.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
    let mut headers = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in request.headers() {
        headers.entry(name.to_string()).or_default().push(String::from_utf8_lossy(value.as_bytes()).into());
    }
    let target = request.uri().to_string();
    HttpResponse::Ok()
        .append_header(("x-twice", "a"))
        .append_header(("x-twice", "b"))
        .json(json!({ "name": name, "method": request.method().as_str(), "target": target, "headers": headers, "body": body.len() }))
}

impl Upstream {
    pub(super) fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("http://{address}");
        let recorded = web::Data::new(Recorded::default());
        let (name, issuer, shared) = (name.to_string(), url.clone(), recorded.clone());
        let server = HttpServer::new(move || {
            let (name, issuer) = (name.clone(), issuer.clone());
            App::new()
                .app_data(shared.clone())
                .app_data(web::PayloadConfig::new(1 << 16))
                .route("/.well-known/openid-configuration", web::get().to(move || {
                    let issuer = issuer.clone();
                    async move { web::Json(json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/certs"), "token_endpoint": format!("{issuer}/token") })) }
                }))
                .route("/certs", web::get().to(async || {
                    web::Json(json!({ "keys": [{ "kty": "RSA", "kid": "k", "alg": "RS256", "use": "sig",
                        "n": URL_SAFE_NO_PAD.encode(KEY.n_bytes()), "e": URL_SAFE_NO_PAD.encode(KEY.e_bytes()) }] }))
                }))
                .route("/big", web::to(async |recorded: web::Data<Recorded>| {
                    let chunks = stream::repeat(Bytes::from(vec![7_u8; 1 << 16])).take(1024);
                    HttpResponse::Ok().streaming(chunks.map(move |chunk| {
                        recorded.chunks_sent.fetch_add(1, Ordering::SeqCst);
                        Ok::<_, std::io::Error>(chunk)
                    }))
                }))
                .route("/sink", web::post().to(async |mut payload: web::Payload| {
                    let mut size = 0;
                    while let Some(Ok(chunk)) = payload.next().await {
                        size += chunk.len();
                    }
                    HttpResponse::Ok().body(size.to_string())
                }))
                .route("/events", web::get().to(async |recorded: web::Data<Recorded>| {
                    let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"data: first\n\n"))]);
                    let second = stream::once(async move {
                        recorded.release_event.cancelled().await;
                        Ok(Bytes::from_static(b"data: second\n\n"))
                    });
                    HttpResponse::Ok().content_type("text/event-stream").streaming(first.chain(second))
                }))
                .route("/flaky", web::to(async |recorded: web::Data<Recorded>| {
                    recorded.calls.fetch_add(1, Ordering::SeqCst);
                    let left = recorded.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
                    if left.is_ok() { HttpResponse::InternalServerError().finish() } else { HttpResponse::Ok().body("at last") }
                }))
                .route("/slow", web::get().to(async || {
                    tokio::time::sleep(Duration::from_secs(20)).await;
                    "late"
                }))
                // a tunnel that echoes bytes, without WebSocket frames
                .route("/ws", web::get().to(async |payload: web::Payload| {
                    HttpResponse::SwitchingProtocols().upgrade("websocket").insert_header(("sec-websocket-accept", "x")).streaming(payload)
                }))
                .default_service(web::to(move |recorded: web::Data<Recorded>, request: HttpRequest, body: Bytes| {
                    let name = name.clone();
                    async move { echo(name, recorded, request, body) }
                }))
        })
        .workers(1)
        .disable_signals()
        .listen(listener)
        .unwrap()
        .run();
        actix_web::rt::spawn(server);
        Self { url, recorded: recorded.into_inner() }
    }

    pub(super) fn targets(&self) -> Vec<String> {
        self.recorded.targets.lock().unwrap().clone()
    }

    pub(super) fn calls(&self) -> usize {
        self.recorded.calls.load(Ordering::SeqCst)
    }

    pub(super) fn token(&self, subject: &str, roles: &[&str]) -> String {
        let now = now_ms() / 1000;
        let claims = json!({ "iss": self.url, "aud": "tradepost", "sub": subject, "typ": "Bearer", "iat": now, "exp": now + 600,
            "realm_access": { "roles": roles } });
        let header = Header { kid: Some("k".into()), ..Header::new(Algorithm::RS256) };
        encode(&header, &claims, &EncodingKey::from_rsa_der(KEY.to_pkcs1_der().unwrap().as_bytes())).unwrap()
    }
}

pub(super) struct TestGateway {
    pub(super) address: SocketAddr,
    pub(super) url: String,
    pub(super) metrics: prometheus::Registry,
    pub(super) file: std::path::PathBuf,
    pub(super) dir: tempfile::TempDir,
}

/// Fixed addresses by name. The service `pair` has an unreachable instance, picked first, and a healthy one.
struct FixedWithPair(StaticDiscovery);

impl Discovery for FixedWithPair {
    fn pick(&self, module: &str, avoid: Option<&str>) -> Option<PickedInstance> {
        match module {
            "pair" if avoid.is_none() => self.0.pick("gone", None),
            "pair" => self.0.pick("product", None),
            other => self.0.pick(other, avoid),
        }
    }
}

/// Starts a gateway with these routes; `URL` in them is replaced by the upstream's URL. With an empty `public`,
/// every path is public.
pub(super) fn start_gateway(upstream: &Upstream, routes: &str, public: &[&str], change: impl FnOnce(&mut Settings)) -> TestGateway {
    let services = ["product", "billing", "registry", "gone"].map(|name| {
        let url = if name == "gone" { "http://127.0.0.1:1".to_string() } else { upstream.url.clone() };
        (name.to_string(), url)
    });
    start_gateway_with_discovery(upstream, routes, public, change, Arc::new(FixedWithPair(StaticDiscovery(services.into()))))
}

/// Like `start_gateway`, with this discovery.
pub(super) fn start_gateway_with_discovery(
    upstream: &Upstream,
    routes: &str,
    public: &[&str],
    change: impl FnOnce(&mut Settings),
    discovery: Arc<dyn Discovery>,
) -> TestGateway {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("routes.yml");
    std::fs::write(&file, routes.replace("URL", &upstream.url)).unwrap();
    let mut settings = Settings::default();
    settings.gateway.routes = (!routes.is_empty()).then(|| file.clone());
    settings.gateway.public = if public.is_empty() { vec!["/**".into()] } else { public.iter().map(|p| p.to_string()).collect() };
    change(&mut settings);
    let host = Host {
        settings: Arc::new(settings),
        public_url: String::new(),
        bus: None,
        metrics: prometheus::Registry::new(),
        draining: Default::default(),
    };
    let peers = Peers::new(Default::default(), &host.metrics).unwrap();
    let Built { mut parts, middleware } = build(&host, discovery, &[], peers.breakers.clone()).unwrap();
    // longer than `/slow` takes: only a route's own time-out ends a request to it
    let edge = Arc::new(Edge { origins: vec!["*".into()], gateway: Some(middleware), ..testing::edge(&upstream.url) });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    parts.endpoints.extend(crate::ops::resilience::parts(&peers.breakers).endpoints);
    let endpoints: Arc<[_]> = parts.endpoints.into();
    let server = HttpServer::new(move || {
        let (endpoints, edge, first) = (endpoints.clone(), edge.clone(), edge.clone());
        let app = App::new().wrap_fn(move |mut request, next| {
            prepare_request(&mut request, &first);
            next.call(request)
        });
        app.configure(move |app| configure(app, &endpoints, &edge))
    })
    .workers(1)
    .disable_signals()
    .client_request_timeout(Duration::from_secs(30))
    .listen_auto_h2c(listener)
    .unwrap()
    .run();
    actix_web::rt::spawn(server);
    // they run until the test's system ends
    drop(parts.services.start());
    TestGateway { address, url: format!("http://{address}"), metrics: host.metrics, file, dir }
}

/// A document with one route for all paths.
pub(super) fn single_route(filters: &str) -> String {
    format!(
        "spring:\n  cloud:\n    gateway:\n      routes:\n      - id: one\n        uri: URL\n        predicates:\n        - Path=/**\n        filters: [{filters}]\n"
    )
}

pub(super) struct TestResponse {
    pub(super) status: u16,
    pub(super) headers: actix_web::http::header::HeaderMap,
    pub(super) body: Bytes,
}

impl TestResponse {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {} {:?}", self.status, self.body))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

impl TestGateway {
    pub(super) fn request(&self, method: &str, path: &str) -> awc::ClientRequest {
        let client = awc::Client::builder().disable_redirects().timeout(TEST_TIMEOUT).finish();
        client.request(method.parse().unwrap(), format!("{}{path}", self.url))
    }

    pub(super) async fn send(&self, request: awc::ClientRequest) -> TestResponse {
        read_response(request.send().await.unwrap()).await
    }

    pub(super) async fn get(&self, path: &str) -> TestResponse {
        self.send(self.request("GET", path)).await
    }

    /// Sends bytes over a new connection and reads until the gateway closes it.
    pub(super) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let mut read = BytesMut::new();
        let read_to_end = async { while stream.read_buf(&mut read).await.is_ok_and(|n| n > 0) {} };
        tokio::time::timeout(TEST_TIMEOUT, read_to_end).await.expect("the connection was not closed");
        String::from_utf8_lossy(&read).into_owned()
    }
}

pub(super) async fn read_response(
    mut response: awc::ClientResponse<impl futures_util::Stream<Item = Result<Bytes, actix_web::error::PayloadError>> + Unpin>,
) -> TestResponse {
    let body = response.body().limit(1 << 27).await.unwrap();
    TestResponse { status: response.status().as_u16(), headers: response.headers().clone(), body }
}
