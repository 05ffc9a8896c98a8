//! Hand-made tokens, and a fake issuer that counts requests, becomes unavailable, and rotates its keys.

use crate::support::client::REALM;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{KeyInit, Mac};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::traits::PublicKeyParts;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

/// A key pair with an id.
#[derive(Clone)]
pub struct Key {
    pub kid: String,
    pub rsa: rsa::PrivateKey,
}

/// Key generation is slow: two foreign keys serve all tests.
static MADE: LazyLock<[rsa::PrivateKey; 2]> = LazyLock::new(|| [(); 2].map(|()| rsa::PrivateKey::new(&mut rand::rng(), 2048).unwrap()));

impl Key {
    /// The first or second of two keys that no shop trusts.
    pub fn foreign(index: usize, kid: &str) -> Self {
        Self { kid: kid.into(), rsa: MADE[index].clone() }
    }

    /// The key of a shop's built-in issuer, with the key id of this token.
    pub fn of_shop(data: &Path, token: &str) -> Self {
        let pem = std::fs::read_to_string(data.join("identity/key.pem")).unwrap();
        let kid = jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
        Self { kid, rsa: rsa::PrivateKey::from_pkcs8_pem(&pem).unwrap() }
    }

    /// The public half as a JWK.
    pub fn jwk(&self) -> Value {
        let number = |n: &[u8]| URL_SAFE_NO_PAD.encode(n);
        json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid, "n": number(&self.rsa.n_bytes()), "e": number(&self.rsa.e_bytes()) })
    }

    fn signing(&self) -> EncodingKey {
        EncodingKey::from_rsa_der(self.rsa.to_pkcs1_der().unwrap().as_bytes())
    }

    /// A correctly signed token with these claims.
    pub fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({ "alg": "RS256", "typ": "JWT", "kid": self.kid }), claims)
    }

    /// A token with any header; the signature is always RS256.
    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        let signed = unsigned(header, claims);
        let signature = crypto::sign(signed.as_bytes(), &self.signing(), Algorithm::RS256).unwrap();
        format!("{signed}.{signature}")
    }
}

/// Header and claims of a token, without its signature.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// An HS256 token, signed with a public value as the secret.
pub fn hs256(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let signed = unsigned(header, claims);
    // Signed by hand, because the shop's crypto provider does not support HS256.
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// Seconds since 1970.
pub fn now() -> i64 {
    tradepost::kernel::clock::now_ms() / 1000
}

/// The claims of a valid access token.
pub fn claims(issuer: &str, user: &str, role: &str) -> Value {
    json!({
        "iss": issuer, "aud": ["tradepost", "account"], "azp": "tradepost-demo", "typ": "Bearer", "jti": uuid::Uuid::new_v4().to_string(),
        "sub": format!("id-of-{user}"), "preferred_username": user, "iat": now(), "exp": now() + 600, "realm_access": { "roles": [role] },
    })
}

/// State of the fake issuer.
struct State {
    url: String,
    keys: Mutex<Vec<Key>>,
    unavailable: AtomicBool,
    slow: AtomicBool,
    asked: AtomicUsize,
    waiting: AtomicUsize,
}

/// An issuer on its own port. It signs with the last of its keys and publishes all of them.
#[derive(Clone)]
pub struct Issuer(Arc<State>);

impl Issuer {
    pub fn start(key: Key) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = State {
            url,
            keys: Mutex::new(vec![key]),
            unavailable: AtomicBool::new(false),
            slow: AtomicBool::new(false),
            asked: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
        };
        let issuer = Self(Arc::new(state));
        let shared = issuer.clone();
        let server = HttpServer::new(move || {
            let issuer = shared.clone();
            App::new().default_service(web::route().to(move |request: HttpRequest, form: web::Bytes| {
                let issuer = issuer.clone();
                async move {
                    let answer = issuer.answer(request.path(), &form);
                    issuer.0.waiting.fetch_add(1, Ordering::SeqCst);
                    while issuer.0.slow.load(Ordering::SeqCst) {
                        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                    }
                    issuer.0.waiting.fetch_sub(1, Ordering::SeqCst);
                    answer
                }
            }))
        });
        actix_web::rt::spawn(server.workers(1).disable_signals().listen(listener).unwrap().run());
        issuer
    }

    fn answer(&self, path: &str, form: &[u8]) -> HttpResponse {
        let paths = |name: &str| format!("{}/protocol/openid-connect/{name}", self.url());
        if self.0.unavailable.load(Ordering::SeqCst) {
            return HttpResponse::ServiceUnavailable().finish();
        }
        match path.rsplit('/').next().unwrap_or_default() {
            "openid-configuration" => {
                HttpResponse::Ok().json(json!({ "issuer": self.url(), "jwks_uri": paths("certs"), "token_endpoint": paths("token") }))
            }
            "certs" => {
                self.0.asked.fetch_add(1, Ordering::SeqCst);
                HttpResponse::Ok().json(json!({ "keys": self.0.keys.lock().unwrap().iter().map(Key::jwk).collect::<Vec<_>>() }))
            }
            "token" if String::from_utf8_lossy(form).contains("username=admin") => {
                HttpResponse::Ok().json(json!({ "access_token": self.token("admin", "admin"), "expires_in": 600 }))
            }
            "token" => HttpResponse::Ok().json(json!({ "access_token": self.token("alice", "customer"), "expires_in": 600 })),
            _ => HttpResponse::NotFound().finish(),
        }
    }

    /// The base address at which test clients request tokens.
    pub fn base(&self) -> &str {
        &self.0.url
    }

    /// `iss`.
    pub fn url(&self) -> String {
        format!("{}{REALM}", self.0.url)
    }

    /// A new token, signed with the newest key.
    pub fn token(&self, user: &str, role: &str) -> String {
        let key = self.0.keys.lock().unwrap().last().unwrap().clone();
        key.token(&claims(&self.url(), user, role))
    }

    /// Whether every answer is 503.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.0.unavailable.store(unavailable, Ordering::SeqCst);
    }

    /// Whether requests block until this is false again.
    pub fn set_slow(&self, slow: bool) {
        self.0.slow.store(slow, Ordering::SeqCst);
    }

    pub fn set_keys(&self, keys: Vec<Key>) {
        *self.0.keys.lock().unwrap() = keys;
    }

    /// Number of blocked requests.
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::SeqCst)
    }

    /// Number of requests for the keys.
    pub fn asked(&self) -> usize {
        self.0.asked.load(Ordering::SeqCst)
    }
}
