//! Unit tests: documents, patterns, paths, circuit breaker settings, rate limits.

use super::super::circuit::CircuitSettings;
use super::super::definition::Args;
use super::super::document::{RouteDocument, parse};
use super::super::error::TableError;
use super::super::limit::{Rate, RateLimiter};
use super::super::pattern::{AddressRange, Pattern};
use super::super::routes::builtin_routes;
use super::super::sanitize::{clean_path, response_headers};
use super::super::table::RouteTable;
use super::super::value::duration;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

fn table(document: &RouteDocument) -> Result<RouteTable, TableError> {
    RouteTable::build(document, &BTreeMap::new())
}

fn routes(body: &str) -> Result<RouteTable, Box<dyn std::error::Error>> {
    Ok(table(&parse(&format!("spring.cloud.gateway.routes:\n{body}"))?)?)
}

#[test]
fn document_with_either_prefix_is_parsed() {
    for prefix in [
        "spring:\n cloud:\n  gateway:\n   server:\n    webflux:\n     routes:\n",
        "spring:\n cloud:\n  gateway:\n   routes:\n",
        "spring.cloud.gateway.server.webflux:\n     routes:\n",
        "spring.cloud:\n  gateway.routes:\n",
    ] {
        let file = format!(
            "server: {{port: 1}}\n---\n{prefix}      - {{id: a, uri: 'lb://Product-Service', predicates: ['Path=/a/**,/b', Method=GET]}}\n"
        );
        let document = parse(&file).unwrap_or_else(|e| panic!("{prefix}: {e}"));
        assert_eq!(document.routes.len(), 1, "{prefix}");
        assert_eq!(document.routes[0].predicates[0].args.list(0, "patterns"), ["/a/**", "/b"]);
        table(&document).unwrap();
    }
}

#[test]
fn shortcut_and_long_form_are_equivalent() {
    let file = r##"
spring.cloud.gateway:
  default-filters: ['AddResponseHeader=X-All, yes']
  httpclient: {connect-timeout: 500, response-timeout: 5s}
  routes:
  - id: short
    uri: ${NO_SUCH_VARIABLE:http://localhost:8080}/ignored
    predicates: ["Path=/a/{x},/b/**", 'Header=X-Id, \d{1,3}', "Weight=g, 8"]
    filters: ['RewritePath=/a/?(?<rest>.*), /$\{rest}', "Retry=2,BAD_GATEWAY,GET,10ms,50ms,2,false"]
    metadata: {response-timeout: 200, connect-timeout: 100}
  - id: long
    uri: http://localhost:8080
    order: -1
    predicates:
    - name: Path
      args: {patterns: ['/a/{x}', '/b/**'], matchTrailingSlash: false}
    filters:
    - name: Retry
      args: {retries: 2, statuses: BAD_GATEWAY, methods: "GET,POST", backoff: {firstBackoff: 10ms, maxBackoff: 50ms, factor: 2}}
    - name: RequestRateLimiter
      args: {redis-rate-limiter.replenishRate: 1, redis-rate-limiter.burstCapacity: 2, key-resolver: "#{@userKeyResolver}"}
    - name: CircuitBreaker
      args: {name: cb, fallbackUri: "forward:/f", statusCodes: [500, NOT_FOUND]}
resilience4j:
  circuitbreaker:
    configs: {default: {failure-rate-threshold: 33.3}, slow: {wait-duration-in-open-state: 50s}}
    instances: {cb: {baseConfig: slow, slidingWindowSize: 10}}
  timelimiter.instances.cb: {timeout-duration: 2s}
"##;
    let document = parse(file).unwrap();
    let (cb, other) = (document.circuits.settings_of("cb"), document.circuits.settings_of("other"));
    assert_eq!((cb.rules.window, cb.rules.min_calls, cb.rules.open), (10, 10, Duration::from_secs(50)));
    assert_eq!((cb.rules.half_open_calls, cb.time_limit), (3, Some(Duration::from_secs(2))));
    assert_eq!((other.rules.failure_percent, other.rules.window), (33, CircuitSettings::default().rules.window));
    let table = table(&document).unwrap();
    let ids: Vec<_> = table.routes.iter().map(|r| r.definition.id.as_str()).collect();
    assert_eq!(ids, ["long", "short"], "by order");
    assert_eq!(table.routes[1].response_timeout, Some(Duration::from_millis(200)));
    assert_eq!(table.routes[0].response_timeout, Some(Duration::from_secs(5)));
    assert_eq!(table.routes[0].filters.len(), 4, "default filters are included");
}

#[test]
fn invalid_route_error_names_route() {
    let mut messages = Vec::new();
    for route in [
        "- {id: r, uri: 'http://h', predicates: ['Pfad=/a']}",
        "- {id: r, uri: 'http://h', filters: ['Magic=1']}",
        "- {id: r, uri: 'ftp://h'}",
        "- {id: r}",
        "- {id: r, uri: 'http://h', predicates: ['After=soon']}",
        "- {id: r, uri: 'http://h', predicates: ['Header=X, [']}",
        "- {id: r, uri: 'http://h', predicates: ['RemoteAddr=10.0.0.0/99']}",
        "- {id: r, uri: 'http://h', filters: ['StripPrefix=x']}",
        "- {id: r, uri: 'http://h', filters: ['RedirectTo=200, /x']}",
        "- {id: r, uri: 'http://h', filters: [{name: RequestRateLimiter}]}",
        "- {id: r, uri: 'http://h', filters: [{name: CircuitBreaker, args: {name: x, fallbackUri: 'http://y'}}]}",
        "- {id: r, uri: 'http://h', metadata: {response-timeout: soon}}",
        "- {id: r, uri: '${NO_SUCH_VARIABLE}'}",
        "- {id: r, uri: 'http://h'}\n- {id: r, uri: 'http://h'}",
        "- {id: r, uri: [",
    ] {
        messages.push(format!("{route}\n  {}", routes(route).map(drop).unwrap_err()));
    }
    insta::assert_snapshot!("route_errors", messages.join("\n"));
}

#[test]
fn patterns_match_like_spring() {
    for (pattern, path, expected) in [
        ("/a/**", "/a", true),
        ("/a/**", "/a/b/c", true),
        ("/a/**", "/ab", false),
        ("/a/*", "/a/b", true),
        ("/a/*", "/a/b/c", false),
        ("/a/?", "/a/b", true),
        ("/a/?", "/a/bc", false),
        ("/a/{x}", "/a/b/", true),
        ("/a/{x:\\d{2}}", "/a/12", true),
        ("/a/{x:\\d{2}}", "/a/123", false),
        ("/{*all}", "/a/b", true),
        ("/**", "/", true),
        ("/a.b", "/axb", false),
        ("/*.html", "/x.html", true),
    ] {
        assert_eq!(Pattern::path(pattern, true).unwrap().matches(path), expected, "{pattern} {path}");
    }
    assert!(!Pattern::path("/a/{x}", false).unwrap().matches("/a/b/"));
    let mut captured = BTreeMap::new();
    assert!(Pattern::path("/a/{x}/{*rest}", true).unwrap().capture("/a/1/2/3", &mut captured));
    assert_eq!((captured["x"].as_str(), captured["rest"].as_str()), ("1", "/2/3"));
    for (pattern, host, expected) in [
        ("**.shop.org", "a.b.shop.org", true),
        ("**.shop.org", "shop.org", true),
        ("*.shop.org", "a.b.shop.org", false),
        ("{sub}.shop.org", "EU.shop.org", true),
        ("shop.org", "shopxorg", false),
    ] {
        assert_eq!(Pattern::host(pattern).unwrap().matches(host), expected, "{pattern} {host}");
    }
    assert!(AddressRange::parse("192.168.1.1/24").unwrap().contains("192.168.1.10".parse().unwrap()));
    assert!(AddressRange::parse("10.0.0.0/8").unwrap().contains("::ffff:10.1.2.3".parse().unwrap()));
    assert!(!AddressRange::parse("fe80::/10").unwrap().contains("10.0.0.1".parse().unwrap()));
    assert!(AddressRange::parse("0.0.0.0/0").unwrap().contains("8.8.8.8".parse().unwrap()));
    assert!(AddressRange::parse(" ::1 / 128 ").unwrap().contains("::1".parse().unwrap()));
    assert!(!AddressRange::parse("10.0.0.1").unwrap().contains("10.0.0.2".parse().unwrap()));
    for invalid in ["", "/", "/8", "10/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8/8", "::/129", "::/256", "shop.org"] {
        assert!(AddressRange::parse(invalid).is_err(), "{invalid}");
    }
}

#[test]
fn clean_path_is_normalized() {
    for (path, raw) in [("/a//b", "/a/b"), ("/%61/%7e", "/a/~"), ("/a%c3%a4", "/a%C3%A4"), ("/a%3Ab", "/a%3Ab"), ("/100%25", "/100%25")] {
        let clean = clean_path(path).unwrap();
        assert_eq!(clean.encoded, raw);
        assert_eq!(clean_path(&clean.encoded).unwrap(), clean, "normalization is idempotent");
    }
}

#[test]
fn empty_bucket_refills() {
    let (limiter, start) = (RateLimiter::default(), Instant::now());
    let rate = Rate { replenish: 2, burst: 3, requested: 1 };
    let count_allowed = |n: usize, at| (0..n).filter(|_| limiter.take("k", rate, at).allowed).count();
    assert_eq!(count_allowed(5, start), 3);
    assert_eq!(count_allowed(5, start + Duration::from_secs(1)), 2);
    assert_eq!(count_allowed(9, start + Duration::from_secs(60)), 3);
    assert!(limiter.take("other", rate, start).allowed);
}

#[test]
fn builtin_routes_are_valid() {
    let without_registry = table(&builtin_routes(Some("lb://registry/")).unwrap()).unwrap();
    assert_eq!(without_registry.routes.len(), 9);
    let with_registry = table(&builtin_routes(None).unwrap()).unwrap();
    assert_eq!(with_registry.routes.len(), 8, "a local registry serves its page without a route");
    assert_eq!(duration("PT5S").unwrap(), Duration::from_secs(5));
    assert!(Args::default().require(0, &["x"], false).is_err());
}

#[test]
fn hop_by_hop_response_headers_are_removed() {
    let mut headers = HeaderMap::new();
    for (name, value) in [("connection", "close, X-Hop"), ("x-hop", "1"), ("keep-alive", "5"), ("upgrade", "h2c"), ("etag", "1")] {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    assert_eq!(response_headers(&headers).keys().collect::<Vec<_>>(), ["etag"]);
}
