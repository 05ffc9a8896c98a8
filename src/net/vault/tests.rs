//! Cases that a real Vault does not produce on demand: cluster states, and responses of other servers. `tests/vault`
//! has the tests with a real Vault.

use super::Vault;
use crate::settings::{Secret, Tls, Vault as Settings, VaultAuth};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;

/// Answers by path and records requests.
struct FakeVault {
    url: String,
    requests: Arc<Mutex<Vec<(String, Value)>>>,
}

impl FakeVault {
    fn start(answer: fn(&str) -> (u16, Value)) -> Self {
        let requests: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let recorded = requests.clone();
        let server = HttpServer::new(move || {
            let recorded = recorded.clone();
            App::new().default_service(web::to(move |request: HttpRequest, body: web::Bytes| {
                let (status, answer) = answer(request.path());
                recorded.lock().push((request.path().into(), serde_json::from_slice(&body).unwrap_or_default()));
                std::future::ready(HttpResponse::build(status.try_into().unwrap()).json(answer))
            }))
        });
        let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        actix_web::rt::spawn(server.run());
        Self { url, requests }
    }

    fn bodies(&self, path: &str) -> Vec<Value> {
        self.requests.lock().iter().filter(|(requested, _)| requested == path).map(|(_, body)| body.clone()).collect()
    }
}

fn token_settings() -> Settings {
    Settings { token: Some(Secret::new("not-a-secret")), ..Settings::default() }
}

async fn read_error(url: &str, settings: &Settings) -> (bool, String) {
    let vault = Vault::open(url, settings, &Tls::default()).unwrap();
    let cause = vault.read("secret", "order-service", None).await.unwrap_err();
    assert!(!cause.to_string().contains("not-a-secret"), "{cause}");
    (cause.is_transient, cause.to_string())
}

/// `sys/health` answers `state`, any other path `other`.
fn state_or(path: &str, state: u16, (other, error): (u16, &str)) -> (u16, Value) {
    match path {
        "/v1/sys/health" => (state, json!({ "initialized": true, "version": "1.21.4" })),
        _ => (other, json!({ "errors": [error] })),
    }
}

/// The status of `sys/health` is Vault's state (Vault API, `/sys/health`); other paths answer 500 or 503.
#[actix_web::test]
async fn unavailable_vault_is_transient_error_with_its_state() {
    for (server, expected) in [
        (FakeVault::start(|path| state_or(path, 429, (500, "no active node"))), "standby"),
        (FakeVault::start(|path| state_or(path, 501, (503, "not now"))), "vault operator init"),
        (FakeVault::start(|path| state_or(path, 503, (503, "Vault is sealed"))), "vault operator unseal"),
        (FakeVault::start(|path| state_or(path, 200, (500, "a broken disk"))), "a broken disk"),
    ] {
        let (away, error) = read_error(&server.url, &token_settings()).await;
        assert!(away && error.contains(expected) && error.contains("vault.url") && error.contains(&server.url), "{error}");
    }
    let (away, error) = read_error("http://127.0.0.1:9", &token_settings()).await;
    assert!(away && error.contains("vault.url") && error.contains("refused"), "{error}");
}

#[actix_web::test]
async fn other_server_is_permanent_error_without_its_response() {
    for server in [
        FakeVault::start(|_| (200, json!({ "password": "not-a-secret" }))),
        FakeVault::start(|_| (200, json!("not-a-secret"))),
        FakeVault::start(|_| (418, json!({ "errors": "not-a-secret" }))),
    ] {
        let (away, error) = read_error(&server.url, &token_settings()).await;
        assert!(!away && error.contains("vault.url"), "{error}");
    }
}

#[actix_web::test]
async fn path_with_special_characters_is_requested_unchanged() {
    let server = FakeVault::start(|path| match path {
        "/v1/auth/token/lookup-self" => (403, json!({ "errors": ["permission denied"] })),
        _ => (404, json!({ "errors": [] })),
    });
    let vault = Vault::open(&server.url, &token_settings(), &Tls::default()).unwrap();
    for path in ["basket,prod", "team/basket", "a b%2f?x=#ü"] {
        assert!(vault.read("kv/shop", path, None).await.unwrap().is_none());
    }
    let requested: Vec<_> = server.requests.lock().iter().map(|(path, _)| path.clone()).filter(|path| path.contains("/kv/")).collect();
    assert_eq!(requested, ["/v1/kv/shop/data/basket,prod", "/v1/kv/shop/data/team/basket", "/v1/kv/shop/data/a%20b%252f%3Fx=%23%C3%BC"]);
}

/// Vault answers a deleted version with data and status 404.
#[actix_web::test]
async fn deleted_secret_is_none() {
    let server = FakeVault::start(|path| match path {
        "/v1/secret/data/order-service" => (404, json!({ "data": { "data": null, "metadata": { "deletion_time": "now" } } })),
        _ => (403, json!({ "errors": ["permission denied"] })),
    });
    let vault = Vault::open(&server.url, &token_settings(), &Tls::default()).unwrap();
    assert!(vault.read("secret", "order-service", None).await.unwrap().is_none());
}

/// Vault API, transit engine: `transit/decrypt/{key}` takes a ciphertext and answers Base64.
#[actix_web::test]
async fn transit_engine_decrypts_text_and_its_errors_name_the_setting() {
    let server = FakeVault::start(|path| match path {
        "/v1/deep/transit/decrypt/shop" => state_or(path, 200, (200, "")),
        "/v1/transit/decrypt/shop" => (
            200,
            json!({ "request_id": "", "lease_id": "", "lease_duration": 0, "renewable": false, "data": { "plaintext": "bm90LWEtc2VjcmV0" } }),
        ),
        "/v1/transit/decrypt/bytes" => {
            (200, json!({ "request_id": "", "lease_id": "", "lease_duration": 0, "renewable": false, "data": { "plaintext": "//79" } }))
        }
        "/v1/transit/decrypt/other" => (400, json!({ "errors": ["cipher: message authentication failed"] })),
        "/v1/none/decrypt/shop" => (404, json!({ "errors": ["no handler for route"] })),
        _ => (403, json!({ "errors": ["permission denied"] })),
    });
    let url = server.url.clone();
    let decrypt = move |mount: &'static str, key: &'static str| {
        let vault = Vault::open(&url, &token_settings(), &Tls::default()).unwrap();
        web::block(move || vault.decrypt(mount, key, "vault:v1:abc"))
    };
    assert_eq!(decrypt("transit/", "shop").await.unwrap().unwrap().expose(), "not-a-secret");
    assert_eq!(server.bodies("/v1/transit/decrypt/shop"), [json!({ "ciphertext": "vault:v1:abc" })]);
    for (mount, key, words) in [
        ("transit", "other", ["vault.transit_key", "message authentication failed"]),
        ("transit", "bytes", ["transit/decrypt/bytes", "UTF-8"]),
        ("transit", "foreign", ["policy", "`update` on transit/decrypt/foreign"]),
        ("none", "shop", ["vault.transit_mount", "`none`"]),
        ("deep/transit", "shop", ["vault.url", "not understood"]),
    ] {
        let cause = decrypt(mount, key).await.unwrap().unwrap_err();
        let error = cause.to_string();
        assert!(!cause.is_transient && words.iter().all(|word| error.contains(word)) && !error.contains("v1:abc"), "{error}");
    }
}

/// The service account's token is read at each login: Kubernetes rotates it.
#[actix_web::test]
async fn kubernetes_login_sends_the_current_service_account_token() {
    let server = FakeVault::start(|path| match path {
        "/v1/auth/k8s/prod/login" => (
            200,
            json!({ "request_id": "", "lease_id": "", "lease_duration": 0, "renewable": false, "data": null, "auth": {
                "client_token": "t", "accessor": "", "policies": [], "token_policies": [], "metadata": null, "lease_duration": 0,
                "renewable": false, "entity_id": "", "token_type": "service", "orphan": true } }),
        ),
        _ => (403, json!({ "errors": ["permission denied"] })),
    });
    let dir = tempfile::tempdir().unwrap();
    let jwt = dir.path().join("token");
    let settings = Settings {
        auth: VaultAuth::Kubernetes,
        role: Some("shop".into()),
        jwt_file: jwt.clone(),
        auth_mount: Some("k8s/prod".into()),
        ..Settings::default()
    };
    let vault = Vault::open(&server.url, &settings, &Tls::default()).unwrap();
    let error = vault.read("secret", "x", None).await.unwrap_err().to_string();
    assert!(error.contains("vault.jwt_file"), "{error}");
    for token in ["first", "second"] {
        std::fs::write(&jwt, format!("{token}\n")).unwrap();
        let error = vault.read("secret", "x", None).await.unwrap_err().to_string();
        assert!(error.contains("secret/data/x") && error.contains("kubernetes"), "{error}");
    }
    let sent: Vec<_> = server.bodies("/v1/auth/k8s/prod/login").iter().map(|body| body["jwt"].clone()).collect();
    assert_eq!((sent.first(), sent.last()), (Some(&json!("first")), Some(&json!("second"))), "{sent:?}");
    assert_eq!(server.bodies("/v1/auth/k8s/prod/login")[0]["role"], "shop");
}

#[test]
fn invalid_settings_are_rejected_with_their_key() {
    let base = token_settings;
    let secret = || Some(Secret::new("not-a-secret"));
    for (url, settings, key) in [
        ("vault:8200", base(), "vault.url"),
        ("ftp://vault", base(), "vault.url"),
        ("http://user:not-a-secret@vault:8200", base(), "vault.url"),
        ("http://vault:8200/v1", base(), "vault.url"),
        ("http://vault", Settings::default(), "vault.token"),
        ("http://vault", Settings { token_file: Some("t".into()), ..base() }, "vault.token_file"),
        ("http://vault", Settings { auth: VaultAuth::AppRole, ..base() }, "vault.role_id"),
        ("http://vault", Settings { auth: VaultAuth::Kubernetes, ..base() }, "vault.role"),
        (
            "http://vault",
            Settings {
                auth: VaultAuth::AppRole,
                role_id: Some("r".into()),
                secret_id: secret(),
                secret_id_file: Some("s".into()),
                ..base()
            },
            "vault.secret_id_file",
        ),
        ("http://vault", Settings { namespace: Some("a b".into()), ..base() }, "vault.namespace"),
    ] {
        let error = Vault::open(url, &settings, &Tls::default()).unwrap_err().to_string();
        assert!(error.contains(key) && !error.contains("not-a-secret"), "{error}");
    }
    let missing = Tls { ca: Some("/nowhere.pem".into()), ..Tls::default() };
    let error = Vault::open("https://vault", &base(), &missing).unwrap_err().to_string();
    assert!(error.contains("tls.ca") && error.contains("/nowhere.pem"), "{error}");
}
