//! Calls of a peer in this process and over HTTP return the same results. Values, typed errors, deadline, trace and
//! the caller's identity are the same in both.

use super::peer::SilentPeer;
use crate::support::client::{REALM, order};
use crate::support::{Shape, Shop, on_system, wait_until};
use actix_web::http::Method;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use tradepost::kernel::page::{AfterId, PageNumber, PageSize};
use tradepost::kernel::problem::{Problem, TypedError};
use tradepost::modules::inventory::api::{
    Adjustment, InventoryApi, InventoryClient, InventoryError, ReserveInput, SettleInput, StockInput,
};
use tradepost::modules::notification::api::{DeliveryState, NotificationApi, NotificationClient, NotificationError};
use tradepost::modules::order::api::{LineInput, OrderApi, OrderClient, OrderError, OrderInput};
use tradepost::modules::product::api::{ProductApi, ProductClient, ProductError, ProductInput};
use tradepost::rpc::context::{Caller, Cx, Principal};
use tradepost::rpc::contract::client::Remote;
use tradepost::rpc::credentials::ClientCredentials;
use tradepost::rpc::discovery::StaticDiscovery;
use tradepost::rpc::oidc::OidcClient;
use tradepost::rpc::resilience::Peers;
use tradepost::runtime::{Host, LazyRef};
use tradepost::settings::Resilience;
use tradepost::settings::Settings;
use uuid::Uuid;

/// The four contracts, either local or remote.
struct Side {
    product: Arc<dyn ProductApi>,
    inventory: Arc<dyn InventoryApi>,
    order: Arc<dyn OrderApi>,
    notification: Arc<dyn NotificationApi>,
    cx: Cx,
}

fn admin(token: &str) -> Cx {
    let principal =
        Principal { subject: "a".into(), username: "admin".into(), email: None, roles: vec!["admin".into()], token: token.into() };
    Cx { caller: Caller::User(Arc::new(principal)), ..Cx::module("test", std::time::Duration::from_secs(60)) }
}

/// The services in this process, with function calls to their peers.
fn local(dir: &std::path::Path) -> Side {
    let mut settings = Settings::default();
    settings.data.dir = dir.into();
    let bus = tradepost::app::wiring::bus(&settings).unwrap();
    let host = Host {
        settings: Arc::new(settings),
        public_url: "http://127.0.0.1".into(),
        bus: Some(bus),
        metrics: Default::default(),
        draining: Default::default(),
    };
    let product = tradepost::modules::product::build(&host).unwrap().0;
    let inventory = tradepost::modules::inventory::build(&host, product.clone(), LazyRef::default()).unwrap().0;
    let order = tradepost::modules::order::build(&host, product.clone(), inventory.clone()).unwrap().0;
    let notification = tradepost::modules::notification::build(&host).unwrap().0;
    Side { product, inventory, order, notification, cx: admin("") }
}

/// The generated clients of a running shop.
fn remote(shop: &Shop) -> Side {
    let secret = std::fs::read_to_string(shop.data.path().join("identity/service-secret")).unwrap();
    let issuer = format!("{}{REALM}", shop.client.url);
    let credentials = Arc::new(ClientCredentials::new(Arc::new(OidcClient::new(&issuer, None)), "tradepost-service", secret.trim()));
    let settings = Resilience { call_ms: 30_000, ..Resilience::default() };
    let peers = Peers::new(settings, &Default::default()).unwrap();
    let to = |module: &'static str| {
        let peer = peers.of(module).unwrap();
        let discovery = Arc::new(StaticDiscovery(BTreeMap::from([(module.to_string(), format!("{}/", shop.client.url))])));
        Arc::new(Remote { module, peer, discovery, credentials: credentials.clone(), send_twice: false })
    };
    Side {
        product: Arc::new(ProductClient(to("product"))),
        inventory: Arc::new(InventoryClient(to("inventory"))),
        order: Arc::new(OrderClient(to("order"))),
        notification: Arc::new(NotificationClient(to("notification"))),
        cx: admin(&shop.client.admin),
    }
}

/// The results of a sequence of calls; generated ids and times are replaced by placeholders.
#[derive(Default)]
struct Transcript {
    lines: Vec<String>,
    names: Vec<(String, String)>,
}

impl Transcript {
    fn note(&mut self, response: impl Debug) {
        self.lines.push(format!("{response:?}"));
    }

    fn name(&mut self, made_up: impl Into<String>) {
        let name = format!("<{}>", self.names.len());
        self.names.push((made_up.into(), name));
    }

    fn read(self) -> Vec<String> {
        let plain = |line: String| self.names.iter().fold(line, |line, (made_up, name)| line.replace(made_up, name));
        self.lines.into_iter().map(plain).collect()
    }
}

fn some(text: &str) -> Option<String> {
    Some(text.into())
}

fn product(sku: &str, price: &str) -> ProductInput {
    ProductInput { sku_code: some(sku), name: some(" a name "), description: None, price: Some(price.parse().unwrap()) }
}

async fn call_products(side: &Side, transcript: &mut Transcript) {
    let (api, cx) = (&side.product, &side.cx);
    let page = || (PageNumber::default(), PageSize::default());
    transcript.note(api.list(cx, page().0, page().1, None, None).await);
    let made = api.create(cx, product("s", "10.00")).await.unwrap();
    transcript.name(made.id.clone());
    transcript.note(&made);
    transcript.note(api.create(cx, product("s", "1")).await);
    transcript.note(api.create(cx, product("", "-1")).await);
    transcript.note(api.create(cx, ProductInput::default()).await);
    transcript.note(api.get(cx, made.id.clone()).await);
    transcript.note(api.list(cx, PageNumber(0), PageSize(1), some("S"), None).await);
    transcript.note(api.list(cx, PageNumber(7), PageSize(1000), some("a&b=c d+é%"), None).await);
    transcript.note(api.list(cx, PageNumber(0), PageSize(1), some("S"), some("0123456789ABCDEF01234567")).await);
    transcript.note(api.list(cx, PageNumber(0), PageSize(1), None, some("no id")).await);
    for odd in ["what", "a/b", "a b", "50%", "%2F", "a+b", "ä", "?x=1#y", "..", ".", "\u{1f6d2}"] {
        transcript.note(api.get(cx, odd.into()).await);
        transcript.note(api.price(cx, odd.into()).await);
        transcript.note(api.exists(cx, odd.into()).await);
        transcript.note(api.delete(cx, odd.into(), None).await);
    }
    transcript.note((api.price(cx, "s".into()).await, api.exists(cx, "s".into()).await));
    transcript.note(api.prices(cx, vec!["s".into(), "what".into()]).await);
    transcript.note(api.prices(cx, vec!["s".into(); 1001]).await);
    transcript.note(api.replace(cx, made.id.clone(), None, product("s", "2")).await);
    transcript.note(api.replace(cx, made.id.clone(), some("\"9\""), product("s", "2")).await);
    transcript.note(api.replace(cx, "what".into(), some("*"), product("s", "2")).await);
    transcript.note(api.replace(cx, made.id.clone(), some("\"1\""), product("s", "2.50")).await);
    let other = api.create(cx, product("a/ö 100%", "0")).await.unwrap();
    transcript.name(other.id.clone());
    transcript.note((api.price(cx, "a/ö 100%".into()).await, api.exists(cx, "a/ö 100%".into()).await));
    transcript.note(api.replace(cx, other.id.clone(), some("*"), product("s", "2")).await);
    transcript.note(api.delete(cx, other.id.clone(), None).await);
    transcript.note(api.delete(cx, other.id, None).await);
}

async fn call_inventory(side: &Side, transcript: &mut Transcript) {
    let (api, cx) = (&side.inventory, &side.cx);
    let stock = |sku: &str, quantity| StockInput { sku_code: some(sku), quantity: Some(quantity) };
    let change = |quantity| Adjustment { quantity: Some(quantity) };
    transcript.note(api.list(cx, PageNumber(0), PageSize(10), None).await);
    for input in [stock("s", 10), stock("s", 1), stock("what", 1), stock("s", -1), StockInput::default()] {
        transcript.note(api.create(cx, input).await);
    }
    transcript.note(api.list(cx, PageNumber(0), PageSize(10), Some(AfterId(0))).await);
    transcript.note(api.list(cx, PageNumber(1), PageSize(10), Some(AfterId(0))).await);
    transcript.note((api.get(cx, 1).await, api.get(cx, 9).await, api.get(cx, -1).await, api.get(cx, i64::MIN).await));
    transcript.note((api.adjust(cx, 1, change(-1)).await, api.adjust(cx, 1, change(-10)).await, api.adjust(cx, 9, change(1)).await));
    transcript.note((api.adjust(cx, 1, change(i64::from(i32::MAX))).await, api.adjust(cx, 1, change(i64::MAX)).await));
    let of = |entries: &[(&str, i64)]| entries.iter().map(|(sku, n)| (sku.to_string(), *n)).collect::<BTreeMap<_, _>>();
    transcript.note((api.check_stock(cx, of(&[("s", 9), ("what", 1)])).await, api.check_stock(cx, of(&[])).await));
    transcript.note((api.take(cx, of(&[("s", 1)])).await, api.take(cx, of(&[("s", 99)])).await, api.take(cx, of(&[("what", 1)])).await));
    let [held, released, refused] = [1, 2, 3].map(Uuid::from_u128);
    let reserve = |order_number, n| api.reserve(cx, ReserveInput { order_number, lines: of(&[("s", n)]) });
    transcript.note((reserve(held, 2).await, reserve(held, 2).await, reserve(refused, 99).await, reserve(refused, 0).await));
    transcript.note(api.delete(cx, 1).await);
    transcript.note((api.commit(cx, held).await, api.commit(cx, held).await, reserve(held, 2).await));
    transcript.note((reserve(released, 1).await, api.release(cx, released).await, api.release(cx, released).await));
    transcript.note((api.commit(cx, released).await, api.commit(cx, Uuid::from_u128(4)).await));
    transcript.note(api.settle(cx, SettleInput { commit: vec![held, released], release: vec![Uuid::from_u128(5)] }).await);
    transcript.note((api.get(cx, 1).await, api.delete(cx, 9).await));
}

async fn call_orders(side: &Side, transcript: &mut Transcript) {
    let (api, cx) = (&side.order, &side.cx);
    let lines = |entries: &[(&str, i64)]| {
        let line = |(sku, n): &(&str, i64)| LineInput { sku_code: some(sku), quantity: Some(*n) };
        OrderInput { order_line_items: Some(entries.iter().map(line).collect()) }
    };
    transcript.note(api.list(cx, PageNumber(0), PageSize(10), None).await);
    let placed = api.place(cx, some("a key ~!"), lines(&[("s", 2), ("s", 1)])).await.unwrap();
    transcript.name(placed.order_number.to_string());
    transcript.name(placed.placed_at.clone());
    transcript.name(placed.trace_id.clone().unwrap());
    transcript.note(&placed);
    transcript.note(api.place(cx, some("a key ~!"), lines(&[("s", 2), ("s", 1)])).await);
    transcript.note(api.place(cx, some("a key ~!"), lines(&[("s", 1)])).await);
    transcript.note(api.place(cx, None, lines(&[("s", 999), ("what", 1)])).await);
    transcript.note(api.place(cx, None, lines(&[("", 0)])).await);
    transcript.note(api.place(cx, None, OrderInput::default()).await);
    transcript.note((api.get(cx, 1).await, api.get(cx, 99).await));
    transcript.note((api.by_number(cx, placed.order_number).await, api.by_number(cx, Uuid::nil()).await));
    transcript.note((api.status_of(cx, placed.order_number).await, api.status_of(cx, Uuid::nil()).await));
    transcript.note((api.cancel(cx, 1).await, api.cancel(cx, 1).await, api.cancel(cx, 99).await));
    transcript.note((api.delete(cx, 1).await, api.delete(cx, 1).await, api.list(cx, PageNumber(0), PageSize(10), None).await));
}

async fn call_notifications(side: &Side, transcript: &mut Transcript) {
    let (api, cx) = (&side.notification, &side.cx);
    transcript.note(api.list(cx, PageNumber(0), PageSize(10), None).await);
    transcript.note((api.mark_read(cx, 7).await, api.replay(cx, 7).await));
    for state in [None, Some(DeliveryState::Dead), Some(DeliveryState::Pending)] {
        transcript.note(api.deliveries(cx, PageNumber(0), PageSize(10), state, None).await);
        transcript.note(api.deliveries(cx, PageNumber(0), PageSize(10), state, Some(AfterId(7))).await);
        transcript.note(api.deliveries(cx, PageNumber(1), PageSize(10), state, Some(AfterId(7))).await);
    }
}

/// Runs the same calls locally and remotely, each from an empty shop.
#[test]
fn both_sides_return_equal_results() {
    on_system(async {
        let dir = tempfile::tempdir().unwrap();
        let mut shop = Shop::start(Shape::Local, |_| {}).await;
        let mut transcripts = Vec::new();
        for side in [local(dir.path()), remote(&shop)] {
            let mut transcript = Transcript::default();
            call_notifications(&side, &mut transcript).await;
            call_products(&side, &mut transcript).await;
            call_inventory(&side, &mut transcript).await;
            call_orders(&side, &mut transcript).await;
            transcripts.push(transcript.read());
        }
        assert!(transcripts[0].len() > 80, "{}", transcripts[0].len());
        for (here, there) in transcripts[0].iter().zip(&transcripts[1]) {
            assert_eq!(here, there);
        }
        assert_eq!(transcripts[0].len(), transcripts[1].len());
        let all = transcripts[1].join("\n");
        for error in [
            "NotFound",
            "UnknownSku",
            "SkuTaken",
            "Stale",
            "VersionMissing",
            "Negative",
            "TooMany",
            "Short",
            "Held",
            "NoReservation",
            "AlreadyReleased",
            "UnknownNumber",
            "Refused",
            "KeyReused",
            "DeliveryNotFound",
            "Platform",
        ] {
            assert!(all.contains(&format!("Err({error}")), "no call returned {error}");
        }
        shop.stop().await;
    });
}

/// Serializes each error to a problem body and parses it back.
#[track_caller]
fn crosses<E: TypedError + Clone + Debug + PartialEq>(errors: impl IntoIterator<Item = E>) {
    for error in errors {
        let problem = error.clone().into_problem();
        let body = problem.body("GET", "/a/path", "0af7651916cd43dd8448eb211c80319c").to_string();
        assert_eq!(E::from_problem(Problem::parse(problem.status, body.as_bytes())), error, "{body}");
    }
}

/// All typed errors, including those that a test cannot provoke by a call.
#[test]
fn typed_errors_survive_serialization() {
    let (id, sku_code, number) = (7, "a \"b\"".to_string(), Uuid::from_u128(7));
    let text = || "x".to_string();
    crosses([
        ProductError::NotFound { id: text() },
        ProductError::UnknownSku { sku_code: sku_code.clone() },
        ProductError::SkuTaken { sku_code: sku_code.clone() },
        ProductError::Stale { id: text() },
        ProductError::VersionMissing { id: text() },
        ProductError::Platform(Problem::invalid_field("a.b[0]", "is required")),
        ProductError::Platform(Problem::unavailable("away")),
    ]);
    crosses([
        InventoryError::NotFound { id },
        InventoryError::UnknownSku { sku_code: sku_code.clone() },
        InventoryError::SkuTaken { sku_code: sku_code.clone() },
        InventoryError::Negative,
        InventoryError::TooMany { sku_code: sku_code.clone() },
        InventoryError::Short { sku_codes: vec![sku_code.clone(), text()] },
        InventoryError::Held { id, held: 3 },
        InventoryError::NoReservation { order_number: number },
        InventoryError::AlreadyReleased { order_number: number },
    ]);
    crosses([
        OrderError::NotFound { id },
        OrderError::UnknownNumber { order_number: number },
        OrderError::Refused { message: text(), invalid: vec![sku_code], out_of_stock: vec![], insufficient: vec![text()] },
        OrderError::KeyReused,
        OrderError::KeyInFlight,
        OrderError::NotCancellable { id, state: "PENDING".into() },
    ]);
    crosses([
        NotificationError::NotFound { id },
        NotificationError::DeliveryNotFound { id },
        NotificationError::NotDead { id, state: "pending".into() },
    ]);
}

/// An error of another module is not mapped to a variant with the same name.
#[test]
fn error_of_another_module_becomes_platform_error() {
    let passing = InventoryError::from_problem(ProductError::NotFound { id: "7".into() }.into_problem());
    assert!(matches!(&passing, InventoryError::Platform(problem) if problem.status == 404), "{passing:?}");
}

/// A peer call ends with its caller's deadline, and carries the remaining time, the caller's token and the trace.
#[test]
fn deadline_trace_and_identity_travel_to_peers() {
    on_system(async {
        let silent = SilentPeer::start();
        let url = silent.url.clone();
        let mut shop = Shop::start(Shape::Local, |s| {
            s.server.modules = vec!["identity".into(), "order".into()];
            s.peers = ["product", "inventory"].map(|m| (m.to_string(), url.clone())).into();
        })
        .await;
        let c = &shop.client;
        let (trace, bearer) = ("0af7651916cd43dd8448eb211c80319c", format!("Bearer {}", c.alice));
        let parent = format!("00-{trace}-b7ad6b7169203331-01");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
            ("traceparent", &parent),
            ("x-request-timeout-ms", "5000"),
        ];
        let reply = c.send(Method::POST, "/api/v1/orders", &headers, order(&[("s", 1)]).to_string()).await;
        super::envelope::assert_refusal(&reply, 503, "POST", "/api/v1/orders");
        assert_eq!(reply.headers["retry-after"], "1");
        assert_eq!((reply.headers["x-trace-id"].as_str(), reply.json()["traceId"].as_str()), (trace, Some(trace)));
        let product = || silent.requests().into_iter().find(|request| request.path == "/api/v1/products/prices");
        wait_until("product received a request", || product().map(drop).ok_or(format!("{:?}", silent.requests()))).await;
        let request = product().unwrap();
        assert!(request.headers["x-request-timeout-ms"].parse::<u64>().unwrap() <= 5000, "{request:?}");
        assert!(request.headers["traceparent"].contains(trace) && request.headers["traceparent"] != parent, "{request:?}");
        assert_eq!(request.headers["authorization"], bearer, "the caller's own token is relayed");
        assert_eq!(c.get(&c.alice, "/api/v1/orders").await.expect(200).json()["totalElements"], 0);

        let before = silent.requests().len();
        for timeout in ["0", "1"] {
            let hurried = [("authorization", bearer.as_str()), ("content-type", "application/json"), ("x-request-timeout-ms", timeout)];
            let reply = c.send(Method::POST, "/api/v1/orders", &hurried, order(&[("s", 1)]).to_string()).await;
            super::envelope::assert_refusal(&reply, 503, "POST", "/api/v1/orders");
            assert_eq!(reply.json()["type"], "urn:tradepost:problem:unavailable", "{reply:?}");
            // a request that needs no peer may still finish in time
            let reply = c.send(Method::GET, "/api/v1/orders", &hurried[..], "").await;
            match reply.status {
                200 => assert_eq!(reply.json()["totalElements"], 0),
                _ => super::envelope::assert_refusal(&reply, 503, "GET", "/api/v1/orders"),
            }
        }
        for request in silent.requests().iter().skip(before).filter(|request| request.path == "/api/v1/products/prices") {
            assert!(request.headers["x-request-timeout-ms"].parse::<u64>().unwrap() <= 1, "{request:?}");
        }
        shop.stop().await;
        silent.stop().await;
    });
}

/// If a peer is down, the caller gets a 503 that names it; requests that need no peer still work.
#[test]
fn unreachable_peer_returns_503_with_retry_after() {
    on_system(async {
        let mut shop = Shop::start(Shape::Local, |s| {
            s.server.modules = vec!["identity".into(), "order".into(), "inventory".into()];
            s.peers = [("product".to_string(), "http://127.0.0.1:9".to_string())].into();
        })
        .await;
        let c = &shop.client;
        let order = c.post(&c.alice, "/api/v1/orders", order(&[("s", 1)])).await;
        let stock = c.post(&c.admin, "/api/v1/inventory", json!({ "skuCode": "s", "quantity": 1 })).await;
        for (reply, path) in [(order, "/api/v1/orders"), (stock, "/api/v1/inventory")] {
            super::envelope::assert_refusal(&reply, 503, "POST", path);
            assert_eq!(reply.headers["retry-after"], "1");
            assert_eq!(reply.json()["type"], "urn:tradepost:problem:unavailable", "{reply:?}");
            assert_eq!(reply.message(), "product is not available", "the message names the peer");
            assert_eq!(c.get(&c.admin, path).await.expect(200).json()["totalElements"], 0);
        }
        shop.stop().await;
    });
}

/// Checks the test shapes: `loopback` calls peers over HTTP, `local` does not.
#[test]
fn only_loopback_calls_peers_over_http() {
    on_system(async {
        for shape in [Shape::Local, Shape::Loopback] {
            let mut shop = Shop::start(shape, |_| {}).await;
            let c = &shop.client;
            c.stocked("s", "1", 5).await;
            c.order(&[("s", 1)]).await.expect(201);
            let metrics = c.send(Method::GET, "/actuator/prometheus", &[], "").await.expect(200).text;
            assert!(metrics.contains(r#"uri="/api/v1/orders""#), "{metrics}");
            for path in ["/api/v1/products/prices", "/api/v1/products/sku/{sku_code}", "/api/v1/inventory/reservations"] {
                let called_over_http = metrics.contains(&format!("uri=\"{path}\""));
                assert_eq!(called_over_http, shape == Shape::Loopback, "{shape:?} {path}: {metrics}");
            }
            shop.stop().await;
        }
    });
}
