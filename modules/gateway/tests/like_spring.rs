//! Undocumented behaviour of Spring Cloud Gateway, observed by running both gateways with the same route
//! file (tests/interop).

use super::support::{TestGateway, TestResponse, Upstream, single_route, start_gateway};
use serde_json::{Value, json};

async fn get_with(gateway: &TestGateway, path: &str, headers: &[(&str, &str)]) -> TestResponse {
    let mut request = gateway.request("GET", path);
    for (name, value) in headers {
        request.headers_mut().append(name.parse().unwrap(), value.parse().unwrap());
    }
    gateway.send(request).await
}

async fn forwarded_headers(gateway: &TestGateway, path: &str, headers: &[(&str, &str)]) -> Value {
    get_with(gateway, path, headers).await.json()["headers"].clone()
}

fn route_with(predicate: &str) -> String {
    format!("spring.cloud.gateway.routes:\n- {{id: only, uri: 'URL', predicates: ['{predicate}']}}\n")
}

/// A header is a list on one line or several; empty elements are ignored.
#[actix_web::test]
async fn header_predicate_with_list_matches_each_element() {
    let upstream = Upstream::start("a");
    for (predicate, value, status) in [
        (r"Header=X-Id, \d+", "a, 12", 200),
        (r"Header=X-Id, \d+", "a 12", 404),
        (r"Header=X-Id, \d+", "\"a, 12\"", 404),
        (r"Header=X-Id", "x", 200),
        (r"Header=X-Id", "", 404),
        (r"Header=X-Id", " , ", 404),
    ] {
        let gateway = start_gateway(&upstream, &route_with(predicate), &[], |_| {});
        assert_eq!(get_with(&gateway, "/", &[("x-id", value)]).await.status, status, "{predicate} {value:?}");
    }
}

/// Host patterns include the port unless `include-port` is false.
#[actix_web::test]
async fn host_predicate_with_port_includes_port() {
    let upstream = Upstream::start("a");
    let without_port = "spring.cloud.gateway.predicate.host.include-port: false\n";
    for (prefix, pattern, host, status) in [
        ("", "**.shop.org", "www.shop.org", 200),
        ("", "**.shop.org", "www.shop.org:8080", 404),
        ("", "**.shop.org:8080", "www.shop.org:8080", 200),
        ("", "**.shop.org", "WWW.Shop.ORG", 200),
        (without_port, "**.shop.org", "www.shop.org:8080", 200),
        (without_port, "**.shop.org:8080", "www.shop.org:8080", 404),
    ] {
        let gateway = start_gateway(&upstream, &format!("{prefix}{}", route_with(&format!("Host={pattern}"))), &[], |_| {});
        assert_eq!(get_with(&gateway, "/", &[("host", host)]).await.status, status, "{prefix}{pattern} {host}");
    }
}

#[actix_web::test]
async fn remote_addr_behind_trusted_proxy_is_forwarded_address() {
    let upstream = Upstream::start("a");
    let forwarded_for = [("x-forwarded-for", "10.0.0.1")];
    let gateway = start_gateway(&upstream, &route_with("RemoteAddr=10.0.0.0/8"), &[], |_| {});
    assert_eq!(get_with(&gateway, "/", &forwarded_for).await.status, 404, "the header of an untrusted peer is ignored");
    let trusting =
        start_gateway(&upstream, &route_with("RemoteAddr=10.0.0.0/8"), &[], |s| s.gateway.trusted_proxies = vec!["127.0.0.1".into()]);
    assert_eq!(get_with(&trusting, "/", &forwarded_for).await.status, 200);
    assert_eq!(get_with(&trusting, "/", &[]).await.status, 404, "the proxy's own address is outside the range");
}

#[actix_web::test]
async fn path_rest_variable_keeps_slash() {
    let upstream = Upstream::start("a");
    let file = "spring.cloud.gateway.routes:\n- {id: r, uri: 'URL', predicates: ['Path=/rest/{*tail}'], filters: ['SetPath=/all{tail}']}\n";
    let gateway = start_gateway(&upstream, file, &[], |_| {});
    for (path, target) in [("/rest", "/all"), ("/rest/", "/all/"), ("/rest/of/it", "/all/of/it")] {
        assert_eq!(gateway.get(path).await.json()["target"], target, "{path}");
    }
}

/// The filter's third argument appends the query. Response filters apply to the service's responses only.
#[actix_web::test]
async fn redirect_skips_response_filters() {
    let upstream = Upstream::start("a");
    for (redirect, location) in [
        ("302, https://shop.org/x", "https://shop.org/x"),
        ("302, https://shop.org/x, false", "https://shop.org/x"),
        ("302, https://shop.org/x, true", "https://shop.org/x?a=1&b=%20"),
        ("302, https://shop.org/x?c=2, true", "https://shop.org/x?c=2&a=1&b=%20"),
    ] {
        let gateway =
            start_gateway(&upstream, &single_route(&format!("'AddResponseHeader=X-Added, 1', 'RedirectTo={redirect}'")), &[], |_| {});
        let response = gateway.get("/old?a=1&b=%20").await;
        assert_eq!((response.status, response.header("location"), response.header("x-added")), (302, location, ""), "{redirect}");
    }
}

/// `X-Forwarded-Prefix` is the prefix that the route's filters removed from the path.
#[actix_web::test]
async fn forwarded_prefix_is_removed_path_prefix() {
    let upstream = Upstream::start("a");
    for (filters, path, prefix) in [
        ("StripPrefix=1", "/v1/orders/", json!(["/v1"])),
        ("StripPrefix=1", "/v1", json!(["/v1"])),
        ("'RewritePath=/v1/(?<rest>.*), /$\\{rest}'", "/v1/orders", json!(["/v1"])),
        ("StripPrefix=1, PrefixPath=/v2", "/v1/orders", json!(null)),
        ("PrefixPath=/v2", "/orders", json!(null)),
        ("", "/v1/orders", json!(null)),
    ] {
        let gateway = start_gateway(&upstream, &single_route(filters), &[], |_| {});
        assert_eq!(forwarded_headers(&gateway, path, &[]).await["x-forwarded-prefix"], prefix, "{filters} {path}");
    }
}

/// Services build links with it: behind a TLS proxy it is the proxy's port.
#[actix_web::test]
async fn forwarded_port_is_requested_port() {
    let upstream = Upstream::start("a");
    let gateway = start_gateway(&upstream, &single_route(""), &[], |s| s.gateway.trusted_proxies = vec!["127.0.0.1".into()]);
    for (headers, port) in [
        (vec![("host", "shop.org")], "80"),
        (vec![("host", "shop.org:5294")], "5294"),
        (vec![("x-forwarded-proto", "https"), ("x-forwarded-host", "shop.org")], "443"),
        (vec![("x-forwarded-proto", "https"), ("x-forwarded-host", "shop.org:8443")], "8443"),
        (vec![("x-forwarded-proto", "https"), ("x-forwarded-host", "[::1]")], "443"),
        (vec![("x-forwarded-host", "shop.org"), ("x-forwarded-port", "81")], "81"),
    ] {
        assert_eq!(forwarded_headers(&gateway, "/", &headers).await["x-forwarded-port"], json!([port]), "{headers:?}");
    }
}

#[actix_web::test]
async fn circuit_breaker_shortcut_has_no_fallback() {
    let upstream = Upstream::start("a");
    let file = "spring.cloud.gateway.routes:
- {id: gone, uri: 'lb://gone', predicates: [Path=/gone], filters: ['CircuitBreaker=cb, forward:/fallback']}
- {id: fallback, uri: 'URL', predicates: [Path=/fallback]}
";
    let gateway = start_gateway(&upstream, file, &[], |_| {});
    assert_eq!((gateway.get("/gone").await.status, gateway.get("/fallback").await.status), (503, 200));
}

/// The gateway adds neither `accept-encoding` nor a `content-length`.
#[actix_web::test]
async fn request_without_encoding_or_length_is_forwarded_unchanged() {
    let upstream = Upstream::start("a");
    let gateway = start_gateway(&upstream, &single_route(""), &[], |_| {});
    let raw = |method: &str, path: &str| format!("{method} {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n").into_bytes();
    let response = gateway.raw(&raw("GET", "/x")).await;
    let body: Value = serde_json::from_str(response.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body["headers"]["accept-encoding"], json!(null), "{response}");
    let response = gateway.raw(&raw("HEAD", "/big")).await;
    assert!(response.starts_with("HTTP/1.1 200") && !response.contains("content-length"), "{response}");
}
