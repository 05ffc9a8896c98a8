//! An issuer on a temporary folder, and helpers for its requests and responses.

use super::super::{IdentityModule, MIGRATIONS, build, keys};
use crate::data::sqlite::Db;
use crate::edge::web::{Edge, testing};
use crate::kernel::error::StartError;
use crate::kernel::files::SecretFolder;
use crate::kernel::uri::query_value;
use crate::runtime::Host;
use crate::settings::{Settings, User};
use actix_web::http::header::HeaderMap;
use actix_web::test::TestRequest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use std::sync::{Arc, LazyLock};

pub(super) const BASE: &str = "/realms/spring-cloud-microservices-realm/protocol/openid-connect";
pub(super) const DEMO: &str = "client_id=tradepost-demo";

/// One key for all tests: generating one takes longer than all the rest.
static KEY: LazyLock<String> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    keys::Keys::open(&SecretFolder::open(dir.path().join("k")).unwrap()).unwrap();
    std::fs::read_to_string(dir.path().join("k/key.pem")).unwrap()
});

/// Opens the issuer's store in this folder, like another process.
pub(in crate::modules::identity) fn store(dir: &tempfile::TempDir) -> Db {
    Db::open(&dir.path().join("identity.db"), MIGRATIONS).unwrap()
}

pub(super) struct TestIssuer {
    _dir: tempfile::TempDir,
    pub(super) settings: Settings,
    pub(super) url: String,
}

impl TestIssuer {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.data.dir = dir.path().join("data");
        Self { _dir: dir, settings, url: "http://127.0.0.1:5294".into() }
    }

    pub(super) fn with_key(self) -> Self {
        SecretFolder::open(self.settings.data.dir.join("identity"))
            .unwrap()
            .get_or_create("key.pem", || Ok::<_, String>(KEY.clone()))
            .unwrap();
        self
    }

    pub(super) fn build(&self) -> Result<IdentityModule, StartError> {
        build(&Host {
            settings: Arc::new(self.settings.clone()),
            public_url: self.url.clone(),
            bus: None,
            metrics: prometheus::Registry::new(),
            draining: Default::default(),
        })
    }

    pub(super) fn user(name: &str, password: &str) -> User {
        serde_json::from_value(serde_json::json!({ "username": name, "password": password, "roles": ["customer"] })).unwrap()
    }
}

pub(super) fn edge(module: &IdentityModule) -> Arc<Edge> {
    Arc::new(testing::edge(&module.issuer))
}

pub(super) type TestApp = testing::App;

pub(super) async fn app(module: &IdentityModule) -> TestApp {
    testing::app(module.parts.endpoints.clone(), edge(module)).await
}

#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Response {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{self:?}"))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|v| v.to_str().unwrap()).unwrap_or_default()
    }

    /// Status and code of an OAuth error.
    pub(super) fn error(&self) -> (u16, String) {
        assert_eq!(self.header("cache-control"), "no-store");
        (self.status, self.json()["error"].as_str().unwrap().to_string())
    }

    pub(super) fn member(&self, name: &str) -> String {
        self.json()[name].as_str().unwrap_or_else(|| panic!("{name}: {self:?}")).to_string()
    }

    /// A parameter of the redirect's query.
    pub(super) fn location(&self, name: &str) -> Option<String> {
        assert_eq!(self.status, 302, "{self:?}");
        let query = self.header("location").split_once('?')?.1;
        query_value(query, name)
    }
}

pub(super) async fn send(app: &TestApp, request: TestRequest) -> Response {
    let (status, headers, body) = app(request).await;
    Response { status, headers, text: String::from_utf8(body.to_vec()).unwrap() }
}

pub(super) fn post(path: &str, form: &str) -> TestRequest {
    TestRequest::post()
        .uri(&format!("{BASE}/{path}"))
        .insert_header(("content-type", "application/x-www-form-urlencoded"))
        .set_payload(form.to_string())
}

pub(super) fn get(path_and_query: &str) -> TestRequest {
    TestRequest::get().uri(&format!("{BASE}/{path_and_query}"))
}

/// The claims of a token, without verification.
pub(super) fn claims(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}
