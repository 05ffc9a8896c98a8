//! What a real Vault does not do on demand: states of a cluster, and answers of what is none. The rest is in
//! `tests/vault`, with a real one.

use super::Vault;
use crate::settings::{Secret, Tls, Vault as Settings, VaultAuth};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;

/// Answers by path, and keeps what it was sent.
struct StandIn {
    url: String,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl StandIn {
    fn start(answer: fn(&str) -> (u16, Value)) -> Self {
        let asked: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let kept = asked.clone();
        let server = HttpServer::new(move || {
            let kept = kept.clone();
            App::new().default_service(web::to(move |request: HttpRequest, body: web::Bytes| {
                let (status, answer) = answer(request.path());
                kept.lock().push((request.path().into(), serde_json::from_slice(&body).unwrap_or_default()));
                std::future::ready(HttpResponse::build(status.try_into().unwrap()).json(answer))
            }))
        });
        let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        actix_web::rt::spawn(server.run());
        Self { url, asked }
    }

    fn bodies(&self, path: &str) -> Vec<Value> {
        self.asked.lock().iter().filter(|(asked, _)| asked == path).map(|(_, body)| body.clone()).collect()
    }
}

fn by_token() -> Settings {
    Settings { token: Some(Secret::new("not-a-secret")), ..Settings::default() }
}

async fn trouble(url: &str, settings: &Settings) -> (bool, String) {
    let vault = Vault::open(url, settings, &Tls::default()).unwrap();
    let cause = vault.read("secret", "order-service", None).await.unwrap_err();
    assert!(!cause.to_string().contains("not-a-secret"), "{cause}");
    (cause.away, cause.to_string())
}

/// What `sys/health` says, and any other path.
fn state_or(path: &str, state: u16, (other, said): (u16, &str)) -> (u16, Value) {
    match path {
        "/v1/sys/health" => (state, json!({ "initialized": true, "version": "1.21.4" })),
        _ => (other, json!({ "errors": [said] })),
    }
}

/// The code of `sys/health` is the state, as Vault's documentation of it has them; all else answers 500 or 503.
#[actix_web::test]
async fn a_vault_that_cannot_serve_says_why_and_is_worth_waiting_for() {
    for (server, expected) in [
        (StandIn::start(|path| state_or(path, 429, (500, "no active node"))), "standby"),
        (StandIn::start(|path| state_or(path, 501, (503, "not now"))), "vault operator init"),
        (StandIn::start(|path| state_or(path, 503, (503, "Vault is sealed"))), "vault operator unseal"),
        (StandIn::start(|path| state_or(path, 200, (500, "a broken disk"))), "a broken disk"),
    ] {
        let (away, said) = trouble(&server.url, &by_token()).await;
        assert!(away && said.contains(expected) && said.contains("vault.url") && said.contains(&server.url), "{said}");
    }
    let (away, said) = trouble("http://127.0.0.1:9", &by_token()).await;
    assert!(away && said.contains("vault.url") && said.contains("refused"), "{said}");
}

#[actix_web::test]
async fn what_is_no_vault_is_told_without_what_it_said() {
    for server in [
        StandIn::start(|_| (200, json!({ "password": "not-a-secret" }))),
        StandIn::start(|_| (200, json!("not-a-secret"))),
        StandIn::start(|_| (418, json!({ "errors": "not-a-secret" }))),
    ] {
        let (away, said) = trouble(&server.url, &by_token()).await;
        assert!(!away && said.contains("vault.url"), "{said}");
    }
}

/// A name is one name, whatever is in it.
#[actix_web::test]
async fn a_path_is_asked_for_as_it_is_written() {
    let server = StandIn::start(|path| match path {
        "/v1/auth/token/lookup-self" => (403, json!({ "errors": ["permission denied"] })),
        _ => (404, json!({ "errors": [] })),
    });
    let vault = Vault::open(&server.url, &by_token(), &Tls::default()).unwrap();
    for path in ["basket,prod", "team/basket", "a b%2f?x=#ü"] {
        assert!(vault.read("kv/shop", path, None).await.unwrap().is_none());
    }
    let asked: Vec<_> = server.asked.lock().iter().map(|(path, _)| path.clone()).filter(|path| path.contains("/kv/")).collect();
    assert_eq!(asked, ["/v1/kv/shop/data/basket,prod", "/v1/kv/shop/data/team/basket", "/v1/kv/shop/data/a%20b%252f%3Fx=%23%C3%BC"]);
}

/// A deleted version has a body of data, and status 404.
#[actix_web::test]
async fn a_secret_that_was_deleted_is_none() {
    let server = StandIn::start(|path| match path {
        "/v1/secret/data/order-service" => (404, json!({ "data": { "data": null, "metadata": { "deletion_time": "now" } } })),
        _ => (403, json!({ "errors": ["permission denied"] })),
    });
    let vault = Vault::open(&server.url, &by_token(), &Tls::default()).unwrap();
    assert!(vault.read("secret", "order-service", None).await.unwrap().is_none());
}

/// As Vault's documentation of the transit engine has it: `transit/decrypt/{key}` takes a ciphertext and answers Base64.
#[actix_web::test]
async fn a_transit_engine_is_asked_for_a_text_and_its_refusals_say_what_to_set() {
    let server = StandIn::start(|path| match path {
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
    let asked = move |mount: &'static str, key: &'static str| {
        let vault = Vault::open(&url, &by_token(), &Tls::default()).unwrap();
        web::block(move || vault.decrypt(mount, key, "vault:v1:abc"))
    };
    assert_eq!(asked("transit/", "shop").await.unwrap().unwrap().expose(), "not-a-secret");
    assert_eq!(server.bodies("/v1/transit/decrypt/shop"), [json!({ "ciphertext": "vault:v1:abc" })]);
    for (mount, key, words) in [
        ("transit", "other", ["vault.transit_key", "message authentication failed"]),
        ("transit", "bytes", ["transit/decrypt/bytes", "UTF-8"]),
        ("transit", "foreign", ["policy", "`update` on transit/decrypt/foreign"]),
        ("none", "shop", ["vault.transit_mount", "`none`"]),
        ("deep/transit", "shop", ["vault.url", "not understood"]),
    ] {
        let cause = asked(mount, key).await.unwrap().unwrap_err();
        let said = cause.to_string();
        assert!(!cause.away && words.iter().all(|word| said.contains(word)) && !said.contains("v1:abc"), "{said}");
    }
}

/// The service account's token is read at each login: Kubernetes writes it anew.
#[actix_web::test]
async fn a_login_by_service_account_sends_the_token_of_now() {
    let server = StandIn::start(|path| match path {
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
    let said = vault.read("secret", "x", None).await.unwrap_err().to_string();
    assert!(said.contains("vault.jwt_file"), "{said}");
    for token in ["first", "second"] {
        std::fs::write(&jwt, format!("{token}\n")).unwrap();
        let said = vault.read("secret", "x", None).await.unwrap_err().to_string();
        assert!(said.contains("secret/data/x") && said.contains("kubernetes"), "{said}");
    }
    let sent: Vec<_> = server.bodies("/v1/auth/k8s/prod/login").iter().map(|body| body["jwt"].clone()).collect();
    assert_eq!((sent.first(), sent.last()), (Some(&json!("first")), Some(&json!("second"))), "{sent:?}");
    assert_eq!(server.bodies("/v1/auth/k8s/prod/login")[0]["role"], "shop");
}

#[test]
fn settings_that_cannot_work_are_refused_with_their_key() {
    let base = by_token;
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
        let said = Vault::open(url, &settings, &Tls::default()).unwrap_err().to_string();
        assert!(said.contains(key) && !said.contains("not-a-secret"), "{said}");
    }
    let missing = Tls { ca: Some("/nowhere.pem".into()), ..Tls::default() };
    let said = Vault::open("https://vault", &base(), &missing).unwrap_err().to_string();
    assert!(said.contains("tls.ca") && said.contains("/nowhere.pem"), "{said}");
}
