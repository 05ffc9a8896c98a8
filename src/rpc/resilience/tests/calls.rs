//! A generated client against a peer that fails on purpose.

use super::server::{Act, Server};
use crate::edge::auth::Credentials;
use crate::kernel::ports::free_port;
use crate::kernel::problem::{Problem, TypedError};
use crate::rpc::context::Cx;
use crate::rpc::contract::client::Remote;
use crate::rpc::discovery::{Discovery, Outcome, Picked};
use crate::rpc::resilience::Peers;
use crate::rpc::resilience::breaker::State;
use crate::settings::Resilience;
use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Nothing here takes so long, on however slow a machine.
const PATIENCE: Duration = Duration::from_secs(120);

#[allow(dead_code, reason = "only the client's side of the contract is used here")]
mod peer {
    crate::errors! {
        /// What the peer refuses.
        pub enum PeerError in "inventory" {
            /// Not now.
            No = 409, "no";
        }
    }

    crate::contract! {
        /// A peer.
        pub trait PeerApi in "inventory", error = PeerError, client = PeerClient {
            /// May be repeated.
            fn ask() -> i64 = GET "/ask" => 200, Public, repeatable;
            /// May not.
            fn tell() -> i64 = POST "/tell" => 200, Public, once;
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

/// The instances in turn, except the one to avoid; writes down what was asked for and how it went.
struct Listed {
    urls: Vec<String>,
    avoided: Mutex<Vec<Option<String>>>,
    outcomes: Arc<Mutex<Vec<Option<Outcome>>>>,
}

impl Discovery for Listed {
    fn pick(&self, _: &str, avoid: Option<&str>) -> Option<Picked> {
        self.avoided.lock().push(avoid.map(str::to_string));
        let url = self.urls.iter().find(|url| Some(url.as_str()) != avoid).or(self.urls.first())?;
        let outcomes = self.outcomes.clone();
        Some(Picked::tracked(url.clone(), move |outcome| outcomes.lock().push(outcome)))
    }
}

struct Rig {
    client: PeerClient,
    listed: Arc<Listed>,
    metrics: prometheus::Registry,
}

fn quick() -> Resilience {
    Resilience { backoff_ms: 5, call_ms: 60_000, ..Resilience::default() }
}

fn rig(settings: Resilience, urls: &[&str]) -> Rig {
    let metrics = prometheus::Registry::new();
    let peers = Peers::new(settings, &metrics).unwrap();
    let urls = urls.iter().map(|url| url.to_string()).collect();
    let listed = Arc::new(Listed { urls, avoided: Mutex::default(), outcomes: Arc::default() });
    let peer = peers.of("inventory").unwrap();
    assert!(Arc::ptr_eq(&peer, &peers.of("inventory").unwrap()), "there is one state a peer");
    let remote = Remote { module: "inventory", peer, discovery: listed.clone(), credentials: Arc::new(NoCredentials), send_twice: false };
    Rig { client: PeerClient(Arc::new(remote)), listed, metrics }
}

impl Rig {
    async fn ask(&self) -> Result<i64, Problem> {
        self.client.ask(&Cx::module("order", PATIENCE)).await.map_err(TypedError::into_problem)
    }

    fn state(&self) -> State {
        self.client.0.peer.circuit.breaker.snapshot().state
    }

    fn failed(&self) -> usize {
        self.client.0.peer.circuit.breaker.snapshot().failed
    }

    fn outcomes(&self) -> Vec<Option<Outcome>> {
        self.listed.outcomes.lock().clone()
    }

    fn metric(&self, line: &str) -> bool {
        prometheus::TextEncoder::new().encode_to_string(&self.metrics.gather()).unwrap().lines().any(|l| l == line)
    }
}

/// A port at which nobody listens.
fn nobody() -> String {
    format!("http://127.0.0.1:{}", free_port())
}

#[actix_web::test]
async fn what_fails_for_a_moment_is_tried_again() {
    for act in [Act::Answer(503, "{}"), Act::Answer(502, "<html>"), Act::HangUp, Act::BreakOff] {
        let server = Server::start(vec![act.clone(), act.clone(), Act::Answer(200, "42")]);
        let rig = rig(quick(), &[&server.url]);
        assert_eq!(rig.ask().await, Ok(42), "{act:?}");
        assert_eq!((server.seen(), rig.failed()), (3, 0), "{act:?}");
        assert!(rig.metric(r#"resilience4j_retry_calls_total{kind="successful_with_retry",name="inventory"} 1"#));
        assert!(rig.metric(r#"tradepost_retries_total{kind="sent",name="inventory"} 2"#));
    }
}

#[actix_web::test]
async fn what_may_not_be_repeated_is_sent_once() {
    for act in [Act::Answer(503, "{}"), Act::HangUp, Act::BreakOff] {
        let server = Server::start(vec![act.clone(), Act::Answer(200, "42")]);
        let rig = rig(quick(), &[&server.url]);
        let refused = rig.client.tell(&Cx::module("order", PATIENCE)).await.map_err(TypedError::into_problem).unwrap_err();
        assert_eq!((refused.status, refused.retry_after, refused.message.as_str()), (503, Some(1), "inventory is not available"));
        assert_eq!((server.seen(), rig.failed()), (1, 1), "{act:?}");
    }
}

#[actix_web::test]
async fn the_next_attempt_goes_to_another_instance_and_the_peer_is_well() {
    let (dead, server) = (nobody(), Server::start(vec![Act::Answer(200, "42")]));
    let rig = rig(quick(), &[&dead, &server.url]);
    for _ in 0..6 {
        assert_eq!(rig.ask().await, Ok(42));
    }
    assert_eq!((rig.state(), rig.failed()), (State::Closed, 0));
    assert_eq!(rig.listed.avoided.lock()[..2], [None, Some(dead)]);
    assert_eq!(rig.outcomes()[..2], [Some(Outcome::Failed), Some(Outcome::Answered)]);
}

#[actix_web::test]
async fn what_was_never_sent_goes_to_another_instance_whatever_it_is() {
    let (dead, server) = (nobody(), Server::start(vec![Act::Answer(200, "42")]));
    let rig = rig(quick(), &[&dead, &server.url]);
    assert_eq!(rig.client.tell(&Cx::module("order", PATIENCE)).await, Ok(42));
    assert_eq!((server.seen(), rig.failed()), (1, 0));
}

#[actix_web::test]
async fn a_refusal_is_an_answer_and_keeps_its_type() {
    let body = r#"{"type":"urn:tradepost:problem:inventory:no","status":409,"message":"no"}"#;
    let server = Server::start(vec![Act::Answer(409, body)]);
    let rig = rig(quick(), &[&server.url]);
    for _ in 0..6 {
        assert_eq!(rig.client.ask(&Cx::module("order", PATIENCE)).await, Err(PeerError::No));
    }
    assert_eq!((rig.state(), rig.failed(), server.seen()), (State::Closed, 0, 6));
}

#[actix_web::test]
async fn an_internal_error_or_an_unreadable_answer_counts_and_is_not_tried_again() {
    for act in [Act::Answer(500, "{}"), Act::Answer(200, "forty-two"), Act::Answer(302, "")] {
        let server = Server::start(vec![act.clone()]);
        let rig = rig(quick(), &[&server.url]);
        assert_eq!(rig.ask().await.unwrap_err().status, 503, "{act:?}");
        assert_eq!((server.seen(), rig.failed()), (1, 1), "{act:?}");
    }
}

#[actix_web::test]
async fn a_peer_that_is_away_is_left_alone_and_the_caller_told_how_long() {
    let dead = nobody();
    let rig = rig(quick(), &[&dead]);
    for _ in 0..5 {
        assert_eq!(rig.ask().await.unwrap_err().retry_after, Some(1));
    }
    assert_eq!(rig.state(), State::Open);
    let attempts = rig.outcomes().len();
    let refused = rig.ask().await.unwrap_err();
    assert_eq!((refused.status, refused.message.as_str()), (503, "inventory is not available"));
    let wait = refused.retry_after.unwrap();
    assert!((2..=30).contains(&wait), "30 s, of which some may be over: {wait}");
    assert_eq!(rig.outcomes().len(), attempts);
    for line in [
        r#"resilience4j_circuitbreaker_state{name="inventory",state="open"} 1"#,
        r#"resilience4j_circuitbreaker_state{name="inventory",state="closed"} 0"#,
        r#"resilience4j_circuitbreaker_calls_total{kind="failed",name="inventory"} 5"#,
        r#"resilience4j_circuitbreaker_calls_total{kind="not_permitted",name="inventory"} 1"#,
    ] {
        assert!(rig.metric(line), "{line}");
    }
}

#[test]
fn it_is_itself_again_after_the_open_time() {
    let server = Server::start([vec![Act::Answer(500, "{}"); 5], vec![Act::Answer(200, "42")]].concat());
    failsafe::clock::freeze(|clock| {
        actix_web::rt::System::new().block_on(async {
            let rig = rig(quick(), &[&server.url]);
            for _ in 0..5 {
                rig.ask().await.unwrap_err();
            }
            assert_eq!(rig.ask().await.unwrap_err().retry_after, Some(30));
            clock.advance(Duration::from_millis(30_001));
            assert_eq!(rig.state(), State::HalfOpen);
            for _ in 0..3 {
                assert_eq!(rig.ask().await, Ok(42));
            }
            assert_eq!(rig.state(), State::Closed);
        });
    });
}

/// Asks until a request has got through in its time, which need not be the first on a busy machine; how often that was.
async fn until_heard(server: &Server, ask: impl AsyncFn()) -> usize {
    for times in 1..100 {
        ask().await;
        if server.seen() > 0 {
            return times;
        }
    }
    panic!("the peer hears of nothing");
}

#[actix_web::test]
async fn a_call_ends_at_the_peers_limit() {
    let server = Server::start(vec![Act::Wait(PATIENCE)]);
    let rig = rig(Resilience { call_ms: 300, min_calls: 1000, window: 1000, ..quick() }, &[&server.url]);
    let asked = until_heard(&server, async || {
        let started = Instant::now();
        assert_eq!(rig.ask().await.unwrap_err().status, 503);
        assert!(started.elapsed() >= Duration::from_millis(295), "{:?}", started.elapsed());
    })
    .await;
    assert_eq!(rig.failed(), asked);
    assert_eq!(rig.outcomes(), vec![Some(Outcome::Failed); asked], "a time-out leaves no time for a retry");
    let limits = server.limits.lock().clone();
    assert!(!limits.is_empty() && limits.iter().all(|ms| *ms <= 300), "{limits:?}");
}

#[actix_web::test]
async fn a_call_ends_at_the_callers_deadline() {
    let server = Server::start(vec![Act::Wait(PATIENCE)]);
    let rig = rig(quick(), &[&server.url]);
    let ask = async |time| rig.client.ask(&Cx::module("order", time)).await.map_err(TypedError::into_problem).unwrap_err().status;
    until_heard(&server, async || assert_eq!(ask(Duration::from_millis(100)).await, 503)).await;
    assert_eq!(rig.failed(), 0, "a caller in a hurry says nothing of the peer");
    let outcomes = rig.outcomes();
    assert!(outcomes.iter().all(Option::is_none), "{outcomes:?}");
    let limits = server.limits.lock().clone();
    assert!(!limits.is_empty() && limits.iter().all(|ms| *ms <= 100), "{limits:?}");
    assert_eq!((ask(Duration::ZERO).await, rig.outcomes().len()), (503, outcomes.len()), "nothing is sent too late");
}

#[actix_web::test]
async fn retries_end_at_the_deadline_too() {
    let server = Server::start(vec![Act::Answer(503, "{}")]);
    let rig = rig(Resilience { retries: 10, backoff_ms: 60_000, call_ms: 400, ..quick() }, &[&server.url]);
    // ten such pauses are hours
    tokio::time::timeout(PATIENCE / 2, rig.ask()).await.expect("it is still tried").unwrap_err();
}

#[actix_web::test]
async fn beyond_the_bulkhead_a_call_is_refused_at_once() {
    let server = Server::start(vec![Act::Wait(PATIENCE)]);
    let rig = rig(Resilience { bulkhead: 3, call_ms: 500, ..quick() }, &[&server.url]);
    let cx = Cx::module("order", PATIENCE);
    // in the order in which they end
    let calls: FuturesUnordered<_> = (0..5).map(|_| rig.client.ask(&cx)).collect();
    let refused: Vec<_> = calls.map(|outcome| outcome.map_err(TypedError::into_problem).unwrap_err()).collect().await;
    let full = refused.iter().map(|problem| problem.message == "too many calls to inventory are under way");
    assert_eq!(full.collect::<Vec<_>>(), [true, true, false, false, false]);
    assert_eq!(rig.outcomes().len(), 3);
    assert!(refused.iter().all(|problem| problem.status == 503 && problem.retry_after == Some(1)), "{refused:?}");
    assert!(rig.metric(r#"tradepost_bulkhead_rejected_total{name="inventory"} 2"#));
    assert!(rig.metric(r#"resilience4j_bulkhead_available_concurrent_calls{name="inventory"} 3"#));
    assert_eq!(rig.failed(), 3, "a full bulkhead is not the peer's fault");
}

#[actix_web::test]
async fn a_call_that_is_given_up_leaves_no_trace() {
    let server = Server::start(vec![Act::Wait(PATIENCE)]);
    let rig = rig(quick(), &[&server.url]);
    for _ in 0..10 {
        let _ = tokio::time::timeout(Duration::from_millis(20), rig.ask()).await.unwrap_err();
    }
    assert_eq!((rig.state(), rig.failed()), (State::Closed, 0));
    assert!(rig.metric(r#"resilience4j_bulkhead_available_concurrent_calls{name="inventory"} 256"#));
}

#[actix_web::test]
async fn without_budget_there_is_no_retry() {
    let server = Server::start(vec![Act::Answer(503, "{}")]);
    let mut settings = Resilience { retries: 10, backoff_ms: 0, failure_percent: 100, ..quick() };
    // so many calls that the breaker does not come before the budget
    settings.window = 1000;
    settings.min_calls = 1000;
    let rig = rig(settings, &[&server.url]);
    for _ in 0..15 {
        rig.ask().await.unwrap_err();
    }
    // 10 a second over 10 s, and 20 % of at most 15 calls
    assert!((115..=118).contains(&server.seen()), "{}", server.seen());
}
