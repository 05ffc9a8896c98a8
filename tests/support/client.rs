//! A minimal client of the shop's HTTP API.

use actix_web::http::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

pub const REALM: &str = "/realms/spring-cloud-microservices-realm";

#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("not JSON ({e}): {self:?}"))
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_string()
    }
}

/// A client of one shop, with the tokens of its demo users.
#[derive(Clone)]
pub struct Client {
    pub url: String,
    pub admin: String,
    pub alice: String,
    /// URL of the token issuer: the shop itself or Keycloak.
    issuer: String,
    http: awc::Client,
}

impl Client {
    pub async fn login(url: &str) -> Self {
        Self::login_at(&format!("{url}{REALM}"), url).await
    }

    /// Logs in the demo users at this issuer.
    pub async fn login_at(issuer: &str, url: &str) -> Self {
        let mut client = Self::with_tokens(issuer, url, Default::default());
        client.admin = client.token("admin").await;
        client.alice = client.token("alice").await;
        client
    }

    /// Uses existing tokens of admin and alice.
    pub fn with_tokens(issuer: &str, url: &str, [admin, alice]: [String; 2]) -> Self {
        const PATIENCE: Duration = Duration::from_secs(60);
        let http = tradepost::net::http::build(PATIENCE, Some(PATIENCE));
        Self { url: url.into(), admin, alice, issuer: issuer.into(), http }
    }

    /// The same client for another address.
    pub fn at(&self, url: &str) -> Self {
        Self { url: url.into(), ..self.clone() }
    }

    /// An access token of a demo user, by the password grant.
    pub async fn token(&self, user: &str) -> String {
        self.request_token(&[("grant_type", "password"), ("client_id", "tradepost-demo"), ("username", user), ("password", user)]).await
    }

    /// A token of the service client, by client credentials.
    pub async fn service_token(&self, secret: &str) -> String {
        self.request_token(&[("grant_type", "client_credentials"), ("client_id", "tradepost-service"), ("client_secret", secret)]).await
    }

    async fn request_token(&self, form: &[(&str, &str)]) -> String {
        let mut response = self.http.post(format!("{}/protocol/openid-connect/token", self.issuer)).send_form(&form).await.unwrap();
        let body: Value = response.json().await.unwrap();
        body["access_token"].as_str().unwrap_or_else(|| panic!("no token: {body}")).to_string()
    }

    /// Sends any request; panics on a connection error.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Reply {
        self.try_send(method, path, headers, body).await.unwrap()
    }

    pub async fn try_send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Result<Reply, String> {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.insert_header((*name, *value));
        }
        let mut response = request.send_body(body.into()).await.map_err(|e| e.to_string())?;
        let headers = response.headers().iter().map(|(k, v)| (k.to_string(), v.to_str().unwrap_or_default().to_string())).collect();
        let text = response.body().limit(64 << 20).await.map_err(|e| e.to_string())?;
        Ok(Reply { status: response.status().as_u16(), headers, text: String::from_utf8_lossy(&text).into_owned() })
    }

    pub async fn get(&self, token: &str, path: &str) -> Reply {
        self.send(Method::GET, path, &[("authorization", &format!("Bearer {token}"))], "").await
    }

    pub async fn delete(&self, token: &str, path: &str) -> Reply {
        self.send(Method::DELETE, path, &[("authorization", &format!("Bearer {token}"))], "").await
    }

    pub async fn post(&self, token: &str, path: &str, body: Value) -> Reply {
        self.with_body(Method::POST, token, path, &[], &body).await
    }

    pub async fn put(&self, token: &str, path: &str, body: Value) -> Reply {
        self.with_body(Method::PUT, token, path, &[], &body).await
    }

    pub async fn with_body(&self, method: Method, token: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
        let bearer = format!("Bearer {token}");
        let mut all = vec![("authorization", bearer.as_str()), ("content-type", "application/json")];
        all.extend_from_slice(headers);
        self.send(method, path, &all, body.to_string()).await
    }

    /// Creates a product and its stock.
    pub async fn stocked(&self, sku: &str, price: &str, quantity: i64) -> Value {
        let product = json!({ "skuCode": sku, "name": format!("the {sku}"), "price": price });
        self.post(&self.admin, "/api/v1/products", product).await.expect(201);
        self.post(&self.admin, "/api/v1/inventory", json!({ "skuCode": sku, "quantity": quantity })).await.expect(201).json()
    }

    /// Places an order as alice.
    pub async fn order(&self, lines: &[(&str, i64)]) -> Reply {
        self.post(&self.alice, "/api/v1/orders", order(lines)).await
    }

    /// Places an order as alice with an `Idempotency-Key`.
    pub async fn order_with_key(&self, key: &str, lines: &[(&str, i64)]) -> Reply {
        self.with_body(Method::POST, &self.alice, "/api/v1/orders", &[("idempotency-key", key)], &order(lines)).await
    }

    /// The stock row of a SKU.
    pub async fn stock(&self, sku: &str) -> Value {
        let page = self.get(&self.admin, "/api/v1/inventory?size=1000").await.expect(200).json();
        let rows = page["content"].as_array().unwrap().clone();
        rows.into_iter().find(|row| row["skuCode"] == sku).unwrap_or_else(|| panic!("no stock of {sku}"))
    }

    pub async fn quantity(&self, sku: &str) -> i64 {
        self.stock(sku).await["quantity"].as_i64().unwrap()
    }
}

/// A raw connection to a shop, for tests that write HTTP bytes.
pub trait Connection: AsyncRead + AsyncWrite + Unpin {}

impl<C: AsyncRead + AsyncWrite + Unpin> Connection for C {}

/// Connects to the shop at this address; with TLS, offers this protocol by ALPN.
#[cfg_attr(not(feature = "tls"), expect(unused_variables))]
pub async fn connect(url: &str, protocol: &str) -> Box<dyn Connection> {
    let (scheme, address) = url.split_once("://").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    #[cfg(feature = "tls")]
    if scheme == "https" {
        use super::certs::{SHARED, client};
        let authority = SHARED.as_ref().unwrap();
        let mut config = client(&authority.ca(), Some(&authority.pair("client")));
        config.alpn_protocols = vec![protocol.into()];
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        return Box::new(connector.connect("localhost".try_into().unwrap(), stream).await.unwrap());
    }
    assert_eq!(scheme, "http");
    Box::new(stream)
}

/// The request body of an order.
pub fn order(lines: &[(&str, i64)]) -> Value {
    let lines: Vec<_> = lines.iter().map(|(sku, n)| json!({ "skuCode": sku, "quantity": n })).collect();
    json!({ "orderLineItems": lines })
}
