//! A generated client against a scripted peer that fails.

use super::server::{Server, Step};
use crate::edge::auth::Credentials;
use crate::kernel::ports::free_port;
use crate::kernel::problem::{Problem, TypedError};
use crate::rpc::context::Cx;
use crate::rpc::contract::client::Remote;
use crate::rpc::discovery::{Discovery, Outcome, PickedInstance};
use crate::rpc::resilience::Peers;
use crate::rpc::resilience::breaker::State;
use crate::settings::Resilience;
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longer than any test takes, also on a slow machine.
const TEST_TIMEOUT: Duration = Duration::from_secs(120);

#[allow(dead_code, reason = "only the client's side of the contract is used here")]
mod peer {
    crate::errors! {
        /// Errors of the test peer.
        pub enum PeerError in "inventory" {
            /// Rejected.
            No = 409, "no";
        }
    }

    crate::contract! {
        /// A test peer.
        pub trait PeerApi in "inventory", error = PeerError, client = PeerClient {
            /// An idempotent operation.
            fn query() -> i64 = GET "/query" => 200, Public, repeatable;
            /// An operation that is not idempotent.
            fn submit() -> i64 = POST "/submit" => 200, Public, once;
        }
    }
}
use peer::{PeerApi, PeerClient, PeerError};

struct NoCredentials;

#[async_trait(?Send)]
impl Credentials for NoCredentials {
    async fn token(&self) -> Result<String, Problem> {
        Ok("token".into())
    }
}

/// The first instance that is not to be avoided; records the picks and their outcomes.
struct RecordingDiscovery {
    urls: Vec<String>,
    avoided: Mutex<Vec<Option<String>>>,
    outcomes: Arc<Mutex<Vec<Option<Outcome>>>>,
}

impl Discovery for RecordingDiscovery {
    fn pick(&self, _: &str, avoid: Option<&str>) -> Option<PickedInstance> {
        self.avoided.lock().push(avoid.map(str::to_string));
        let url = self.urls.iter().find(|url| Some(url.as_str()) != avoid).or(self.urls.first())?;
        let outcomes = self.outcomes.clone();
        Some(PickedInstance::tracked(url.clone(), move |outcome| outcomes.lock().push(outcome)))
    }
}

struct Fixture {
    client: PeerClient,
    discovery: Arc<RecordingDiscovery>,
    metrics: prometheus::Registry,
}

fn quick() -> Resilience {
    Resilience { backoff_ms: 5, call_ms: 60_000, ..Resilience::default() }
}

fn fixture(settings: Resilience, urls: &[&str]) -> Fixture {
    let metrics = prometheus::Registry::new();
    let peers = Peers::new(settings, &metrics).unwrap();
    let urls = urls.iter().map(|url| url.to_string()).collect();
    let discovery = Arc::new(RecordingDiscovery { urls, avoided: Mutex::default(), outcomes: Arc::default() });
    let peer = peers.of("inventory").unwrap();
    assert!(Arc::ptr_eq(&peer, &peers.of("inventory").unwrap()), "one state per peer");
    let remote =
        Remote { module: "inventory", peer, discovery: discovery.clone(), credentials: Arc::new(NoCredentials), send_twice: false };
    Fixture { client: PeerClient(Arc::new(remote)), discovery, metrics }
}

impl Fixture {
    async fn query(&self) -> Result<i64, Problem> {
        self.client.query(&Cx::module("order", TEST_TIMEOUT)).await.map_err(TypedError::into_problem)
    }

    fn state(&self) -> State {
        self.client.0.peer.circuit.breaker.snapshot().state
    }

    fn failed(&self) -> usize {
        self.client.0.peer.circuit.breaker.snapshot().failed
    }

    fn outcomes(&self) -> Vec<Option<Outcome>> {
        self.discovery.outcomes.lock().clone()
    }

    fn metric(&self, line: &str) -> bool {
        prometheus::TextEncoder::new().encode_to_string(&self.metrics.gather()).unwrap().lines().any(|l| l == line)
    }
}

/// The URL of a port without a listener.
fn unreachable_url() -> String {
    format!("http://127.0.0.1:{}", free_port())
}

#[actix_web::test]
async fn repeatable_call_after_transient_failures_is_retried() {
    for step in [Step::Respond(503, "{}"), Step::Respond(502, "<html>"), Step::Close, Step::CloseInBody] {
        let server = Server::start(vec![step.clone(), step.clone(), Step::Respond(200, "42")]);
        let fixture = fixture(quick(), &[&server.url]);
        assert_eq!(fixture.query().await, Ok(42), "{step:?}");
        assert_eq!((server.requests(), fixture.failed()), (3, 0), "{step:?}");
        assert!(fixture.metric(r#"resilience4j_retry_calls_total{kind="successful_with_retry",name="inventory"} 1"#));
        assert!(fixture.metric(r#"tradepost_retries_total{kind="sent",name="inventory"} 2"#));
    }
}

#[actix_web::test]
async fn call_that_is_not_repeatable_is_sent_once() {
    for step in [Step::Respond(503, "{}"), Step::Close, Step::CloseInBody] {
        let server = Server::start(vec![step.clone(), Step::Respond(200, "42")]);
        let fixture = fixture(quick(), &[&server.url]);
        let refused = fixture.client.submit(&Cx::module("order", TEST_TIMEOUT)).await.map_err(TypedError::into_problem).unwrap_err();
        assert_eq!((refused.status, refused.retry_after, refused.message.as_str()), (503, Some(1), "inventory is not available"));
        assert_eq!((server.requests(), fixture.failed()), (1, 1), "{step:?}");
    }
}

#[actix_web::test]
async fn call_with_a_dead_instance_is_retried_at_another_and_counts_as_success() {
    let (dead, server) = (unreachable_url(), Server::start(vec![Step::Respond(200, "42")]));
    let fixture = fixture(quick(), &[&dead, &server.url]);
    for _ in 0..6 {
        assert_eq!(fixture.query().await, Ok(42));
    }
    assert_eq!((fixture.state(), fixture.failed()), (State::Closed, 0));
    assert_eq!(fixture.discovery.avoided.lock()[..2], [None, Some(dead)]);
    assert_eq!(fixture.outcomes()[..2], [Some(Outcome::Failed), Some(Outcome::Responded)]);
}

#[actix_web::test]
async fn unsent_call_that_is_not_repeatable_is_retried_at_another_instance() {
    let (dead, server) = (unreachable_url(), Server::start(vec![Step::Respond(200, "42")]));
    let fixture = fixture(quick(), &[&dead, &server.url]);
    assert_eq!(fixture.client.submit(&Cx::module("order", TEST_TIMEOUT)).await, Ok(42));
    assert_eq!((server.requests(), fixture.failed()), (1, 0));
}

#[actix_web::test]
async fn refused_call_returns_the_typed_error_and_counts_as_success() {
    let body = r#"{"type":"urn:tradepost:problem:inventory:no","status":409,"message":"no"}"#;
    let server = Server::start(vec![Step::Respond(409, body)]);
    let fixture = fixture(quick(), &[&server.url]);
    for _ in 0..6 {
        assert_eq!(fixture.client.query(&Cx::module("order", TEST_TIMEOUT)).await, Err(PeerError::No));
    }
    assert_eq!((fixture.state(), fixture.failed(), server.requests()), (State::Closed, 0, 6));
}

#[actix_web::test]
async fn internal_error_or_unreadable_response_counts_as_failure_and_is_not_retried() {
    for step in [Step::Respond(500, "{}"), Step::Respond(200, "forty-two"), Step::Respond(302, "")] {
        let server = Server::start(vec![step.clone()]);
        let fixture = fixture(quick(), &[&server.url]);
        assert_eq!(fixture.query().await.unwrap_err().status, 503, "{step:?}");
        assert_eq!((server.requests(), fixture.failed()), (1, 1), "{step:?}");
    }
}

#[actix_web::test]
async fn unreachable_peer_opens_the_breaker_and_callers_receive_retry_after() {
    let dead = unreachable_url();
    let fixture = fixture(quick(), &[&dead]);
    for _ in 0..5 {
        assert_eq!(fixture.query().await.unwrap_err().retry_after, Some(1));
    }
    assert_eq!(fixture.state(), State::Open);
    let attempts = fixture.outcomes().len();
    let refused = fixture.query().await.unwrap_err();
    assert_eq!((refused.status, refused.message.as_str()), (503, "inventory is not available"));
    let wait = refused.retry_after.unwrap();
    assert!((2..=30).contains(&wait), "30 s minus elapsed time: {wait}");
    assert_eq!(fixture.outcomes().len(), attempts);
    for line in [
        r#"resilience4j_circuitbreaker_state{name="inventory",state="open"} 1"#,
        r#"resilience4j_circuitbreaker_state{name="inventory",state="closed"} 0"#,
        r#"resilience4j_circuitbreaker_calls_total{kind="failed",name="inventory"} 5"#,
        r#"resilience4j_circuitbreaker_calls_total{kind="not_permitted",name="inventory"} 1"#,
    ] {
        assert!(fixture.metric(line), "{line}");
    }
}

#[test]
fn recovered_peer_after_the_open_time_closes_the_breaker() {
    let server = Server::start([vec![Step::Respond(500, "{}"); 5], vec![Step::Respond(200, "42")]].concat());
    failsafe::clock::freeze(|clock| {
        actix_web::rt::System::new().block_on(async {
            let fixture = fixture(quick(), &[&server.url]);
            for _ in 0..5 {
                fixture.query().await.unwrap_err();
            }
            assert_eq!(fixture.query().await.unwrap_err().retry_after, Some(30));
            clock.advance(Duration::from_millis(30_001));
            assert_eq!(fixture.state(), State::HalfOpen);
            for _ in 0..3 {
                assert_eq!(fixture.query().await, Ok(42));
            }
            assert_eq!(fixture.state(), State::Closed);
        });
    });
}

/// Repeats the call until the server has received a request; on a busy machine the first ones may time out before.
/// Returns the number of calls.
async fn repeat_until_received(server: &Server, call: impl AsyncFn()) -> usize {
    for times in 1..100 {
        call().await;
        if server.requests() > 0 {
            return times;
        }
    }
    panic!("the peer received no request");
}

#[actix_web::test]
async fn call_without_a_response_ends_at_the_peers_limit() {
    let server = Server::start(vec![Step::Wait(TEST_TIMEOUT)]);
    let fixture = fixture(Resilience { call_ms: 300, min_calls: 1000, window: 1000, ..quick() }, &[&server.url]);
    let calls = repeat_until_received(&server, async || {
        let started = Instant::now();
        assert_eq!(fixture.query().await.unwrap_err().status, 503);
        assert!(started.elapsed() >= Duration::from_millis(295), "{:?}", started.elapsed());
    })
    .await;
    assert_eq!(fixture.failed(), calls);
    assert_eq!(fixture.outcomes(), vec![Some(Outcome::Failed); calls], "a timeout leaves no time for a retry");
    let timeouts = server.timeouts.lock().clone();
    assert!(!timeouts.is_empty() && timeouts.iter().all(|ms| *ms <= 300), "{timeouts:?}");
}

#[actix_web::test]
async fn call_without_a_response_ends_at_the_callers_deadline() {
    let server = Server::start(vec![Step::Wait(TEST_TIMEOUT)]);
    let fixture = fixture(quick(), &[&server.url]);
    let call = async |time| fixture.client.query(&Cx::module("order", time)).await.map_err(TypedError::into_problem).unwrap_err().status;
    repeat_until_received(&server, async || assert_eq!(call(Duration::from_millis(100)).await, 503)).await;
    assert_eq!(fixture.failed(), 0, "a short deadline does not count against the peer");
    let outcomes = fixture.outcomes();
    assert!(outcomes.iter().all(Option::is_none), "{outcomes:?}");
    let timeouts = server.timeouts.lock().clone();
    assert!(!timeouts.is_empty() && timeouts.iter().all(|ms| *ms <= 100), "{timeouts:?}");
    assert_eq!((call(Duration::ZERO).await, fixture.outcomes().len()), (503, outcomes.len()), "nothing is sent after the deadline");
}

#[actix_web::test]
async fn retries_with_long_backoff_end_at_the_deadline() {
    let server = Server::start(vec![Step::Respond(503, "{}")]);
    let fixture = fixture(Resilience { retries: 10, backoff_ms: 60_000, call_ms: 400, ..quick() }, &[&server.url]);
    // Ten such backoffs exceed the test's timeout by far.
    tokio::time::timeout(TEST_TIMEOUT / 2, fixture.query()).await.expect("retried after the deadline").unwrap_err();
}

#[actix_web::test]
async fn call_beyond_the_bulkhead_is_rejected_immediately() {
    let server = Server::start(vec![Step::Wait(TEST_TIMEOUT)]);
    let fixture = fixture(Resilience { bulkhead: 3, call_ms: 500, ..quick() }, &[&server.url]);
    let cx = Cx::module("order", TEST_TIMEOUT);
    // In order of completion.
    let calls: FuturesUnordered<_> = (0..5).map(|_| fixture.client.query(&cx)).collect();
    let refused: Vec<_> = calls.map(|outcome| outcome.map_err(TypedError::into_problem).unwrap_err()).collect().await;
    let full = refused.iter().map(|problem| problem.message == "too many calls to inventory are under way");
    assert_eq!(full.collect::<Vec<_>>(), [true, true, false, false, false]);
    assert_eq!(fixture.outcomes().len(), 3);
    assert!(refused.iter().all(|problem| problem.status == 503 && problem.retry_after == Some(1)), "{refused:?}");
    assert!(fixture.metric(r#"tradepost_bulkhead_rejected_total{name="inventory"} 2"#));
    assert!(fixture.metric(r#"resilience4j_bulkhead_available_concurrent_calls{name="inventory"} 3"#));
    assert_eq!(fixture.failed(), 3, "a full bulkhead does not count against the peer");
}

#[actix_web::test]
async fn cancelled_call_is_not_counted() {
    let server = Server::start(vec![Step::Wait(TEST_TIMEOUT)]);
    let fixture = fixture(quick(), &[&server.url]);
    for _ in 0..10 {
        let _ = tokio::time::timeout(Duration::from_millis(20), fixture.query()).await.unwrap_err();
    }
    assert_eq!((fixture.state(), fixture.failed()), (State::Closed, 0));
    assert!(fixture.metric(r#"resilience4j_bulkhead_available_concurrent_calls{name="inventory"} 256"#));
}

#[actix_web::test]
async fn exhausted_budget_prevents_retries() {
    let server = Server::start(vec![Step::Respond(503, "{}")]);
    let mut settings = Resilience { retries: 10, backoff_ms: 0, failure_percent: 100, ..quick() };
    // Windows so large that the breaker does not open before the budget is exhausted.
    settings.window = 1000;
    settings.min_calls = 1000;
    let fixture = fixture(settings, &[&server.url]);
    for _ in 0..15 {
        fixture.query().await.unwrap_err();
    }
    // 10 per second over 10 s, plus 20 % of at most 15 calls.
    assert!((115..=118).contains(&server.requests()), "{}", server.requests());
}
