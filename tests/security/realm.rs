//! A realm of a real Keycloak: its tokens, its keys, and a proxy in front of it that can be closed.

use super::issuer::Key;
use crate::support::client::REALM;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, MutexGuard};

/// All tests share the realm's keys, so they run one at a time.
static TURN: Mutex<()> = Mutex::const_new(());

/// The address of Keycloak, set by `.ci/keycloak.sh`.
fn base() -> String {
    std::env::var("TRADEPOST_TEST_KEYCLOAK").expect("TRADEPOST_TEST_KEYCLOAK: the address of a Keycloak")
}

/// The test realm, with an administrator's token.
pub struct Realm {
    base: String,
    administrator: String,
    _turn: MutexGuard<'static, ()>,
}

/// A key that was added to the realm.
pub struct Added {
    pub key: Key,
    component: String,
}

async fn grant(issuer: &str, form: &[(&str, &str)]) -> Result<Value, String> {
    let request = awc::Client::builder().timeout(std::time::Duration::from_secs(60)).finish();
    let request = request.post(format!("{issuer}/protocol/openid-connect/token"));
    let mut answer = request.send_form(&form).await.map_err(|e| e.to_string())?;
    let body: Value = answer.json().await.map_err(|e| e.to_string())?;
    if body["access_token"].is_string() { Ok(body) } else { Err(body.to_string()) }
}

/// Id of the key that signed the token.
pub fn kid(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

impl Realm {
    pub async fn connect() -> Self {
        Self::at(&base()).await
    }

    /// Connects by this address, which becomes part of the realm's tokens.
    pub async fn at(base: &str) -> Self {
        let turn = TURN.lock().await;
        let password = std::env::var("KC_ADMIN_PASSWORD").unwrap();
        let form = [("grant_type", "password"), ("client_id", "admin-cli"), ("username", "admin"), ("password", password.as_str())];
        let token = grant(&format!("{base}/realms/master"), &form).await.unwrap();
        Self { base: base.into(), administrator: token["access_token"].as_str().unwrap().into(), _turn: turn }
    }

    /// `iss` of its tokens.
    pub fn issuer(&self) -> String {
        format!("{}{REALM}", self.base)
    }

    /// A token of the master realm.
    pub fn administrator(&self) -> &str {
        &self.administrator
    }

    /// Answer of the token endpoint.
    pub async fn granted(&self, form: &[(&str, &str)]) -> Value {
        grant(&self.issuer(), form).await.unwrap()
    }

    /// Attempts a login of this demo user. Keycloak's brute-force protection rejects parallel logins of one user, and
    /// sometimes a single one.
    pub async fn try_login(&self, user: &str) -> Result<Value, String> {
        let form = [("grant_type", "password"), ("client_id", "tradepost-demo"), ("username", user), ("password", user)];
        grant(&self.issuer(), &form).await
    }

    /// Makes this the signing key; the previous keys remain valid.
    pub async fn add_key(&self, key: Key) -> Added {
        use rsa::pkcs8::{EncodePrivateKey, LineEnding};
        let pem = key.rsa.to_pkcs8_pem(LineEnding::LF).unwrap();
        // The priority is above all existing keys, including those of failed runs.
        static ADDED: AtomicUsize = AtomicUsize::new(0);
        let priority = super::issuer::now() % 1_000_000 * 1000 + ADDED.fetch_add(1, Ordering::SeqCst) as i64;
        let component = json!({
            "name": format!("test {}", uuid::Uuid::new_v4()), "providerId": "rsa", "providerType": "org.keycloak.keys.KeyProvider",
            "config": { "priority": [priority.to_string()], "enabled": ["true"], "active": ["true"], "algorithm": ["RS256"], "privateKey": [pem.as_str()] },
        });
        let url = format!("{}/admin{REALM}/components", self.base);
        let answer = awc::Client::default().post(url).bearer_auth(&self.administrator).send_json(&component).await.unwrap();
        assert_eq!(answer.status(), 201);
        let component = answer.headers().get("location").unwrap().to_str().unwrap().rsplit('/').next().unwrap().to_string();
        let mut granted = self.try_login("admin").await;
        for _ in 0..20 {
            if granted.is_err() {
                granted = self.try_login("admin").await;
            }
        }
        let kid = kid(granted.unwrap()["access_token"].as_str().unwrap());
        Added { key: Key { kid, ..key }, component }
    }

    /// Removes a key from the realm.
    pub async fn remove(&self, added: Added) {
        let url = format!("{}/admin{REALM}/components/{}", self.base, added.component);
        let answer = awc::Client::default().delete(url).bearer_auth(&self.administrator).send().await.unwrap();
        assert_eq!(answer.status(), 204);
    }
}

/// A proxy in front of Keycloak that counts key requests, and blocks all traffic while it is closed.
pub struct KeycloakProxy {
    pub url: String,
    closed: Arc<AtomicBool>,
    fetches: Arc<AtomicUsize>,
}

impl KeycloakProxy {
    pub async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (closed, fetches) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let proxy = Self { url, closed: closed.clone(), fetches: fetches.clone() };
        let behind = base().trim_start_matches("http://").to_string();
        actix_web::rt::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (closed, fetches, behind) = (closed.clone(), fetches.clone(), behind.clone());
                actix_web::rt::spawn(async move {
                    if let Ok(inside) = TcpStream::connect(behind).await {
                        pass(client, inside, &closed, &fetches).await;
                    }
                });
            }
        });
        proxy
    }

    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    pub fn reopen(&self) {
        self.closed.store(false, Ordering::SeqCst);
    }

    /// Number of requests for the keys.
    pub fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

/// Copies bytes in both directions until one side closes, or sends while the proxy is closed.
async fn pass(mut client: TcpStream, mut inside: TcpStream, closed: &AtomicBool, fetches: &AtomicUsize) {
    let (mut asked, mut answered) = ([0; 16 * 1024], [0; 16 * 1024]);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => match read {
                Ok(n) if n > 0 && !closed.load(Ordering::SeqCst) => {
                    fetches.fetch_add(asked[..n].windows(7).filter(|w| w == b"/certs ").count(), Ordering::SeqCst);
                    if inside.write_all(&asked[..n]).await.is_err() { return }
                }
                _ => return,
            },
            read = inside.read(&mut answered) => match read {
                Ok(n) if n > 0 => if client.write_all(&answered[..n]).await.is_err() { return },
                _ => return,
            },
        }
    }
}
