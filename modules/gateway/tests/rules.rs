//! Predicates, filters and rate limits through the gateway.

use super::super::document::parse;
use super::super::predicates::IncomingRequest;
use super::super::sanitize::RequestOrigin;
use super::super::table::RouteTable;
use super::support::{Upstream, single_route, start_gateway};
use actix_web::test::TestRequest;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;
use time::OffsetDateTime;

/// One route per predicate, named by the response header `X-Route`; the last route matches the rest.
fn routes_with_header(predicates: &[&str]) -> String {
    let mut file = String::from("spring.cloud.gateway.routes:\n");
    for (index, predicate) in predicates.iter().chain(&["Path=/**"]).enumerate() {
        let id = if index == predicates.len() { "rest".to_string() } else { index.to_string() };
        file.push_str(&format!(
            "- {{id: '{id}', uri: 'URL', predicates: ['{predicate}'], filters: ['AddResponseHeader=X-Route, {id}']}}\n"
        ));
    }
    file
}

#[actix_web::test]
async fn each_predicate_selects_its_requests() {
    let upstream = Upstream::start("a");
    let past = "2017-01-20T17:42:47.789-07:00[America/Denver]";
    for (predicate, path, header, matches) in [
        (format!("After={past}"), "/", ("x-a", "1"), true),
        ("After=2999-01-20T17:42:47Z".to_string(), "/", ("x-a", "1"), false),
        (format!("Before={past}"), "/", ("x-a", "1"), false),
        (format!("Between={past}, 2999-01-20T17:42:47+01:00[Europe/Paris]"), "/", ("x-a", "1"), true),
        ("Cookie=chocolate, ch.p".to_string(), "/", ("cookie", "a=b; chocolate=chip"), true),
        ("Cookie=chocolate, ch.p".to_string(), "/", ("cookie", "chocolate=chips"), false),
        (r"Header=X-Request-Id, \d+".to_string(), "/", ("x-request-id", "12"), true),
        (r"Header=X-Request-Id, \d+".to_string(), "/", ("x-request-id", "12a"), false),
        ("Header=X-Any".to_string(), "/", ("x-any", "1"), true),
        ("Host=**.shop.org,{sub}.other.org".to_string(), "/", ("host", "a.b.shop.org"), true),
        ("Host=**.shop.org".to_string(), "/", ("host", "shop.com"), false),
        ("Method=GET,POST".to_string(), "/", ("x-a", "1"), true),
        ("Method=POST".to_string(), "/", ("x-a", "1"), false),
        ("Path=/red/{segment},/blue/**".to_string(), "/blue/1/2", ("x-a", "1"), true),
        ("Path=/red/{segment}".to_string(), "/red/1/2", ("x-a", "1"), false),
        ("Query=red, gree.".to_string(), "/?red=greet", ("x-a", "1"), true),
        ("Query=red, gree.".to_string(), "/?red=greedy", ("x-a", "1"), false),
        ("Query=green".to_string(), "/?green", ("x-a", "1"), true),
        ("RemoteAddr=127.0.0.0/8".to_string(), "/", ("x-a", "1"), true),
        ("RemoteAddr=10.0.0.0/8".to_string(), "/", ("x-forwarded-for", "10.0.0.1"), false),
        ("XForwardedRemoteAddr=10.0.0.0/8".to_string(), "/", ("x-forwarded-for", "10.0.0.1"), false),
    ] {
        let gateway = start_gateway(&upstream, &routes_with_header(&[&predicate]), &[], |_| {});
        let mut request = gateway.request("GET", path);
        request.headers_mut().insert(header.0.parse().unwrap(), header.1.parse().unwrap());
        let response = gateway.send(request).await;
        assert_eq!(response.header("x-route"), if matches { "0" } else { "rest" }, "{predicate} {path} {header:?} {}", response.status);
    }
    let trusting = start_gateway(&upstream, &routes_with_header(&["XForwardedRemoteAddr=10.0.0.0/8"]), &[], |s| {
        s.gateway.trusted_proxies = vec!["127.0.0.1".into()];
    });
    let response = trusting.send(trusting.request("GET", "/").insert_header(("x-forwarded-for", "9.9.9.9, 10.0.0.1, 127.0.0.1"))).await;
    assert_eq!(response.header("x-route"), "0");
    assert_eq!(response.json()["headers"]["x-forwarded-for"], json!(["9.9.9.9, 10.0.0.1, 127.0.0.1, 127.0.0.1"]));
}

#[actix_web::test]
async fn each_filter_changes_request_or_response() {
    let upstream = Upstream::start("a");
    for (filter, path, target) in [
        ("StripPrefix=2", "/a/b/c?q=1", "/c?q=1"),
        ("StripPrefix=2", "/a", "/"),
        ("PrefixPath=/p", "/a", "/p/a"),
        (r"'RewritePath=/red/?(?<segment>.*), /$\{segment}'", "/red/blue", "/blue"),
        ("'RewritePath=/(.)(.), /$2x$1'", "/ab/c", "/bxa/c"),
        ("SetPath=/fixed", "/a/b", "/fixed"),
        ("'AddRequestParameter=k, a b'", "/a?x=1", "/a?x=1&k=a%20b"),
        ("RemoveRequestParameter=x", "/a?x=1&y=2", "/a?y=2"),
    ] {
        let gateway = start_gateway(&upstream, &single_route(filter), &[], |_| {});
        assert_eq!(gateway.get(path).await.json()["target"], target, "{filter}");
    }
    let filters = "'AddRequestHeader=X-New, 1', 'SetRequestHeader=X-Set, 2', RemoveRequestHeader=X-Gone, PreserveHostHeader, \
        'AddResponseHeader=X-Out, a,b', 'SetResponseHeader=X-Replaced, z', RemoveResponseHeader=Content-Type, \
        'DedupeResponseHeader=X-Twice, RETAIN_LAST', SecureHeaders, TokenRelay=, SetStatus=ACCEPTED";
    let gateway = start_gateway(&upstream, &single_route(filters), &[], |_| {});
    let request =
        gateway.request("GET", "/x").insert_header(("x-set", "1")).insert_header(("x-gone", "1")).insert_header(("host", "shop.org"));
    let response = gateway.send(request.insert_header(("authorization", "Bearer t"))).await;
    let headers = response.json()["headers"].clone();
    assert_eq!((&headers["x-new"], &headers["x-set"], &headers["x-gone"]), (&json!(["1"]), &json!(["2"]), &json!(null)));
    assert_eq!((&headers["host"], &headers["authorization"]), (&json!(["shop.org"]), &json!(["Bearer t"])));
    assert_eq!(
        (response.status, response.header("x-out"), response.header("x-replaced"), response.header("content-type")),
        (202, "a,b", "z", "")
    );
    assert_eq!(response.headers.get_all("x-twice").collect::<Vec<_>>(), ["b"]);
    assert_eq!(response.header("x-frame-options"), "DENY");
    let gateway = start_gateway(&upstream, &single_route("'RedirectTo=302, https://shop.org/'"), &[], |_| {});
    let response = gateway.get("/x").await;
    assert_eq!((response.status, response.header("location")), (302, "https://shop.org/"));
    let gateway = start_gateway(&upstream, &single_route("RequestSize=10"), &[], |_| {});
    assert_eq!(super::support::read_response(gateway.request("POST", "/x").send_body("12345678901").await.unwrap()).await.status, 413);
    assert_eq!(
        super::support::read_response(gateway.request("POST", "/x").send_body("1234567890").await.unwrap()).await.json()["body"],
        10
    );
}

#[actix_web::test]
async fn rate_limit_headers_report_remaining_tokens() {
    let upstream = Upstream::start("a");
    // two requests empty the bucket; the refill of 1 token per second does not allow a third
    let limit = "{name: RequestRateLimiter, args: {redis-rate-limiter.replenishRate: 1, redis-rate-limiter.burstCapacity: 2000, redis-rate-limiter.requestedTokens: 1000}}";
    let gateway = start_gateway(&upstream, &single_route(limit), &["/open"], |_| {});
    let as_user = async |user: &str| gateway.send(gateway.request("GET", "/x").bearer_auth(upstream.token(user, &[]))).await;
    let first = as_user("ann").await;
    assert_eq!((first.status, first.header("x-ratelimit-remaining")), (200, "1000"));
    assert_eq!(as_user("ann").await.status, 200);
    let third = as_user("ann").await;
    assert_eq!(third.status, 429);
    assert!(third.header("x-ratelimit-remaining").parse::<u32>().unwrap() < 1000);
    assert_eq!(third.header("x-ratelimit-replenish-rate"), "1");
    assert_eq!((third.header("x-ratelimit-burst-capacity"), third.header("x-ratelimit-requested-tokens")), ("2000", "1000"));
    assert_eq!(as_user("bob").await.status, 200, "one bucket per user");
    assert_eq!(gateway.get("/open").await.status, 200, "and per address");
    // the global limit: a burst of one, then one request per second
    let limited = start_gateway(&upstream, &single_route(""), &[], |s| (s.gateway.rate, s.gateway.burst) = (1, 1));
    let (since, mut allowed) = (Instant::now(), 0);
    let rejected = loop {
        let status = limited.get("/x").await.status;
        if status != 200 {
            break status;
        }
        allowed += 1;
        assert!(allowed <= 1 + since.elapsed().as_secs(), "{allowed} in {:?}", since.elapsed());
    };
    assert_eq!(rejected, 429);
    assert!(allowed >= 1);
}

#[actix_web::test]
async fn weighted_routes_receive_their_share() {
    let (old, new) = (Upstream::start("old"), Upstream::start("new"));
    let file = format!(
        "spring.cloud.gateway.routes:\n- {{id: old, uri: 'URL', predicates: ['Weight=g, 8']}}\n- {{id: new, uri: '{}', predicates: ['Weight=g, 2']}}\n",
        new.url
    );
    let gateway = start_gateway(&old, &file, &[], |_| {});
    for _ in 0..100 {
        assert_eq!(gateway.get("/x").await.status, 200);
    }
    let share = new.calls() as f64 / 100.0;
    assert!((0.05..0.5).contains(&share), "{share}");
    assert_eq!(old.calls() + new.calls(), 100);
}

#[test]
fn weighted_selection_matches_weights() {
    let file = "spring.cloud.gateway.routes:\n- {id: a, uri: 'http://a', predicates: ['Weight=g, 8']}\n- {id: b, uri: 'http://b', predicates: ['Weight=g, 2']}\n";
    let table = RouteTable::build(&parse(file).unwrap(), &BTreeMap::new()).unwrap();
    let (request, random) = (TestRequest::default().to_http_request(), RefCell::new(StdRng::seed_from_u64(42)));
    let origin = RequestOrigin::of(&request, &[]);
    let draw = || {
        let incoming = IncomingRequest { request: &request, path: "/", origin: &origin, now: OffsetDateTime::now_utc() };
        table.find(&incoming, || random.borrow_mut().random()).unwrap().0.definition.id.clone()
    };
    let selected = (0..10_000).filter(|_| draw() == "b").count();
    assert!((1900..2100).contains(&selected), "{selected}");
}
