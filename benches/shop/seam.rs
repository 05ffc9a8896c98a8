//! Cost of a peer call: one price query through the contract's trait, as a function call and over loopback
//! HTTP (generated client, token relayed and checked). The backend is the product store, or a constant to
//! measure the call alone.

use super::process::Server;
use actix_web::{App, HttpServer};
use async_trait::async_trait;
use prometheus::Registry;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tradepost::edge::auth::{Authenticator, Credentials};
use tradepost::edge::web;
use tradepost::edge::web::Edge;
use tradepost::kernel::money::Money;
use tradepost::kernel::page::{Page, PageNumber, PageSize};
use tradepost::kernel::problem::Problem;
use tradepost::modules::product::api::{Product, ProductApi, ProductClient, ProductError, ProductInput};
use tradepost::observe::trace::Trace;
use tradepost::rpc::context::{Caller, Cx, Principal};
use tradepost::rpc::contract::client::Remote;
use tradepost::rpc::contract::{Empty, Tagged, Text};
use tradepost::rpc::discovery::StaticDiscovery;
use tradepost::rpc::oidc::OidcClient;
use tradepost::rpc::resilience::Peers;
use tradepost::runtime::Host;
use tradepost::settings::Resilience;
use tradepost::settings::Settings;

/// Nanoseconds per call.
pub struct Costs {
    pub constant_here: f64,
    pub constant_http: f64,
    pub store_here: f64,
    pub store_http: f64,
}

/// A product API that returns one constant price.
struct Constant(Money);

fn not_used<T>() -> Result<T, ProductError> {
    Err(Problem::internal("not used in this bench").into())
}

#[async_trait(?Send)]
impl ProductApi for Constant {
    async fn list(&self, _: &Cx, _: PageNumber, _: PageSize, _: Option<String>, _: Option<String>) -> Result<Page<Product>, ProductError> {
        not_used()
    }
    async fn get(&self, _: &Cx, _: String) -> Result<Tagged<Product>, ProductError> {
        not_used()
    }
    async fn price(&self, _: &Cx, _: String) -> Result<Money, ProductError> {
        Ok(self.0)
    }
    async fn prices(&self, _: &Cx, _: Vec<String>) -> Result<BTreeMap<String, Money>, ProductError> {
        not_used()
    }
    async fn exists(&self, _: &Cx, _: String) -> Result<Empty, ProductError> {
        not_used()
    }
    async fn create(&self, _: &Cx, _: ProductInput) -> Result<Product, ProductError> {
        not_used()
    }
    async fn replace(&self, _: &Cx, _: String, _: Option<String>, _: ProductInput) -> Result<Tagged<Product>, ProductError> {
        not_used()
    }
    async fn delete(&self, _: &Cx, _: String, _: Option<String>) -> Result<Text, ProductError> {
        not_used()
    }
}

/// The caller's token is relayed, so no service token is needed.
struct NoCredentials;

#[async_trait(?Send)]
impl Credentials for NoCredentials {
    async fn token(&self) -> Result<String, Problem> {
        Err(Problem::internal("not used in this bench"))
    }
}

fn client(address: String) -> Arc<dyn ProductApi> {
    let discovery = Arc::new(StaticDiscovery(BTreeMap::from([("product".to_string(), address)])));
    let peer = Peers::new(Resilience::default(), &Registry::new()).unwrap().of("product").unwrap();
    let credentials = Arc::new(NoCredentials);
    Arc::new(ProductClient(Arc::new(Remote { module: "product", peer, discovery, credentials, send_twice: false })))
}

/// Measures against a running shop, which issues the token, and an in-process product module on a copy of the data.
pub fn measure(shop: &Server, data: &Path) -> Costs {
    let token = shop.token("alice");
    actix_web::rt::System::new().block_on(async move {
        let principal = Principal { subject: "alice".into(), username: "alice".into(), email: None, roles: vec!["customer".into()], token };
        let deadline = Instant::now() + Duration::from_secs(600);
        let cx = Cx { caller: Caller::User(Arc::new(principal)), deadline, trace: Trace::start() };

        let constant: Arc<dyn ProductApi> = Arc::new(Constant("19.99".parse().unwrap()));
        let served = serve(constant.clone(), shop);
        let mut settings = Settings::default();
        settings.data.dir = data.into();
        let settings = Arc::new(settings);
        let bus = tradepost::app::wiring::bus(&settings).unwrap();
        let public_url = "http://127.0.0.1".to_string();
        let host = Host { settings, public_url, bus: Some(bus), metrics: Registry::new(), draining: CancellationToken::new() };
        let (own, _) = tradepost::modules::product::build(&host).unwrap();
        let (near, far) = (client(served), client(format!("http://{}", shop.address)));
        Costs {
            constant_here: each(&cx, constant.as_ref(), 1_000_000).await,
            constant_http: each(&cx, near.as_ref(), 5_000).await,
            store_here: each(&cx, own.as_ref(), 20_000).await,
            store_http: each(&cx, far.as_ref(), 5_000).await,
        }
    })
}

/// Serves a product API with the shop's HTTP edge on a new thread; returns its URL.
fn serve(catalogue: Arc<dyn ProductApi>, shop: &Server) -> String {
    let issuer = format!("http://{}/realms/spring-cloud-microservices-realm", shop.address);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let edge = Arc::new(Edge {
            authenticator: Authenticator::new(Arc::new(OidcClient::new(&issuer, None)), "tradepost"),
            operator: None,
            exchanges: Arc::default(),
            body_limit: 1 << 20,
            timeout: Duration::from_secs(10),
            origins: Vec::new(),
            gateway: None,
            shutting_down: Default::default(),
        });
        let endpoints: Arc<[_]> = ProductClient::endpoints(catalogue).into();
        actix_web::rt::System::new().block_on(async move {
            let app = move || {
                let (endpoints, edge) = (endpoints.clone(), edge.clone());
                App::new().configure(move |app| web::configure(app, &endpoints, &edge))
            };
            HttpServer::new(app).workers(1).disable_signals().listen(listener).unwrap().run().await.unwrap();
        });
    });
    address
}

/// Nanoseconds per call: median of five rounds of sequential calls.
async fn each(cx: &Cx, product: &dyn ProductApi, calls: u32) -> f64 {
    let mut rounds = Vec::new();
    for _ in 0..5 {
        let started = Instant::now();
        for n in 0..calls {
            std::hint::black_box(product.price(cx, super::sku(n as usize % super::SKUS)).await.unwrap());
        }
        rounds.push(started.elapsed().as_nanos() as f64 / f64::from(calls));
    }
    super::median(&rounds)
}
