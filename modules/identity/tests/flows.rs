//! Tests of every grant and endpoint.

use super::support::{BASE, DEMO, Response, TestIssuer, app, claims, edge, get, post, send};
use crate::edge::web::configure;
use crate::kernel::secret::Secret;
use crate::rpc::credentials::{ClientCredentials, Credentials};
use crate::rpc::oidc::OidcClient;
use actix_web::test::TestRequest;
use actix_web::{App, HttpServer};
use serde_json::json;
use std::sync::Arc;

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const AUTH_REQUEST: &str = "client_id=tradepost-demo&redirect_uri=http%3A%2F%2F127.0.0.1%3A7777%2Fcb&response_type=code&scope=openid&state=a%26b&nonce=n1&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256";

fn alice(scope: &str) -> TestRequest {
    post("token", &format!("grant_type=password&{DEMO}&username=alice&password=alice&scope={scope}"))
}

fn exchange(code: &str) -> TestRequest {
    let redirect = "redirect_uri=http%3A%2F%2F127.0.0.1%3A7777%2Fcb";
    post("token", &format!("grant_type=authorization_code&{DEMO}&code={code}&{redirect}&code_verifier={VERIFIER}"))
}

fn refresh(token: &str) -> TestRequest {
    post("token", &format!("grant_type=refresh_token&{DEMO}&refresh_token={token}"))
}

#[actix_web::test]
async fn discovery_document_names_issuer_endpoints_and_keys() {
    let issuer = TestIssuer::new().with_key();
    let module = issuer.build().unwrap();
    let app = app(&module).await;
    let discovery = send(&app, TestRequest::get().uri("/realms/spring-cloud-microservices-realm/.well-known/openid-configuration")).await;
    assert_eq!(discovery.member("issuer"), module.issuer);
    assert_eq!(discovery.member("token_endpoint"), format!("http://127.0.0.1:5294{BASE}/token"));
    assert_eq!(discovery.json()["code_challenge_methods_supported"], json!(["S256"]));
    let key = send(&app, get("certs")).await.json()["keys"][0].clone();
    assert_eq!((&key["kty"], &key["use"], &key["alg"], &key["e"]), (&json!("RSA"), &json!("sig"), &json!("RS256"), &json!("AQAB")));
    assert!(key["kid"].as_str().unwrap().len() == 43 && key["n"].as_str().unwrap().len() == 342 && key.get("d").is_none());
    assert_eq!(send(&app, get("token")).await.status, 405);
}

#[actix_web::test]
async fn password_grant_returns_tokens_in_keycloak_format() {
    let issuer = TestIssuer::new().with_key();
    let module = issuer.build().unwrap();
    let app = app(&module).await;
    let response = send(&app, alice("openid")).await;
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.header("cache-control"), "no-store");
    let body = response.json();
    let summary = json!([body["expires_in"], body["refresh_expires_in"], body["token_type"], body["not-before-policy"], body["scope"]]);
    assert_eq!(summary, json!([1800, 36000, "Bearer", 0, "openid email profile"]));
    let access = claims(&response.member("access_token"));
    assert_eq!(access["aud"], json!(["tradepost", "account"]));
    assert_eq!(access["realm_access"], json!({ "roles": ["customer"] }));
    assert_eq!(access["resource_access"], json!({}));
    for (claim, value) in [("typ", "Bearer"), ("azp", "tradepost-demo"), ("preferred_username", "alice"), ("email", "alice@example.com")] {
        assert_eq!(access[claim], value);
    }
    assert_eq!((&access["iss"], &access["sid"]), (&json!(module.issuer), &body["session_state"]));
    assert_eq!(access["exp"].as_i64().unwrap() - access["iat"].as_i64().unwrap(), 1800);
    let id = claims(&response.member("id_token"));
    assert_eq!((&id["typ"], &id["aud"], &id["sub"]), (&json!("ID"), &json!("tradepost-demo"), &access["sub"]));
    let refresh = claims(&response.member("refresh_token"));
    assert_eq!((&refresh["typ"], &refresh["aud"]), (&json!("Refresh"), &json!(module.issuer)));
    assert!(refresh.get("realm_access").is_none());
    assert!(send(&app, alice("")).await.json().get("id_token").is_none());
}

#[actix_web::test]
async fn token_endpoint_invalid_request_returns_rfc_6749_error() {
    let mut issuer = TestIssuer::new().with_key();
    issuer.settings.identity.client_secret = Some(Secret::new("s3cret"));
    let module = issuer.build().unwrap();
    let app = app(&module).await;
    let service = "client_id=tradepost-service&client_secret=s3cret";
    let big = format!("{DEMO}&grant_type=password&x={}", "y".repeat(17_000));
    for (form, status, error) in [
        (DEMO.to_string(), 400, "invalid_request"),
        (format!("{DEMO}&grant_type=implicit"), 400, "unsupported_grant_type"),
        (format!("{DEMO}&grant_type=password&username=alice&password=wrong"), 400, "invalid_grant"),
        (format!("{DEMO}&grant_type=password&username=unknown&password=alice"), 400, "invalid_grant"),
        (format!("{DEMO}&grant_type=password&username=alice"), 400, "invalid_request"),
        (format!("{DEMO}&grant_type=password&username=alice&password=alice&scope=root"), 400, "invalid_scope"),
        (format!("{DEMO}&{DEMO}&grant_type=password&username=alice&password=alice"), 400, "invalid_request"),
        (big, 400, "invalid_request"),
        (format!("{service}&grant_type=password&username=alice&password=alice"), 400, "unauthorized_client"),
        (format!("{DEMO}&grant_type=client_credentials"), 400, "unauthorized_client"),
        (format!("{service}x&grant_type=client_credentials"), 401, "invalid_client"),
        ("client_id=unknown&grant_type=password&username=alice&password=alice".into(), 401, "invalid_client"),
        (format!("{DEMO}&grant_type=refresh_token&refresh_token=abc"), 400, "invalid_grant"),
        (format!("{DEMO}&grant_type=authorization_code&code=abc"), 400, "invalid_grant"),
    ] {
        let response = send(&app, post("token", &form)).await;
        assert_eq!(response.error(), (status, error.to_string()), "{form}");
        assert_eq!(response.header("www-authenticate").starts_with("Basic realm="), status == 401, "{form}");
    }
    let json = TestRequest::post().uri(&format!("{BASE}/token")).set_json(json!({ "grant_type": "password" }));
    assert_eq!(send(&app, json).await.error().0, 400);
    for _ in 0..9 {
        send(&app, post("token", &format!("{DEMO}&grant_type=password&username=Alice&password=guess"))).await;
    }
    let locked = send(&app, alice("")).await;
    assert_eq!(locked.error(), (429, "invalid_grant".into()));
    assert!(locked.text.contains("temporarily locked") && !locked.header("retry-after").is_empty());
    let page = send(&app, post("auth", &format!("{AUTH_REQUEST}&username=alice&password=alice"))).await;
    assert!(page.status == 429 && page.text.contains("temporarily locked"), "{page:?}");
}

#[actix_web::test]
async fn service_client_gets_token_without_refresh_token() {
    let mut issuer = TestIssuer::new().with_key();
    issuer.settings.identity.client_secret = Some(Secret::new("s3cret"));
    let module = issuer.build().unwrap();
    let app = app(&module).await;
    let by_header =
        post("token", "grant_type=client_credentials").insert_header(("authorization", "Basic dHJhZGVwb3N0LXNlcnZpY2U6czNjcmV0"));
    let by_form = post("token", "grant_type=client_credentials&client_id=tradepost-service&client_secret=s3cret");
    for request in [by_header, by_form] {
        let response = send(&app, request).await;
        let body = response.json();
        assert!(body.get("refresh_token").is_none() && body.get("session_state").is_none(), "{body}");
        let access = claims(&response.member("access_token"));
        assert_eq!(access["preferred_username"], "service-account-tradepost-service");
        assert_eq!(access["realm_access"], json!({ "roles": ["service"] }));
    }
}

#[actix_web::test]
async fn refresh_token_reused_ends_session() {
    let issuer = TestIssuer::new().with_key();
    let module = issuer.build().unwrap();
    let app = app(&module).await;
    let first = send(&app, alice("openid")).await;
    let second = send(&app, refresh(&first.member("refresh_token"))).await;
    assert_eq!(second.status, 200, "{second:?}");
    assert_eq!(second.member("session_state"), first.member("session_state"));
    assert_eq!(claims(&second.member("access_token"))["sub"], claims(&first.member("access_token"))["sub"]);
    let narrowed =
        send(&app, post("token", &format!("grant_type=refresh_token&{DEMO}&scope=email&refresh_token={}", second.member("refresh_token"))))
            .await;
    assert!(narrowed.status == 200 && narrowed.json().get("id_token").is_none());
    assert_eq!(claims(&narrowed.member("refresh_token"))["scope"], "openid email profile");
    // an access token is not a refresh token
    assert_eq!(send(&app, refresh(&narrowed.member("access_token"))).await.error().1, "invalid_grant");
    // the first token is replayed: a copy may have leaked, so the session ends
    assert_eq!(send(&app, refresh(&first.member("refresh_token"))).await.error().1, "invalid_grant");
    assert_eq!(send(&app, refresh(&narrowed.member("refresh_token"))).await.error().1, "invalid_grant");
}

#[actix_web::test]
async fn session_after_logout_stays_ended_across_restart() {
    let issuer = TestIssuer::new().with_key();
    let module = issuer.build().unwrap();
    let before = app(&module).await;
    let (ended, active) = (send(&before, alice("openid")).await, send(&before, alice("openid")).await);
    let token = ended.member("refresh_token");
    let stolen = post("logout", &format!("client_id=tradepost-service&client_secret=x&refresh_token={token}"));
    assert_eq!(send(&before, stolen).await.status, 401);
    assert_eq!(send(&before, post("logout", &format!("{DEMO}&refresh_token=x"))).await.error().1, "invalid_grant");
    assert_eq!(send(&before, post("logout", &format!("{DEMO}&refresh_token={token}"))).await.status, 204);
    assert_eq!(send(&before, userinfo(&ended)).await.status, 401);
    let after = app(&issuer.build().unwrap()).await;
    assert_eq!(send(&after, refresh(&token)).await.error().1, "invalid_grant");
    assert_eq!(send(&after, refresh(&active.member("refresh_token"))).await.status, 200);
}

fn userinfo(tokens: &Response) -> TestRequest {
    get("userinfo").insert_header(("authorization", format!("Bearer {}", tokens.member("access_token"))))
}

#[actix_web::test]
async fn browser_login_redirects_with_code_valid_once() {
    let issuer = TestIssuer::new().with_key();
    let module = issuer.build().unwrap();
    let app = app(&module).await;
    let page = send(&app, get(&format!("auth?{AUTH_REQUEST}&login_hint=%22%3E%3Cscript%3E"))).await;
    assert_eq!((page.status, page.header("x-frame-options")), (200, "DENY"));
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'unsafe-inline'; form-action 'self' http://127.0.0.1:7777;"), "{policy}");
    assert!(page.text.contains("name=\"state\" value=\"a&#38;b\"") && page.text.contains("&#34;&#62;&#60;script&#62;"), "{}", page.text);
    assert!(!page.text.contains("<script"));
    let wrong = send(&app, post("auth", &format!("{AUTH_REQUEST}&username=alice&password=no"))).await;
    assert!(wrong.status == 401 && wrong.text.contains("role=\"alert\"") && wrong.text.contains("value=\"alice\""), "{wrong:?}");

    let login = || post("auth", &format!("{AUTH_REQUEST}&username=Alice&password=alice"));
    let redirect = send(&app, login()).await;
    assert!(redirect.header("location").starts_with("http://127.0.0.1:7777/cb?code="), "{redirect:?}");
    assert_eq!((redirect.location("state").unwrap(), redirect.location("iss").unwrap()), ("a&b".into(), module.issuer.clone()));
    let code = redirect.location("code").unwrap();
    let tokens = send(&app, exchange(&code)).await;
    assert_eq!(tokens.status, 200, "{tokens:?}");
    assert_eq!(claims(&tokens.member("id_token"))["nonce"], "n1");
    assert_eq!(tokens.member("session_state"), redirect.location("session_state").unwrap());
    let person = send(&app, userinfo(&tokens)).await;
    assert_eq!((person.member("preferred_username"), person.member("email")), ("alice".into(), "alice@example.com".into()));

    // a replayed code may have leaked: its session ends
    assert_eq!(send(&app, exchange(&code)).await.error().1, "invalid_grant");
    assert_eq!(send(&app, refresh(&tokens.member("refresh_token"))).await.error().1, "invalid_grant");
    assert_eq!(send(&app, userinfo(&tokens)).await.status, 401);
    // a code without its verifier is rejected
    let code = send(&app, login()).await.location("code").unwrap();
    let without_verifier =
        post("token", &format!("grant_type=authorization_code&{DEMO}&code={code}&redirect_uri=http%3A%2F%2F127.0.0.1%3A7777%2Fcb"));
    assert_eq!(send(&app, without_verifier).await.error().1, "invalid_grant");
    // keycloak-js requests the response in the fragment
    let fragment = send(&app, post("auth", &format!("{AUTH_REQUEST}&response_mode=fragment&username=alice&password=alice"))).await;
    assert!(fragment.header("location").starts_with("http://127.0.0.1:7777/cb#code="), "{fragment:?}");
}

#[actix_web::test]
async fn authorization_error_is_redirected_to_registered_uri_only() {
    let issuer = TestIssuer::new().with_key();
    let module = issuer.build().unwrap();
    let app = app(&module).await;
    for (from, to, error) in [
        ("&nonce=n1", "&prompt=none", "login_required"),
        ("S256", "plain", "invalid_request"),
        ("&code_challenge_method=S256", "", "invalid_request"),
        ("&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256", "", "invalid_request"),
        ("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "short", "invalid_request"),
        ("response_type=code", "response_type=token", "unsupported_response_type"),
        ("scope=openid", "scope=root", "invalid_scope"),
        ("scope=openid", "request=eyJ", "request_not_supported"),
    ] {
        let response = send(&app, get(&format!("auth?{}", AUTH_REQUEST.replace(from, to)))).await;
        assert_eq!((response.location("error").unwrap().as_str(), response.location("state").unwrap().as_str()), (error, "a&b"), "{to}");
        // also with the right password
        let login = send(&app, post("auth", &format!("{}&username=alice&password=alice", AUTH_REQUEST.replace(from, to)))).await;
        assert_eq!(login.location("error").unwrap(), error);
    }
    let host = "127.0.0.1%3A7777";
    for query in [
        AUTH_REQUEST.replace(host, "evil.example"),
        AUTH_REQUEST.replace(host, "127.0.0.1%40evil.example"),
        AUTH_REQUEST.replace("http%3A", "javascript%3A"),
        AUTH_REQUEST.replace("tradepost-demo", "unknown"),
        AUTH_REQUEST.replace("tradepost-demo", "tradepost-service"),
        AUTH_REQUEST.replace("client_id=tradepost-demo&", ""),
        format!("{AUTH_REQUEST}&redirect_uri=http%3A%2F%2Fevil.example"),
    ] {
        for request in [get(&format!("auth?{query}")), post("auth", &format!("{query}&username=alice&password=alice"))] {
            let response = send(&app, request).await;
            assert_eq!((response.status, response.header("location")), (400, ""), "{query}");
            assert!(response.header("content-type").starts_with("text/html"));
        }
    }
}

#[actix_web::test]
async fn userinfo_and_introspection_report_token_validity() {
    let mut issuer = TestIssuer::new().with_key();
    issuer.settings.identity.client_secret = Some(Secret::new("s3cret"));
    let app = app(&issuer.build().unwrap()).await;
    let none = send(&app, get("userinfo")).await;
    assert_eq!((none.status, none.header("www-authenticate")), (401, "Bearer realm=\"spring-cloud-microservices-realm\""));
    let bad = send(&app, get("userinfo").insert_header(("authorization", "Bearer x.y.z"))).await;
    assert!(bad.status == 401 && bad.header("www-authenticate").contains("error=\"invalid_token\""));
    assert_eq!(send(&app, userinfo(&send(&app, alice("")).await)).await.error(), (403, "insufficient_scope".into()));

    let tokens = send(&app, alice("openid")).await;
    let introspect = |client: &str, token: &str| post("token/introspect", &format!("{client}&token={token}"));
    let service = "client_id=tradepost-service&client_secret=s3cret";
    assert_eq!(send(&app, introspect(DEMO, &tokens.member("access_token"))).await.error(), (401, "invalid_client".into()));
    assert_eq!(send(&app, post("token/introspect", service)).await.error(), (400, "invalid_request".into()));
    let active = send(&app, introspect(service, &tokens.member("access_token"))).await.json();
    assert_eq!((&active["active"], &active["username"], &active["client_id"]), (&json!(true), &json!("alice"), &json!("tradepost-demo")));
    assert_eq!(send(&app, introspect(service, &tokens.member("refresh_token"))).await.json()["active"], true);
    send(&app, refresh(&tokens.member("refresh_token"))).await;
    for token in [tokens.member("refresh_token"), tokens.member("id_token"), "x".into()] {
        assert_eq!(send(&app, introspect(service, &token)).await.json(), json!({ "active": false }));
    }
}

#[actix_web::test]
async fn logout_by_id_token_hint_redirects_to_registered_uri() {
    let issuer = TestIssuer::new().with_key();
    let module = issuer.build().unwrap();
    let app = app(&module).await;
    let tokens = send(&app, alice("openid")).await;
    let hint = format!("id_token_hint={}", tokens.member("id_token"));
    for bad in [
        format!("{hint}&post_logout_redirect_uri=https%3A%2F%2Fevil.example"),
        format!("{hint}&client_id=tradepost-service"),
        "id_token_hint=x.y.z".to_string(),
        "post_logout_redirect_uri=http%3A%2F%2Flocalhost%2F".to_string(),
        format!("id_token_hint={}", tokens.member("access_token")),
    ] {
        let response = send(&app, get(&format!("logout?{bad}"))).await;
        assert_eq!((response.status, response.header("location")), (400, ""), "{bad}");
    }
    assert_eq!(send(&app, userinfo(&tokens)).await.status, 200, "a rejected logout ends no session");
    let response =
        send(&app, post("logout", &format!("{hint}&post_logout_redirect_uri=http%3A%2F%2Flocalhost%3A3000%2Fbye&state=x"))).await;
    assert_eq!((response.status, response.header("location")), (302, "http://localhost:3000/bye?state=x"));
    assert_eq!(send(&app, refresh(&tokens.member("refresh_token"))).await.error().1, "invalid_grant");
    assert_eq!(send(&app, get("logout")).await.status, 200);
}

#[actix_web::test]
async fn shop_accepts_access_tokens_only() {
    let mut issuer = TestIssuer::new().with_key();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    issuer.url = format!("http://{}", socket.local_addr().unwrap());
    let module = issuer.build().unwrap();
    let (endpoints, edge_of) = (module.parts.endpoints.clone(), edge(&module));
    let server_edge = edge_of.clone();
    let server = HttpServer::new(move || {
        let (endpoints, edge) = (endpoints.clone(), server_edge.clone());
        App::new().configure(move |c| configure(c, &endpoints, &edge))
    });
    let server = server.workers(1).disable_signals().listen(socket).unwrap().run();
    let handle = server.handle();
    actix_web::rt::spawn(server);

    let app = app(&module).await;
    let tokens = send(&app, alice("openid")).await;
    let alice = edge_of.authenticator.authenticate(&tokens.member("access_token")).await.unwrap();
    assert_eq!((alice.username.as_str(), alice.email.as_deref()), ("alice", Some("alice@example.com")));
    assert_eq!(alice.roles, ["customer"]);
    for other in ["id_token", "refresh_token"] {
        assert!(edge_of.authenticator.authenticate(&tokens.member(other)).await.is_err(), "{other} is not an access token");
    }
    let worker =
        ClientCredentials::new(Arc::new(OidcClient::new(&module.issuer, None)), "tradepost-service", module.client_secret.expose());
    let service = edge_of.authenticator.authenticate(&worker.token().await.unwrap()).await.unwrap();
    assert_eq!((service.username.as_str(), service.roles.as_slice()), ("service-account-tradepost-service", &["service".to_string()][..]));
    handle.stop(false).await;
}
