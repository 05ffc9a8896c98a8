//! What Spring Cloud Gateway does and its documentation does not say: seen by running it beside this
//! one on the same route file (tests/interop).

use super::support::{Front, Got, Upstream, front, one};
use serde_json::{Value, json};

async fn with(door: &Front, path: &str, headers: &[(&str, &str)]) -> Got {
    let mut request = door.request("GET", path);
    for (name, value) in headers {
        request.headers_mut().append(name.parse().unwrap(), value.parse().unwrap());
    }
    door.send(request).await
}

async fn sent(door: &Front, path: &str, headers: &[(&str, &str)]) -> Value {
    with(door, path, headers).await.json()["headers"].clone()
}

fn only(predicate: &str) -> String {
    format!("spring.cloud.gateway.routes:\n- {{id: only, uri: 'URL', predicates: ['{predicate}']}}\n")
}

/// A header is a list: each of its elements counts, on one line or several, and an empty one is none.
#[actix_web::test]
async fn a_header_predicate_looks_at_each_element() {
    let upstream = Upstream::start("a");
    for (predicate, value, status) in [
        (r"Header=X-Id, \d+", "a, 12", 200),
        (r"Header=X-Id, \d+", "a 12", 404),
        (r"Header=X-Id, \d+", "\"a, 12\"", 404),
        (r"Header=X-Id", "x", 200),
        (r"Header=X-Id", "", 404),
        (r"Header=X-Id", " , ", 404),
    ] {
        let door = front(&upstream, &only(predicate), &[], |_| {});
        assert_eq!(with(&door, "/", &[("x-id", value)]).await.status, status, "{predicate} {value:?}");
    }
}

/// A pattern of hosts is held against the port as well, unless the file says otherwise.
#[actix_web::test]
async fn the_port_is_part_of_the_host() {
    let upstream = Upstream::start("a");
    let without = "spring.cloud.gateway.predicate.host.include-port: false\n";
    for (start, pattern, host, status) in [
        ("", "**.shop.org", "www.shop.org", 200),
        ("", "**.shop.org", "www.shop.org:8080", 404),
        ("", "**.shop.org:8080", "www.shop.org:8080", 200),
        ("", "**.shop.org", "WWW.Shop.ORG", 200),
        (without, "**.shop.org", "www.shop.org:8080", 200),
        (without, "**.shop.org:8080", "www.shop.org:8080", 404),
    ] {
        let door = front(&upstream, &format!("{start}{}", only(&format!("Host={pattern}"))), &[], |_| {});
        assert_eq!(with(&door, "/", &[("host", host)]).await.status, status, "{start}{pattern} {host}");
    }
}

#[actix_web::test]
async fn remote_addr_is_whom_a_trusted_proxy_names() {
    let upstream = Upstream::start("a");
    let named = [("x-forwarded-for", "10.0.0.1")];
    let door = front(&upstream, &only("RemoteAddr=10.0.0.0/8"), &[], |_| {});
    assert_eq!(with(&door, "/", &named).await.status, 404, "anybody can say so");
    let trusting = front(&upstream, &only("RemoteAddr=10.0.0.0/8"), &[], |s| s.gateway.trusted_proxies = vec!["127.0.0.1".into()]);
    assert_eq!(with(&trusting, "/", &named).await.status, 200);
    assert_eq!(with(&trusting, "/", &[]).await.status, 404, "the proxy itself is elsewhere");
}

#[actix_web::test]
async fn the_rest_of_a_path_keeps_its_slash() {
    let upstream = Upstream::start("a");
    let file = "spring.cloud.gateway.routes:\n- {id: r, uri: 'URL', predicates: ['Path=/rest/{*tail}'], filters: ['SetPath=/all{tail}']}\n";
    let door = front(&upstream, file, &[], |_| {});
    for (asked, target) in [("/rest", "/all"), ("/rest/", "/all/"), ("/rest/of/it", "/all/of/it")] {
        assert_eq!(door.get(asked).await.json()["target"], target, "{asked}");
    }
}

/// It takes the query along where it is told to; what the route does to answers is for its service's.
#[actix_web::test]
async fn a_redirect_is_answered_as_it_is() {
    let upstream = Upstream::start("a");
    for (redirect, place) in [
        ("302, https://shop.org/x", "https://shop.org/x"),
        ("302, https://shop.org/x, false", "https://shop.org/x"),
        ("302, https://shop.org/x, true", "https://shop.org/x?a=1&b=%20"),
        ("302, https://shop.org/x?c=2, true", "https://shop.org/x?c=2&a=1&b=%20"),
    ] {
        let door = front(&upstream, &one(&format!("'AddResponseHeader=X-Added, 1', 'RedirectTo={redirect}'")), &[], |_| {});
        let got = door.get("/old?a=1&b=%20").await;
        assert_eq!((got.status, got.header("location"), got.header("x-added")), (302, place, ""), "{redirect}");
    }
}

/// The prefix is what the service's path lacks at its beginning, whichever filters took it away.
#[actix_web::test]
async fn the_prefix_is_what_went_from_the_front() {
    let upstream = Upstream::start("a");
    for (filters, asked, prefix) in [
        ("StripPrefix=1", "/v1/orders/", json!(["/v1"])),
        ("StripPrefix=1", "/v1", json!(["/v1"])),
        ("'RewritePath=/v1/(?<rest>.*), /$\\{rest}'", "/v1/orders", json!(["/v1"])),
        ("StripPrefix=1, PrefixPath=/v2", "/v1/orders", json!(null)),
        ("PrefixPath=/v2", "/orders", json!(null)),
        ("", "/v1/orders", json!(null)),
    ] {
        let door = front(&upstream, &one(filters), &[], |_| {});
        assert_eq!(sent(&door, asked, &[]).await["x-forwarded-prefix"], prefix, "{filters} {asked}");
    }
}

/// Services build links of it: behind a proxy that speaks TLS it is that proxy's port, not ours.
#[actix_web::test]
async fn the_forwarded_port_is_the_one_that_was_asked_for() {
    let upstream = Upstream::start("a");
    let door = front(&upstream, &one(""), &[], |s| s.gateway.trusted_proxies = vec!["127.0.0.1".into()]);
    for (headers, port) in [
        (vec![("host", "shop.org")], "80"),
        (vec![("host", "shop.org:5294")], "5294"),
        (vec![("x-forwarded-proto", "https"), ("x-forwarded-host", "shop.org")], "443"),
        (vec![("x-forwarded-proto", "https"), ("x-forwarded-host", "shop.org:8443")], "8443"),
        (vec![("x-forwarded-proto", "https"), ("x-forwarded-host", "[::1]")], "443"),
        (vec![("x-forwarded-host", "shop.org"), ("x-forwarded-port", "81")], "81"),
    ] {
        assert_eq!(sent(&door, "/", &headers).await["x-forwarded-port"], json!([port]), "{headers:?}");
    }
}

#[actix_web::test]
async fn a_circuit_breaker_s_shortcut_has_a_name_only() {
    let upstream = Upstream::start("a");
    let file = "spring.cloud.gateway.routes:
- {id: gone, uri: 'lb://gone', predicates: [Path=/gone], filters: ['CircuitBreaker=cb, forward:/fallback']}
- {id: fallback, uri: 'URL', predicates: [Path=/fallback]}
";
    let door = front(&upstream, file, &[], |_| {});
    assert_eq!((door.get("/gone").await.status, door.get("/fallback").await.status), (503, 200));
}

/// Nothing is asked of a service that the client did not ask, and nothing said of a body that it did not say.
#[actix_web::test]
async fn neither_an_encoding_nor_a_length_is_made_up() {
    let upstream = Upstream::start("a");
    let door = front(&upstream, &one(""), &[], |_| {});
    let raw = |method: &str, path: &str| format!("{method} {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n").into_bytes();
    let answer = door.raw(&raw("GET", "/x")).await;
    let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body["headers"]["accept-encoding"], json!(null), "{answer}");
    let answer = door.raw(&raw("HEAD", "/big")).await;
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("content-length"), "{answer}");
}
