//! Every grant and every endpoint, from the outside.

use super::support::{Answer, BASE, DEMO, Desk, app, claims, edge, get, post, send};
use crate::edge::web::configure;
use crate::kernel::secret::Secret;
use crate::rpc::credentials::{ClientCredentials, Credentials};
use crate::rpc::oidc::OidcClient;
use actix_web::test::TestRequest;
use actix_web::{App, HttpServer};
use serde_json::json;
use std::sync::Arc;

const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const ASK: &str = "client_id=tradepost-demo&redirect_uri=http%3A%2F%2F127.0.0.1%3A7777%2Fcb&response_type=code&scope=openid&state=a%26b&nonce=n1&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256";

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
async fn discovery_leads_to_the_keys() {
    let desk = Desk::new().with_key();
    let built = desk.build().unwrap();
    let app = app(&built).await;
    let found = send(&app, TestRequest::get().uri("/realms/spring-cloud-microservices-realm/.well-known/openid-configuration")).await;
    assert_eq!(found.member("issuer"), built.issuer);
    assert_eq!(found.member("token_endpoint"), format!("http://127.0.0.1:5294{BASE}/token"));
    assert_eq!(found.json()["code_challenge_methods_supported"], json!(["S256"]));
    let key = send(&app, get("certs")).await.json()["keys"][0].clone();
    assert_eq!((&key["kty"], &key["use"], &key["alg"], &key["e"]), (&json!("RSA"), &json!("sig"), &json!("RS256"), &json!("AQAB")));
    assert!(key["kid"].as_str().unwrap().len() == 43 && key["n"].as_str().unwrap().len() == 342 && key.get("d").is_none());
    assert_eq!(send(&app, get("token")).await.status, 405);
}

#[actix_web::test]
async fn a_password_gets_the_tokens_that_keycloak_would_give() {
    let desk = Desk::new().with_key();
    let built = desk.build().unwrap();
    let app = app(&built).await;
    let answer = send(&app, alice("openid")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    let body = answer.json();
    let shown = json!([body["expires_in"], body["refresh_expires_in"], body["token_type"], body["not-before-policy"], body["scope"]]);
    assert_eq!(shown, json!([1800, 36000, "Bearer", 0, "openid email profile"]));
    let access = claims(&answer.member("access_token"));
    assert_eq!(access["aud"], json!(["tradepost", "account"]));
    assert_eq!(access["realm_access"], json!({ "roles": ["customer"] }));
    assert_eq!(access["resource_access"], json!({}));
    for (claim, value) in [("typ", "Bearer"), ("azp", "tradepost-demo"), ("preferred_username", "alice"), ("email", "alice@example.com")] {
        assert_eq!(access[claim], value);
    }
    assert_eq!((&access["iss"], &access["sid"]), (&json!(built.issuer), &body["session_state"]));
    assert_eq!(access["exp"].as_i64().unwrap() - access["iat"].as_i64().unwrap(), 1800);
    let id = claims(&answer.member("id_token"));
    assert_eq!((&id["typ"], &id["aud"], &id["sub"]), (&json!("ID"), &json!("tradepost-demo"), &access["sub"]));
    let refresh = claims(&answer.member("refresh_token"));
    assert_eq!((&refresh["typ"], &refresh["aud"]), (&json!("Refresh"), &json!(built.issuer)));
    assert!(refresh.get("realm_access").is_none());
    assert!(send(&app, alice("")).await.json().get("id_token").is_none());
}

#[actix_web::test]
async fn the_token_endpoint_refuses_as_rfc_6749_says() {
    let mut desk = Desk::new().with_key();
    desk.settings.identity.client_secret = Some(Secret::new("s3cret"));
    let built = desk.build().unwrap();
    let app = app(&built).await;
    let service = "client_id=tradepost-service&client_secret=s3cret";
    let big = format!("{DEMO}&grant_type=password&x={}", "y".repeat(17_000));
    for (form, status, error) in [
        (DEMO.to_string(), 400, "invalid_request"),
        (format!("{DEMO}&grant_type=implicit"), 400, "unsupported_grant_type"),
        (format!("{DEMO}&grant_type=password&username=alice&password=wrong"), 400, "invalid_grant"),
        (format!("{DEMO}&grant_type=password&username=nobody&password=alice"), 400, "invalid_grant"),
        (format!("{DEMO}&grant_type=password&username=alice"), 400, "invalid_request"),
        (format!("{DEMO}&grant_type=password&username=alice&password=alice&scope=root"), 400, "invalid_scope"),
        (format!("{DEMO}&{DEMO}&grant_type=password&username=alice&password=alice"), 400, "invalid_request"),
        (big, 400, "invalid_request"),
        (format!("{service}&grant_type=password&username=alice&password=alice"), 400, "unauthorized_client"),
        (format!("{DEMO}&grant_type=client_credentials"), 400, "unauthorized_client"),
        (format!("{service}x&grant_type=client_credentials"), 401, "invalid_client"),
        ("client_id=nobody&grant_type=password&username=alice&password=alice".into(), 401, "invalid_client"),
        (format!("{DEMO}&grant_type=refresh_token&refresh_token=abc"), 400, "invalid_grant"),
        (format!("{DEMO}&grant_type=authorization_code&code=abc"), 400, "invalid_grant"),
    ] {
        let answer = send(&app, post("token", &form)).await;
        assert_eq!(answer.error(), (status, error.to_string()), "{form}");
        assert_eq!(answer.header("www-authenticate").starts_with("Basic realm="), status == 401, "{form}");
    }
    let json = TestRequest::post().uri(&format!("{BASE}/token")).set_json(json!({ "grant_type": "password" }));
    assert_eq!(send(&app, json).await.error().0, 400);
    for _ in 0..9 {
        send(&app, post("token", &format!("{DEMO}&grant_type=password&username=Alice&password=guess"))).await;
    }
    let locked = send(&app, alice("")).await;
    assert_eq!(locked.error(), (429, "invalid_grant".into()));
    assert!(locked.text.contains("temporarily locked") && !locked.header("retry-after").is_empty());
    let page = send(&app, post("auth", &format!("{ASK}&username=alice&password=alice"))).await;
    assert!(page.status == 429 && page.text.contains("temporarily locked"), "{page:?}");
}

#[actix_web::test]
async fn a_service_gets_a_token_of_its_own() {
    let mut desk = Desk::new().with_key();
    desk.settings.identity.client_secret = Some(Secret::new("s3cret"));
    let built = desk.build().unwrap();
    let app = app(&built).await;
    let by_header =
        post("token", "grant_type=client_credentials").insert_header(("authorization", "Basic dHJhZGVwb3N0LXNlcnZpY2U6czNjcmV0"));
    let by_form = post("token", "grant_type=client_credentials&client_id=tradepost-service&client_secret=s3cret");
    for request in [by_header, by_form] {
        let answer = send(&app, request).await;
        let body = answer.json();
        assert!(body.get("refresh_token").is_none() && body.get("session_state").is_none(), "{body}");
        let access = claims(&answer.member("access_token"));
        assert_eq!(access["preferred_username"], "service-account-tradepost-service");
        assert_eq!(access["realm_access"], json!({ "roles": ["service"] }));
    }
}

#[actix_web::test]
async fn a_refresh_token_is_good_once() {
    let desk = Desk::new().with_key();
    let built = desk.build().unwrap();
    let app = app(&built).await;
    let first = send(&app, alice("openid")).await;
    let second = send(&app, refresh(&first.member("refresh_token"))).await;
    assert_eq!(second.status, 200, "{second:?}");
    assert_eq!(second.member("session_state"), first.member("session_state"));
    assert_eq!(claims(&second.member("access_token"))["sub"], claims(&first.member("access_token"))["sub"]);
    let less =
        send(&app, post("token", &format!("grant_type=refresh_token&{DEMO}&scope=email&refresh_token={}", second.member("refresh_token"))))
            .await;
    assert!(less.status == 200 && less.json().get("id_token").is_none());
    assert_eq!(claims(&less.member("refresh_token"))["scope"], "openid email profile");
    // an access token is no refresh token
    assert_eq!(send(&app, refresh(&less.member("access_token"))).await.error().1, "invalid_grant");
    // the first one again: somebody has a copy, and so nobody goes on
    assert_eq!(send(&app, refresh(&first.member("refresh_token"))).await.error().1, "invalid_grant");
    assert_eq!(send(&app, refresh(&less.member("refresh_token"))).await.error().1, "invalid_grant");
}

#[actix_web::test]
async fn a_logout_outlives_a_restart() {
    let desk = Desk::new().with_key();
    let built = desk.build().unwrap();
    let before = app(&built).await;
    let (gone, kept) = (send(&before, alice("openid")).await, send(&before, alice("openid")).await);
    let token = gone.member("refresh_token");
    let stolen = post("logout", &format!("client_id=tradepost-service&client_secret=x&refresh_token={token}"));
    assert_eq!(send(&before, stolen).await.status, 401);
    assert_eq!(send(&before, post("logout", &format!("{DEMO}&refresh_token=x"))).await.error().1, "invalid_grant");
    assert_eq!(send(&before, post("logout", &format!("{DEMO}&refresh_token={token}"))).await.status, 204);
    assert_eq!(send(&before, userinfo(&gone)).await.status, 401);
    let after = app(&desk.build().unwrap()).await;
    assert_eq!(send(&after, refresh(&token)).await.error().1, "invalid_grant");
    assert_eq!(send(&after, refresh(&kept.member("refresh_token"))).await.status, 200);
}

fn userinfo(tokens: &Answer) -> TestRequest {
    get("userinfo").insert_header(("authorization", format!("Bearer {}", tokens.member("access_token"))))
}

#[actix_web::test]
async fn a_browser_logs_in_and_comes_back_with_a_code() {
    let desk = Desk::new().with_key();
    let built = desk.build().unwrap();
    let app = app(&built).await;
    let page = send(&app, get(&format!("auth?{ASK}&login_hint=%22%3E%3Cscript%3E"))).await;
    assert_eq!((page.status, page.header("x-frame-options")), (200, "DENY"));
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'unsafe-inline'; form-action 'self' http://127.0.0.1:7777;"), "{policy}");
    assert!(page.text.contains("name=\"state\" value=\"a&#38;b\"") && page.text.contains("&#34;&#62;&#60;script&#62;"), "{}", page.text);
    assert!(!page.text.contains("<script"));
    let wrong = send(&app, post("auth", &format!("{ASK}&username=alice&password=no"))).await;
    assert!(wrong.status == 401 && wrong.text.contains("role=\"alert\"") && wrong.text.contains("value=\"alice\""), "{wrong:?}");

    let login = || post("auth", &format!("{ASK}&username=Alice&password=alice"));
    let back = send(&app, login()).await;
    assert!(back.header("location").starts_with("http://127.0.0.1:7777/cb?code="), "{back:?}");
    assert_eq!((back.location("state").unwrap(), back.location("iss").unwrap()), ("a&b".into(), built.issuer.clone()));
    let code = back.location("code").unwrap();
    let tokens = send(&app, exchange(&code)).await;
    assert_eq!(tokens.status, 200, "{tokens:?}");
    assert_eq!(claims(&tokens.member("id_token"))["nonce"], "n1");
    assert_eq!(tokens.member("session_state"), back.location("session_state").unwrap());
    let person = send(&app, userinfo(&tokens)).await;
    assert_eq!((person.member("preferred_username"), person.member("email")), ("alice".into(), "alice@example.com".into()));

    // the code again: it leaked, and all it granted is withdrawn
    assert_eq!(send(&app, exchange(&code)).await.error().1, "invalid_grant");
    assert_eq!(send(&app, refresh(&tokens.member("refresh_token"))).await.error().1, "invalid_grant");
    assert_eq!(send(&app, userinfo(&tokens)).await.status, 401);
    // without the verifier a code is worth nothing
    let code = send(&app, login()).await.location("code").unwrap();
    let bare = post("token", &format!("grant_type=authorization_code&{DEMO}&code={code}&redirect_uri=http%3A%2F%2F127.0.0.1%3A7777%2Fcb"));
    assert_eq!(send(&app, bare).await.error().1, "invalid_grant");
    // keycloak-js asks for its answer in the fragment
    let fragment = send(&app, post("auth", &format!("{ASK}&response_mode=fragment&username=alice&password=alice"))).await;
    assert!(fragment.header("location").starts_with("http://127.0.0.1:7777/cb#code="), "{fragment:?}");
}

#[actix_web::test]
async fn an_error_goes_back_to_the_client_only_where_it_is_known_to_be_the_client() {
    let desk = Desk::new().with_key();
    let built = desk.build().unwrap();
    let app = app(&built).await;
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
        let answer = send(&app, get(&format!("auth?{}", ASK.replace(from, to)))).await;
        assert_eq!((answer.location("error").unwrap().as_str(), answer.location("state").unwrap().as_str()), (error, "a&b"), "{to}");
        // nor does a right password help
        let login = send(&app, post("auth", &format!("{}&username=alice&password=alice", ASK.replace(from, to)))).await;
        assert_eq!(login.location("error").unwrap(), error);
    }
    let host = "127.0.0.1%3A7777";
    for ask in [
        ASK.replace(host, "evil.example"),
        ASK.replace(host, "127.0.0.1%40evil.example"),
        ASK.replace("http%3A", "javascript%3A"),
        ASK.replace("tradepost-demo", "nobody"),
        ASK.replace("tradepost-demo", "tradepost-service"),
        ASK.replace("client_id=tradepost-demo&", ""),
        format!("{ASK}&redirect_uri=http%3A%2F%2Fevil.example"),
    ] {
        for request in [get(&format!("auth?{ask}")), post("auth", &format!("{ask}&username=alice&password=alice"))] {
            let answer = send(&app, request).await;
            assert_eq!((answer.status, answer.header("location")), (400, ""), "{ask}");
            assert!(answer.header("content-type").starts_with("text/html"));
        }
    }
}

#[actix_web::test]
async fn userinfo_and_introspection_tell_what_a_token_is_worth() {
    let mut desk = Desk::new().with_key();
    desk.settings.identity.client_secret = Some(Secret::new("s3cret"));
    let app = app(&desk.build().unwrap()).await;
    let none = send(&app, get("userinfo")).await;
    assert_eq!((none.status, none.header("www-authenticate")), (401, "Bearer realm=\"spring-cloud-microservices-realm\""));
    let bad = send(&app, get("userinfo").insert_header(("authorization", "Bearer x.y.z"))).await;
    assert!(bad.status == 401 && bad.header("www-authenticate").contains("error=\"invalid_token\""));
    assert_eq!(send(&app, userinfo(&send(&app, alice("")).await)).await.error(), (403, "insufficient_scope".into()));

    let tokens = send(&app, alice("openid")).await;
    let ask = |client: &str, token: &str| post("token/introspect", &format!("{client}&token={token}"));
    let service = "client_id=tradepost-service&client_secret=s3cret";
    assert_eq!(send(&app, ask(DEMO, &tokens.member("access_token"))).await.error(), (401, "invalid_client".into()));
    assert_eq!(send(&app, post("token/introspect", service)).await.error(), (400, "invalid_request".into()));
    let active = send(&app, ask(service, &tokens.member("access_token"))).await.json();
    assert_eq!((&active["active"], &active["username"], &active["client_id"]), (&json!(true), &json!("alice"), &json!("tradepost-demo")));
    assert_eq!(send(&app, ask(service, &tokens.member("refresh_token"))).await.json()["active"], true);
    send(&app, refresh(&tokens.member("refresh_token"))).await;
    for token in [tokens.member("refresh_token"), tokens.member("id_token"), "x".into()] {
        assert_eq!(send(&app, ask(service, &token)).await.json(), json!({ "active": false }));
    }
}

#[actix_web::test]
async fn a_client_can_send_a_person_to_log_out() {
    let desk = Desk::new().with_key();
    let built = desk.build().unwrap();
    let app = app(&built).await;
    let tokens = send(&app, alice("openid")).await;
    let hint = format!("id_token_hint={}", tokens.member("id_token"));
    for bad in [
        format!("{hint}&post_logout_redirect_uri=https%3A%2F%2Fevil.example"),
        format!("{hint}&client_id=tradepost-service"),
        "id_token_hint=x.y.z".to_string(),
        "post_logout_redirect_uri=http%3A%2F%2Flocalhost%2F".to_string(),
        format!("id_token_hint={}", tokens.member("access_token")),
    ] {
        let answer = send(&app, get(&format!("logout?{bad}"))).await;
        assert_eq!((answer.status, answer.header("location")), (400, ""), "{bad}");
    }
    assert_eq!(send(&app, userinfo(&tokens)).await.status, 200, "a refused logout ends nothing");
    let back = send(&app, post("logout", &format!("{hint}&post_logout_redirect_uri=http%3A%2F%2Flocalhost%3A3000%2Fbye&state=x"))).await;
    assert_eq!((back.status, back.header("location")), (302, "http://localhost:3000/bye?state=x"));
    assert_eq!(send(&app, refresh(&tokens.member("refresh_token"))).await.error().1, "invalid_grant");
    assert_eq!(send(&app, get("logout")).await.status, 200);
}

#[actix_web::test]
async fn the_shop_takes_its_tokens() {
    let mut desk = Desk::new().with_key();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    desk.url = format!("http://{}", socket.local_addr().unwrap());
    let built = desk.build().unwrap();
    let (endpoints, edge_of) = (built.parts.endpoints.clone(), edge(&built));
    let for_server = edge_of.clone();
    let server = HttpServer::new(move || {
        let (endpoints, edge) = (endpoints.clone(), for_server.clone());
        App::new().configure(move |c| configure(c, &endpoints, &edge))
    });
    let server = server.workers(1).disable_signals().listen(socket).unwrap().run();
    let handle = server.handle();
    actix_web::rt::spawn(server);

    let app = app(&built).await;
    let tokens = send(&app, alice("openid")).await;
    let alice = edge_of.authenticator.authenticate(&tokens.member("access_token")).await.unwrap();
    assert_eq!((alice.username.as_str(), alice.email.as_deref()), ("alice", Some("alice@example.com")));
    assert_eq!(alice.roles, ["customer"]);
    for other in ["id_token", "refresh_token"] {
        assert!(edge_of.authenticator.authenticate(&tokens.member(other)).await.is_err(), "{other} is no access token");
    }
    let worker = ClientCredentials::new(Arc::new(OidcClient::new(&built.issuer, None)), "tradepost-service", built.client_secret.expose());
    let service = edge_of.authenticator.authenticate(&worker.token().await.unwrap()).await.unwrap();
    assert_eq!((service.username.as_str(), service.roles.as_slice()), ("service-account-tradepost-service", &["service".to_string()][..]));
    handle.stop(false).await;
}
