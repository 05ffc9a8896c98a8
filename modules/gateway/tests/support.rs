//! An upstream that tells what it saw, which is also the issuer of tokens; and a gateway in front of it.

use super::super::{Built, build};
use crate::edge::web::{Edge, before, configure, testing};
use crate::kernel::clock::now_ms;
use crate::rpc::discovery::{Discovery, Fixed, Picked};
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

/// Of the issuer that stands for all upstreams here, made anew for each run.
static KEY: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::new(&mut rand::rng(), 2048).unwrap());

/// Nothing here takes so long; a test that waits for this has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What an upstream has seen.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) targets: Mutex<Vec<String>>,
    pub(super) calls: AtomicUsize,
    /// `/flaky` fails so often before it succeeds.
    pub(super) failures: AtomicUsize,
    /// Pieces of `/big`, 64 KiB each, that were taken off it.
    pub(super) pieces: AtomicUsize,
    /// Lets `/events` go on.
    pub(super) go_on: CancellationToken,
}

pub(super) struct Upstream {
    pub(super) url: String,
    pub(super) seen: Arc<Seen>,
}

fn answer(name: String, seen: web::Data<Seen>, request: HttpRequest, body: Bytes) -> HttpResponse {
    seen.calls.fetch_add(1, Ordering::SeqCst);
    seen.targets.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
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
        let seen = web::Data::new(Seen::default());
        let (name, issuer, shared) = (name.to_string(), url.clone(), seen.clone());
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
                .route("/big", web::to(async |seen: web::Data<Seen>| {
                    let pieces = stream::repeat(Bytes::from(vec![7_u8; 1 << 16])).take(1024);
                    HttpResponse::Ok().streaming(pieces.map(move |piece| {
                        seen.pieces.fetch_add(1, Ordering::SeqCst);
                        Ok::<_, std::io::Error>(piece)
                    }))
                }))
                .route("/sink", web::post().to(async |mut payload: web::Payload| {
                    let mut size = 0;
                    while let Some(Ok(piece)) = payload.next().await {
                        size += piece.len();
                    }
                    HttpResponse::Ok().body(size.to_string())
                }))
                .route("/events", web::get().to(async |seen: web::Data<Seen>| {
                    let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"data: first\n\n"))]);
                    let second = stream::once(async move {
                        seen.go_on.cancelled().await;
                        Ok(Bytes::from_static(b"data: second\n\n"))
                    });
                    HttpResponse::Ok().content_type("text/event-stream").streaming(first.chain(second))
                }))
                .route("/flaky", web::to(async |seen: web::Data<Seen>| {
                    seen.calls.fetch_add(1, Ordering::SeqCst);
                    let left = seen.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
                    if left.is_ok() { HttpResponse::InternalServerError().finish() } else { HttpResponse::Ok().body("at last") }
                }))
                .route("/slow", web::get().to(async || {
                    tokio::time::sleep(Duration::from_secs(20)).await;
                    "late"
                }))
                // not WebSocket but its tunnel: bytes come back as they are
                .route("/ws", web::get().to(async |payload: web::Payload| {
                    HttpResponse::SwitchingProtocols().upgrade("websocket").insert_header(("sec-websocket-accept", "x")).streaming(payload)
                }))
                .default_service(web::to(move |seen: web::Data<Seen>, request: HttpRequest, body: Bytes| {
                    let name = name.clone();
                    async move { answer(name, seen, request, body) }
                }))
        })
        .workers(1)
        .disable_signals()
        .listen(listener)
        .unwrap()
        .run();
        actix_web::rt::spawn(server);
        Self { url, seen: seen.into_inner() }
    }

    pub(super) fn targets(&self) -> Vec<String> {
        self.seen.targets.lock().unwrap().clone()
    }

    pub(super) fn calls(&self) -> usize {
        self.seen.calls.load(Ordering::SeqCst)
    }

    /// An access token of this issuer.
    pub(super) fn token(&self, subject: &str, roles: &[&str]) -> String {
        let now = now_ms() / 1000;
        let claims = json!({ "iss": self.url, "aud": "tradepost", "sub": subject, "typ": "Bearer", "iat": now, "exp": now + 600,
            "realm_access": { "roles": roles } });
        let header = Header { kid: Some("k".into()), ..Header::new(Algorithm::RS256) };
        encode(&header, &claims, &EncodingKey::from_rsa_der(KEY.to_pkcs1_der().unwrap().as_bytes())).unwrap()
    }
}

pub(super) struct Front {
    pub(super) address: SocketAddr,
    pub(super) url: String,
    pub(super) metrics: prometheus::Registry,
    pub(super) file: std::path::PathBuf,
    pub(super) dir: tempfile::TempDir,
}

/// Addresses by name; of `pair` the first instance is dead, and taken unless it is to be avoided.
struct Known(Fixed);

impl Discovery for Known {
    fn pick(&self, module: &str, avoid: Option<&str>) -> Option<Picked> {
        match module {
            "pair" if avoid.is_none() => self.0.pick("gone", None),
            "pair" => self.0.pick("product", None),
            other => self.0.pick(other, avoid),
        }
    }
}

/// A gateway with these routes, `URL` in them standing for the upstream's; every path is public where
/// `public` is empty.
pub(super) fn front(upstream: &Upstream, routes: &str, public: &[&str], change: impl FnOnce(&mut Settings)) -> Front {
    let services = ["product", "billing", "registry", "gone"].map(|name| {
        let url = if name == "gone" { "http://127.0.0.1:1".to_string() } else { upstream.url.clone() };
        (name.to_string(), url)
    });
    front_on(upstream, routes, public, change, Arc::new(Known(Fixed(services.into()))))
}

/// The same where instances are found like this.
pub(super) fn front_on(
    upstream: &Upstream,
    routes: &str,
    public: &[&str],
    change: impl FnOnce(&mut Settings),
    discovery: Arc<dyn Discovery>,
) -> Front {
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
    let Built { mut parts, door } = build(&host, discovery, &[], peers.breakers.clone()).unwrap();
    // its time-out is longer than `/slow` takes: that is late by a route's own limit or not at all
    let edge = Arc::new(Edge { origins: vec!["*".into()], door: Some(door), ..testing::edge(&upstream.url) });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    parts.endpoints.extend(peers.parts().endpoints);
    let endpoints: Arc<[_]> = parts.endpoints.into();
    let server = HttpServer::new(move || {
        let (endpoints, edge, first) = (endpoints.clone(), edge.clone(), edge.clone());
        let app = App::new().wrap_fn(move |mut request, next| {
            before(&mut request, &first);
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
    for (_, worker) in parts.workers {
        actix_web::rt::spawn(worker(CancellationToken::new()));
    }
    Front { address, url: format!("http://{address}"), metrics: host.metrics, file, dir }
}

/// One route for everything under `/`.
pub(super) fn one(filters: &str) -> String {
    format!(
        "spring:\n  cloud:\n    gateway:\n      routes:\n      - id: one\n        uri: URL\n        predicates:\n        - Path=/**\n        filters: [{filters}]\n"
    )
}

pub(super) struct Got {
    pub(super) status: u16,
    pub(super) headers: actix_web::http::header::HeaderMap,
    pub(super) body: Bytes,
}

impl Got {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {} {:?}", self.status, self.body))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

impl Front {
    pub(super) fn request(&self, method: &str, path: &str) -> awc::ClientRequest {
        let client = awc::Client::builder().disable_redirects().timeout(PATIENCE).finish();
        client.request(method.parse().unwrap(), format!("{}{path}", self.url))
    }

    pub(super) async fn send(&self, request: awc::ClientRequest) -> Got {
        got(request.send().await.unwrap()).await
    }

    pub(super) async fn get(&self, path: &str) -> Got {
        self.send(self.request("GET", path)).await
    }

    /// Writes these bytes to a fresh connection and reads until it is closed.
    pub(super) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let mut read = BytesMut::new();
        let end = async { while stream.read_buf(&mut read).await.is_ok_and(|n| n > 0) {} };
        tokio::time::timeout(PATIENCE, end).await.expect("the connection was not closed");
        String::from_utf8_lossy(&read).into_owned()
    }
}

pub(super) async fn got(
    mut response: awc::ClientResponse<impl futures_util::Stream<Item = Result<Bytes, actix_web::error::PayloadError>> + Unpin>,
) -> Got {
    let body = response.body().limit(1 << 27).await.unwrap();
    Got { status: response.status().as_u16(), headers: response.headers().clone(), body }
}
