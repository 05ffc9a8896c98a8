//! The seam: a peer in this process and the same peer over HTTP cannot be told apart by their answers.
//! Values, typed errors, deadline, trace and the caller's identity cross it.

use super::peer::Silent;
use crate::support::client::{REALM, order};
use crate::support::{Shape, Shop, on_system, wait_until};
use actix_web::http::Method;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use tradepost::kernel::page::{PageNumber, PageSize};
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

/// The four contracts on one side of the seam.
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

/// The services themselves, each handed its peers as function calls.
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

/// The generated clients, towards a running shop.
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

/// What was said, without what differs by nature: made-up ids and times.
#[derive(Default)]
struct Transcript {
    lines: Vec<String>,
    names: Vec<(String, String)>,
}

impl Transcript {
    fn note(&mut self, answer: impl Debug) {
        self.lines.push(format!("{answer:?}"));
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

async fn about_products(side: &Side, said: &mut Transcript) {
    let (api, cx) = (&side.product, &side.cx);
    let page = || (PageNumber::default(), PageSize::default());
    said.note(api.list(cx, page().0, page().1, None, None).await);
    let made = api.create(cx, product("s", "10.00")).await.unwrap();
    said.name(made.id.clone());
    said.note(&made);
    said.note(api.create(cx, product("s", "1")).await);
    said.note(api.create(cx, product("", "-1")).await);
    said.note(api.create(cx, ProductInput::default()).await);
    said.note(api.get(cx, made.id.clone()).await);
    said.note(api.list(cx, PageNumber(0), PageSize(1), some("S"), None).await);
    said.note(api.list(cx, PageNumber(7), PageSize(1000), some("a&b=c d+é%"), None).await);
    said.note(api.list(cx, PageNumber(0), PageSize(1), some("S"), some("0123456789ABCDEF01234567")).await);
    said.note(api.list(cx, PageNumber(0), PageSize(1), None, some("no id")).await);
    for odd in ["what", "a/b", "a b", "50%", "%2F", "a+b", "ä", "?x=1#y", "..", ".", "\u{1f6d2}"] {
        said.note(api.get(cx, odd.into()).await);
        said.note(api.price(cx, odd.into()).await);
        said.note(api.exists(cx, odd.into()).await);
        said.note(api.delete(cx, odd.into()).await);
    }
    said.note((api.price(cx, "s".into()).await, api.exists(cx, "s".into()).await));
    said.note(api.prices(cx, vec!["s".into(), "what".into()]).await);
    said.note(api.prices(cx, vec!["s".into(); 1001]).await);
    said.note(api.replace(cx, made.id.clone(), None, product("s", "2")).await);
    said.note(api.replace(cx, made.id.clone(), some("\"9\""), product("s", "2")).await);
    said.note(api.replace(cx, "what".into(), some("*"), product("s", "2")).await);
    said.note(api.replace(cx, made.id.clone(), some("\"1\""), product("s", "2.50")).await);
    let other = api.create(cx, product("a/ö 100%", "0")).await.unwrap();
    said.name(other.id.clone());
    said.note((api.price(cx, "a/ö 100%".into()).await, api.exists(cx, "a/ö 100%".into()).await));
    said.note(api.replace(cx, other.id.clone(), some("*"), product("s", "2")).await);
    said.note(api.delete(cx, other.id.clone()).await);
    said.note(api.delete(cx, other.id).await);
}

async fn about_stock(side: &Side, said: &mut Transcript) {
    let (api, cx) = (&side.inventory, &side.cx);
    let stock = |sku: &str, quantity| StockInput { sku_code: some(sku), quantity: Some(quantity) };
    let change = |quantity| Adjustment { quantity: Some(quantity) };
    said.note(api.list(cx, PageNumber(0), PageSize(10)).await);
    for input in [stock("s", 10), stock("s", 1), stock("what", 1), stock("s", -1), StockInput::default()] {
        said.note(api.create(cx, input).await);
    }
    said.note((api.get(cx, 1).await, api.get(cx, 9).await, api.get(cx, -1).await, api.get(cx, i64::MIN).await));
    said.note((api.adjust(cx, 1, change(-1)).await, api.adjust(cx, 1, change(-10)).await, api.adjust(cx, 9, change(1)).await));
    said.note((api.adjust(cx, 1, change(i64::from(i32::MAX))).await, api.adjust(cx, 1, change(i64::MAX)).await));
    let of = |entries: &[(&str, i64)]| entries.iter().map(|(sku, n)| (sku.to_string(), *n)).collect::<BTreeMap<_, _>>();
    said.note((api.check_stock(cx, of(&[("s", 9), ("what", 1)])).await, api.check_stock(cx, of(&[])).await));
    said.note((api.take(cx, of(&[("s", 1)])).await, api.take(cx, of(&[("s", 99)])).await, api.take(cx, of(&[("what", 1)])).await));
    let [held, given_back, never] = [1, 2, 3].map(Uuid::from_u128);
    let reserve = |order_number, n| api.reserve(cx, ReserveInput { order_number, lines: of(&[("s", n)]) });
    said.note((reserve(held, 2).await, reserve(held, 2).await, reserve(never, 99).await, reserve(never, 0).await));
    said.note(api.delete(cx, 1).await);
    said.note((api.commit(cx, held).await, api.commit(cx, held).await, reserve(held, 2).await));
    said.note((reserve(given_back, 1).await, api.release(cx, given_back).await, api.release(cx, given_back).await));
    said.note((api.commit(cx, given_back).await, api.commit(cx, Uuid::from_u128(4)).await));
    said.note(api.settle(cx, SettleInput { commit: vec![held, given_back], release: vec![Uuid::from_u128(5)] }).await);
    said.note((api.get(cx, 1).await, api.delete(cx, 9).await));
}

async fn about_orders(side: &Side, said: &mut Transcript) {
    let (api, cx) = (&side.order, &side.cx);
    let lines = |entries: &[(&str, i64)]| {
        let line = |(sku, n): &(&str, i64)| LineInput { sku_code: some(sku), quantity: Some(*n) };
        OrderInput { order_line_items: Some(entries.iter().map(line).collect()) }
    };
    said.note(api.list(cx, PageNumber(0), PageSize(10)).await);
    let placed = api.place(cx, some("a key ~!"), lines(&[("s", 2), ("s", 1)])).await.unwrap();
    said.name(placed.order_number.to_string());
    said.name(placed.placed_at.clone());
    said.name(placed.trace_id.clone().unwrap());
    said.note(&placed);
    said.note(api.place(cx, some("a key ~!"), lines(&[("s", 2), ("s", 1)])).await);
    said.note(api.place(cx, some("a key ~!"), lines(&[("s", 1)])).await);
    said.note(api.place(cx, None, lines(&[("s", 999), ("what", 1)])).await);
    said.note(api.place(cx, None, lines(&[("", 0)])).await);
    said.note(api.place(cx, None, OrderInput::default()).await);
    said.note((api.get(cx, 1).await, api.get(cx, 99).await));
    said.note((api.by_number(cx, placed.order_number).await, api.by_number(cx, Uuid::nil()).await));
    said.note((api.status_of(cx, placed.order_number).await, api.status_of(cx, Uuid::nil()).await));
    said.note((api.cancel(cx, 1).await, api.cancel(cx, 1).await, api.cancel(cx, 99).await));
    said.note((api.delete(cx, 1).await, api.delete(cx, 1).await, api.list(cx, PageNumber(0), PageSize(10)).await));
}

async fn about_notifications(side: &Side, said: &mut Transcript) {
    let (api, cx) = (&side.notification, &side.cx);
    said.note(api.list(cx, PageNumber(0), PageSize(10)).await);
    said.note((api.mark_read(cx, 7).await, api.replay(cx, 7).await));
    for state in [None, Some(DeliveryState::Dead), Some(DeliveryState::Pending)] {
        said.note(api.deliveries(cx, PageNumber(0), PageSize(10), state).await);
    }
}

/// The same conversation on both sides, from an empty shop on.
#[test]
fn both_sides_give_the_same_answers_and_the_same_errors() {
    on_system(async {
        let dir = tempfile::tempdir().unwrap();
        let mut shop = Shop::start(Shape::Local, |_| {}).await;
        let mut heard = Vec::new();
        for side in [local(dir.path()), remote(&shop)] {
            let mut said = Transcript::default();
            about_notifications(&side, &mut said).await;
            about_products(&side, &mut said).await;
            about_stock(&side, &mut said).await;
            about_orders(&side, &mut said).await;
            heard.push(said.read());
        }
        assert!(heard[0].len() > 80, "{}", heard[0].len());
        for (here, there) in heard[0].iter().zip(&heard[1]) {
            assert_eq!(here, there);
        }
        assert_eq!(heard[0].len(), heard[1].len());
        let all = heard[1].join("\n");
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
            assert!(all.contains(&format!("Err({error}")), "no call was answered with {error}");
        }
        shop.stop().await;
    });
}

/// On the wire and back.
#[track_caller]
fn crosses<E: TypedError + Clone + Debug + PartialEq>(errors: impl IntoIterator<Item = E>) {
    for error in errors {
        let problem = error.clone().into_problem();
        let body = problem.body("GET", "/a/path", "0af7651916cd43dd8448eb211c80319c").to_string();
        assert_eq!(E::from_problem(Problem::parse(problem.status, body.as_bytes())), error, "{body}");
    }
}

/// Also those that no call provokes at will.
#[test]
fn every_typed_error_survives_the_wire() {
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

/// One module's error is no other's, even under the same name.
#[test]
fn a_peers_error_does_not_turn_into_ones_own() {
    let passing = InventoryError::from_problem(ProductError::NotFound { id: "7".into() }.into_problem());
    assert!(matches!(&passing, InventoryError::Platform(problem) if problem.status == 404), "{passing:?}");
}

/// A call never outlives its caller, and the peer learns how long that waits, who it is and in which trace.
#[test]
fn deadline_trace_and_identity_travel_to_peers() {
    on_system(async {
        let silent = Silent::start();
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
        let product = || silent.asked().into_iter().find(|asked| asked.path == "/api/v1/products/prices");
        wait_until("product was asked", || product().map(drop).ok_or(format!("{:?}", silent.asked()))).await;
        let asked = product().unwrap();
        assert!(asked.headers["x-request-timeout-ms"].parse::<u64>().unwrap() <= 5000, "{asked:?}");
        assert!(asked.headers["traceparent"].contains(trace) && asked.headers["traceparent"] != parent, "{asked:?}");
        assert_eq!(asked.headers["authorization"], bearer, "the caller's own token is relayed");
        assert_eq!(c.get(&c.alice, "/api/v1/orders").await.expect(200).json()["totalElements"], 0);

        let before = silent.asked().len();
        for timeout in ["0", "1"] {
            let hurried = [("authorization", bearer.as_str()), ("content-type", "application/json"), ("x-request-timeout-ms", timeout)];
            let reply = c.send(Method::POST, "/api/v1/orders", &hurried, order(&[("s", 1)]).to_string()).await;
            super::envelope::assert_refusal(&reply, 503, "POST", "/api/v1/orders");
            assert_eq!(reply.json()["type"], "urn:tradepost:problem:unavailable", "{reply:?}");
            // what needs no peer may be in time all the same
            let reply = c.send(Method::GET, "/api/v1/orders", &hurried[..], "").await;
            match reply.status {
                200 => assert_eq!(reply.json()["totalElements"], 0),
                _ => super::envelope::assert_refusal(&reply, 503, "GET", "/api/v1/orders"),
            }
        }
        for asked in silent.asked().iter().skip(before).filter(|asked| asked.path == "/api/v1/products/prices") {
            assert!(asked.headers["x-request-timeout-ms"].parse::<u64>().unwrap() <= 1, "{asked:?}");
        }
        shop.stop().await;
        silent.stop().await;
    });
}

/// A peer that is away is a matter of time, and the caller is told so; what needs no peer goes on.
#[test]
fn peers_that_are_away_are_a_503_with_retry_after() {
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
            assert_eq!(reply.message(), "product is not available", "the caller hears which");
            assert_eq!(c.get(&c.admin, path).await.expect(200).json()["totalElements"], 0);
        }
        shop.stop().await;
    });
}

/// The shapes are what they say: in `loopback` peers are called over HTTP, in `local` they are not.
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
                let travelled = metrics.contains(&format!("uri=\"{path}\""));
                assert_eq!(travelled, shape == Shape::Loopback, "{shape:?} {path}: {metrics}");
            }
            shop.stop().await;
        }
    });
}
