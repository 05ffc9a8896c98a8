//! Access control: a request needs a valid, current access token of the shop's issuer, with a role that the call
//! permits. All other requests get 401 or 403 in the form of RFC 6750, without further information.

use super::issuer::{Key, claims, hs256, now, unsigned};
use crate::contract::envelope::assert_refusal;
use crate::contract::operations::{filled, operations};
use crate::support::client::{Client, REALM, Reply};
use crate::support::{Shape, Shop, on_system};
use actix_web::http::Method;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rsa::pkcs8::{EncodePublicKey, LineEnding};
use rsa::traits::PublicKeyParts;
use serde_json::{Value, json};
use tradepost::rpc::contract::RequiredRole;

const PATH: &str = "/api/v1/products";

/// Checks for a 401, with a challenge that names the error if a token was sent.
#[track_caller]
fn assert_unauthorized(reply: &Reply, method: &str, path: &str, token_sent: bool) {
    assert_refusal(reply, 401, method, path);
    assert_eq!(reply.json()["error"], "UNAUTHORIZED", "{reply:?}");
    let challenge = reply.headers["www-authenticate"].as_str();
    if token_sent {
        assert!(challenge.starts_with("Bearer ") && challenge.contains("error=\"invalid_token\""), "{reply:?}");
    } else {
        assert_eq!(challenge, "Bearer", "{reply:?}");
    }
}

/// Sends a GET with exactly these headers, including duplicates.
async fn get(c: &Client, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = awc::Client::default().get(format!("{}{path}", c.url));
    for header in headers {
        request = request.append_header(*header);
    }
    let mut answer = request.send().await.unwrap();
    let headers = answer.headers().iter().map(|(k, v)| (k.to_string(), v.to_str().unwrap().to_string())).collect();
    let text = String::from_utf8(answer.body().await.unwrap().to_vec()).unwrap();
    Reply { status: answer.status().as_u16(), headers, text }
}

/// The claims with one of them changed, or removed if the value is null.
fn but(good: &Value, claim: &str, value: Value) -> Value {
    let mut changed = good.clone();
    changed[claim] = value.clone();
    if value.is_null() {
        changed.as_object_mut().unwrap().remove(claim);
    }
    changed
}

/// Invalid tokens of every kind.
pub(super) fn bad_tokens(c: &Client, key: &Key, good: &Value) -> Vec<(String, String)> {
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": key.kid });
    let honest = key.token(good);
    let parts: Vec<&str> = honest.split('.').collect();
    let mut bad: Vec<(String, String)> = Vec::new();
    let mut add = |what: &str, token: String| bad.push((what.into(), token));
    for (what, claim, value) in [
        ("expired", "exp", json!(now() - 60)),
        ("expired for ever", "exp", json!(-1)),
        ("exp is text", "exp", json!("tomorrow")),
        ("exp is too large", "exp", json!(u64::MAX)),
        ("no exp", "exp", json!(null)),
        ("not yet valid", "nbf", json!(now() + 600)),
        ("wrong issuer", "iss", json!("https://evil.example/realms/x")),
        ("issuer with a slash more", "iss", json!(format!("{}/", good["iss"].as_str().unwrap()))),
        ("no issuer", "iss", json!(null)),
        ("wrong audience", "aud", json!("account")),
        ("no audience", "aud", json!(null)),
        ("empty audience", "aud", json!([])),
        ("no subject", "sub", json!(null)),
        ("empty subject", "sub", json!("")),
        ("no type", "typ", json!(null)),
        ("an ID token by type", "typ", json!("ID")),
        ("a refresh token by type", "typ", json!("Refresh")),
        ("roles are no list", "realm_access", json!({ "roles": "admin" })),
    ] {
        add(what, key.token(&but(good, claim, value)));
    }
    for alg in ["none", "None", "NONE", "nOnE", "", "rs256", "HS512", "RS256 ", "none\u{0}"] {
        let lies = json!({ "alg": alg, "typ": "JWT", "kid": key.kid });
        add(&format!("alg `{alg}`, no signature"), format!("{}.", unsigned(&lies, good)));
        add(&format!("alg `{alg}`, a good signature"), key.token_with(&lies, good));
    }
    for alg in ["RS384", "RS512", "PS256", "ES256", "EdDSA"] {
        add(&format!("alg {alg} over an RS256 signature"), key.token_with(&json!({ "alg": alg, "kid": key.kid }), good));
    }
    let public = key.rsa.to_public_key();
    let confused = json!({ "alg": "HS256", "typ": "JWT", "kid": key.kid });
    add("HS256 with the public key's PEM", hs256(&confused, good, public.to_public_key_pem(LineEnding::LF).unwrap().as_bytes()));
    add("HS256 with the public key's DER", hs256(&confused, good, public.to_public_key_der().unwrap().as_bytes()));
    add("HS256 with the modulus", hs256(&confused, good, &public.n_bytes()));
    add("HS256 with the modulus as published", hs256(&confused, good, URL_SAFE_NO_PAD.encode(public.n_bytes()).as_bytes()));
    add("HS256 with nothing", hs256(&confused, good, b""));
    add("RS256 by name, HS256 in truth", hs256(&header, good, public.to_public_key_pem(LineEnding::LF).unwrap().as_bytes()));
    let foreign = Key::foreign(0, &key.kid);
    add("a foreign key under the same id", foreign.token(good));
    add("a foreign key that it brings along", foreign.token_with(&json!({ "alg": "RS256", "kid": key.kid, "jwk": foreign.jwk() }), good));
    add(
        "a foreign key that it tells where to find",
        foreign.token_with(&json!({ "alg": "RS256", "kid": key.kid, "jku": "http://127.0.0.1:9/" }), good),
    );
    add("no key id", key.token_with(&json!({ "alg": "RS256", "typ": "JWT" }), good));
    add("a key id that is no text", key.token_with(&json!({ "alg": "RS256", "kid": 7 }), good));
    add("an unknown key id", key.token_with(&json!({ "alg": "RS256", "kid": "unknown" }), good));
    add("a key id that is a path", key.token_with(&json!({ "alg": "RS256", "kid": "../../../dev/null" }), good));
    let promoted = URL_SAFE_NO_PAD.encode(but(good, "preferred_username", json!("root")).to_string());
    add("tampered payload", format!("{}.{promoted}.{}", parts[0], parts[2]));
    add("no signature", format!("{}.{}.", parts[0], parts[1]));
    add("two parts", format!("{}.{}", parts[0], parts[1]));
    add("four parts", format!("{honest}.{}", parts[2]));
    add("a signature cut short", honest[..honest.len() - 8].into());
    add("another token's signature", format!("{}.{}.{}", parts[0], parts[1], c.admin.rsplit('.').next().unwrap()));
    for junk in ["x", "...", "a.b.c", "null", "{}", "eyJ.eyJ.x", "Bearer", "é"] {
        add("no JWT at all", junk.escape_default().to_string());
    }
    add("a token of 20 KB", key.token(&but(good, "more", json!("x".repeat(15_000)))));
    bad
}

scenario! {
    /// Each invalid token is rejected with the right answer, and a valid token between them is accepted.
    async fn invalid_tokens_are_rejected(shop) {
        let c = &shop.client;
        let key = Key::of_shop(shop.data.path(), &c.admin);
        let good = claims(&format!("{}{REALM}", c.url), "admin", "admin");
        c.get(&key.token(&good), PATH).await.expect(200);
        c.get(&key.token_with(&json!({ "alg": "RS256", "typ": "at+jwt", "kid": key.kid }), &but(&good, "typ", json!(null))), PATH).await.expect(200);
        let bad = bad_tokens(c, &key, &good);
        assert!(bad.len() > 60, "{}", bad.len());
        for (what, token) in bad {
            let reply = c.get(&token, PATH).await;
            assert_eq!(reply.status, 401, "{what}: {reply:?}");
            assert_unauthorized(&reply, "GET", PATH, true);
            assert!(!reply.text.contains(&token), "{what}: a token is never shown");
        }
        c.get(&key.token(&good), PATH).await.expect(200);
    }
}

scenario! { of one process:
    /// The token must be in one header, exactly once, as in RFC 6750; the scheme is case-insensitive.
    async fn token_outside_its_header_is_rejected(shop) {
        let c = &shop.client;
        let token = &c.alice;
        for scheme in ["Bearer", "bearer", "BEARER", "BeArEr"] {
            get(c, PATH, &[("authorization", &format!("{scheme} {token}"))]).await.expect(200);
        }
        for path in [PATH, &*format!("{PATH}?access_token={token}"), &*format!("{PATH}?token={token}")] {
            assert_unauthorized(&get(c, path, &[("cookie", &format!("access_token={token}"))]).await, "GET", PATH, false);
        }
        for value in ["Basic YWRtaW46YWRtaW4=", "Bearer", "Bearer ", "", token, &format!("Token {token}"), &format!("Bearer{token}"), &format!("Bearer {token} {token}"), &format!("Bearer {token},Bearer {token}"), &format!("Bearer \"{token}\"")] {
            assert_unauthorized(&get(c, PATH, &[("authorization", value)]).await, "GET", PATH, true);
        }
        let (good, bad) = (format!("Bearer {token}"), "Bearer none".to_string());
        for (first, second) in [(&good, &bad), (&bad, &good), (&good, &good), (&good, &format!("Bearer {}", c.admin))] {
            assert_unauthorized(&get(c, PATH, &[("authorization", first), ("authorization", second)]).await, "GET", PATH, true);
        }
        let huge = get(c, PATH, &[("authorization", &format!("Bearer {}", "x".repeat(100_000)))]).await;
        assert_eq!(huge.status, 401);
        get(c, PATH, &[("authorization", &good)]).await.expect(200);
    }
}

scenario! {
    /// ID and refresh tokens of the issuer are rejected, although the same key signed them.
    async fn id_and_refresh_tokens_are_rejected(shop) {
        let c = &shop.client;
        let form = [("grant_type", "password"), ("client_id", "tradepost-demo"), ("username", "alice"), ("password", "alice"), ("scope", "openid")];
        let mut answer = tradepost::net::http::http().post(format!("{}{REALM}/protocol/openid-connect/token", c.url)).send_form(&form).await.unwrap();
        let tokens: Value = answer.json().await.unwrap();
        c.get(tokens["access_token"].as_str().unwrap(), PATH).await.expect(200);
        for kind in ["id_token", "refresh_token"] {
            let reply = c.get(tokens[kind].as_str().unwrap(), PATH).await;
            assert_unauthorized(&reply, "GET", PATH, true);
        }
    }
}

scenario! { of one process:
    /// Every call of every contract checks the token before anything else; so does an unknown path.
    async fn calls_without_a_token_are_rejected(shop) {
        let c = &shop.client;
        let calls = operations().into_iter().filter(|o| o.required_role != RequiredRole::Public).map(|o| (o.method.clone(), filled(&o)));
        let others = ["/actuator/env", "/actuator/loggers", "/actuator/deadletters", "/api/v1/notifications/stream", "/nothing"];
        let others = others.map(|path| (Method::GET, path.to_string())).into_iter().chain([(Method::PATCH, PATH.to_string())]);
        for (method, path) in calls.chain(others) {
            for body in ["", "{", "{}"] {
                assert_unauthorized(&c.send(method.clone(), &path, &[("content-type", "application/json")], body).await, method.as_str(), &path, false);
            }
            let reply = c.send(method.clone(), &path, &[("authorization", "Bearer a.b.c")], "").await;
            assert_unauthorized(&reply, method.as_str(), &path, true);
        }
    }
}

/// Checks for a 403 without further information.
#[track_caller]
fn assert_forbidden(reply: &Reply, method: &str, path: &str) {
    assert_refusal(reply, 403, method, path);
    assert_eq!(reply.json()["error"], "FORBIDDEN", "{reply:?}");
}

scenario! {
    /// A call permits the roles in its contract: customers cannot change stock, and administrators are not peers.
    async fn roles_permit_only_the_calls_in_the_contract(shop) {
        let c = &shop.client;
        let service = shop.service_token().await;
        let key = Key::of_shop(shop.data.path(), &c.admin);
        let stranger = key.token(&claims(&format!("{}{REALM}", c.url), "unknown", "offline_access"));
        let mut refused = 0;
        for operation in operations() {
            let (method, path) = (operation.method.clone(), filled(&operation));
            for (token, role) in [(&c.alice, "customer"), (&c.admin, "admin"), (&service, "service"), (&stranger, "offline_access")] {
                let bearer = format!("Bearer {token}");
                // No call accepts this media type, so an authorized request changes nothing.
                let reply = c.send(method.clone(), &path, &[("authorization", &bearer), ("accept", "image/png")], "").await;
                if operation.required_role.roles().is_empty() || operation.required_role.roles().contains(&role) {
                    assert_refusal(&reply, 406, method.as_str(), &path);
                } else {
                    assert_forbidden(&reply, method.as_str(), &path);
                    refused += 1;
                }
            }
        }
        assert!(refused > 30, "{refused}");
        for path in ["/actuator/env", "/actuator/loggers", "/actuator/deadletters"] {
            assert_forbidden(&c.get(&c.alice, path).await, "GET", path);
        }
    }
}

/// Roles of other clients, or in other claims, have no effect.
#[test]
fn roles_of_other_clients_are_ignored() {
    on_system(async {
        let mut shop = Shop::start(Shape::Local, |_| {}).await;
        let c = &shop.client;
        let key = Key::of_shop(shop.data.path(), &c.admin);
        let good = but(&claims(&format!("{}{REALM}", c.url), "eve", "customer"), "groups", json!(["admin"]));
        let product = json!({ "skuCode": "x", "name": "x", "price": 1 });
        for (claim, value) in [
            ("resource_access", json!({ "account": { "roles": ["admin"] }, "tradepost-demo": { "roles": ["admin", "service"] } })),
            ("resource_access", json!({ "Tradepost": { "roles": ["admin"] } })),
            ("roles", json!(["admin"])),
            ("scope", json!("admin service")),
            ("realm_access", json!({ "roles": ["Admin", "ADMIN", "admin ", "administrator", ""] })),
            ("realm_access", json!(null)),
        ] {
            let token = key.token(&but(&good, claim, value.clone()));
            c.get(&token, PATH).await.expect(200);
            assert_forbidden(&c.post(&token, PATH, product.clone()).await, "POST", PATH);
        }
        let ours = key.token(&but(&good, "resource_access", json!({ "tradepost": { "roles": ["admin"] } })));
        c.post(&ours, PATH, product).await.expect(201);
        shop.stop().await;
    });
}
