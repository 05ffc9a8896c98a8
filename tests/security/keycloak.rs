//! The same rules with a real Keycloak as the issuer, with the realm of `deploy/keycloak/`.
//!
//! Ignored by default, because it needs that server: `.ci/keycloak.sh` starts it and runs these with `--ignored`.

use super::issuer::{Key, claims};
use super::realm::{Added, KeycloakProxy, Realm, kid};
use super::tokens::bad_tokens;
use crate::support::{Shape, Shop, on_system, wait_for};
use actix_web::http::Method;
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tradepost::kernel::module::Module;
use tradepost::settings::Settings;

const PATH: &str = "/api/v1/products";

/// Settings of a shop that uses a Keycloak at this address.
fn keycloak_settings(issuer: String) -> impl FnOnce(&mut Settings) {
    move |settings| {
        settings.identity.issuer = Some(issuer);
        settings.identity.client_secret = Some(tradepost::settings::Secret::new(std::env::var("TRADEPOST_SERVICE_SECRET").unwrap()));
    }
}

#[test]
#[ignore = "needs a Keycloak: .ci/keycloak.sh"]
fn keycloak_tokens_are_accepted_by_the_gateway_and_every_service() {
    on_system(async {
        let realm = Realm::connect().await;
        let mut shop = Shop::start(Shape::Split, keycloak_settings(realm.issuer())).await;
        let c = &shop.client;
        c.stocked("kc-1", "2.50", 5).await;
        let order = c.order(&[("kc-1", 2)]).await.expect(201).json();
        assert_eq!((&order["status"], &order["total"]), (&json!("PLACED"), &json!(5.00)), "{order}");
        // The client of the Spring system, as the realm defines it.
        let secret = std::env::var("MICROSERVICES_CLIENT_SECRET").unwrap();
        let by_password = [("grant_type", "password"), ("username", "alice"), ("password", "alice")];
        let form = [&[("client_id", "microservices-client"), ("client_secret", secret.as_str())], &by_password[..]].concat();
        let spring = realm.granted(&form).await["access_token"].as_str().unwrap().to_string();
        let service = shop.service_token().await;
        for (module, path) in [
            (Module::Product, PATH),
            (Module::Inventory, "/api/v1/inventory"),
            (Module::Order, "/api/v1/orders"),
            (Module::Notification, "/api/v1/notifications"),
        ] {
            let mut direct = c.clone();
            direct.url = shop.member(module).unwrap();
            for at in [c, &direct] {
                at.get(&c.admin, path).await.expect(200);
                at.get(&c.alice, path).await.expect(200);
                at.get(&spring, path).await.expect(200);
                at.send(Method::GET, path, &[], "").await.expect(401);
                at.get("a.b.c", path).await.expect(401);
            }
        }
        c.post(&c.alice, PATH, json!({ "skuCode": "no", "name": "no", "price": 1 })).await.expect(403);
        c.post(&service, PATH, json!({ "skuCode": "no", "name": "no", "price": 1 })).await.expect(403);
        shop.assert_sound().await;
        shop.stop().await;
    });
}

/// Where only a claim is wrong, the token is signed with the realm's own key, so that only the claim can be the reason.
#[test]
#[ignore = "needs a Keycloak: .ci/keycloak.sh"]
fn forged_and_foreign_tokens_are_rejected_by_the_gateway_and_every_service() {
    on_system(async {
        let realm = Realm::connect().await;
        let key = realm.add_key(Key::foreign(1, "given by Keycloak")).await;
        let mut shop = Shop::start(Shape::Split, keycloak_settings(realm.issuer())).await;
        let c = &shop.client;
        let good = claims(&realm.issuer(), "admin", "admin");
        let mut bad = bad_tokens(c, &key.key, &good);
        let password = |client: &'static str| {
            [("grant_type", "password"), ("client_id", client), ("username", "alice"), ("password", "alice"), ("scope", "openid")]
        };
        let tokens = realm.granted(&password("tradepost-demo")).await;
        for (what, token) in [("its ID token", &tokens["id_token"]), ("its refresh token", &tokens["refresh_token"])] {
            bad.push((what.into(), token.as_str().unwrap().into()));
        }
        let other = realm.granted(&password("admin-cli")).await;
        bad.push(("a client without our audience".into(), other["access_token"].as_str().unwrap().into()));
        bad.push(("another realm's administrator".into(), realm.administrator().into()));
        assert!(bad.len() >= 40, "{}", bad.len());
        let mut behind = c.clone();
        behind.url = shop.member(Module::Product).unwrap();
        for at in [c, &behind] {
            at.get(&key.key.token(&good), PATH).await.expect(200);
            for (what, token) in &bad {
                let reply = at.get(token, PATH).await;
                assert_eq!(reply.status, 401, "{what} at {}: {reply:?}", at.url);
            }
        }
        println!("{} forged and foreign tokens refused at the gateway and behind it", bad.len());
        shop.stop().await;
        realm.remove(key).await;
    });
}

/// With a list of allowed clients, a valid token of another client is rejected.
#[test]
#[ignore = "needs a Keycloak: .ci/keycloak.sh"]
fn tokens_of_unlisted_clients_are_rejected() {
    on_system(async {
        let realm = Realm::connect().await;
        let mut shop = Shop::start(Shape::Loopback, |settings| {
            keycloak_settings(realm.issuer())(settings);
            settings.identity.authorized_parties = vec!["tradepost-demo".into()];
        })
        .await;
        let c = &shop.client;
        let secret = std::env::var("MICROSERVICES_CLIENT_SECRET").unwrap();
        let form = [("grant_type", "client_credentials"), ("client_id", "microservices-client"), ("client_secret", secret.as_str())];
        let spring = realm.granted(&form).await["access_token"].as_str().unwrap().to_string();
        let reply = c.get(&spring, PATH).await.expect(401);
        assert!(reply.headers["www-authenticate"].contains("another client"), "{reply:?}");
        c.stocked("kc-azp", "1", 1).await;
        // The shop's own client is always allowed: order needs it to call inventory.
        c.order(&[("kc-azp", 1)]).await.expect(201);
        shop.stop().await;
    });
}

/// Keys are rotated three times under load, as Keycloak's administrators do it: the new key signs, the old one is still
/// valid.
#[test]
#[ignore = "needs a Keycloak: .ci/keycloak.sh"]
fn valid_tokens_during_key_rotation_are_accepted() {
    on_system(async {
        let realm = Rc::new(Realm::connect().await);
        let mut shop = Shop::start(Shape::Local, keycloak_settings(realm.issuer())).await;
        let c = Rc::new(shop.client.clone());
        let (newest, stop) = (Rc::new(RefCell::new(c.alice.clone())), Rc::new(Cell::new(false)));
        let (asked, kids) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(std::collections::BTreeSet::new())));
        let caller = |token: Rc<RefCell<String>>| {
            let (c, stop, asked) = (c.clone(), stop.clone(), asked.clone());
            async move {
                while !stop.get() {
                    let bearer = token.borrow().clone();
                    c.get(&bearer, PATH).await.expect(200);
                    asked.set(asked.get() + 1);
                }
            }
        };
        let first = Rc::new(RefCell::new(c.alice.clone()));
        let callers = [caller(first.clone()), caller(newest.clone()), caller(newest.clone())];
        let logins = {
            let (realm, stop, newest, kids) = (realm.clone(), stop.clone(), newest.clone(), kids.clone());
            async move {
                while !stop.get() {
                    // Keycloak may refuse a login; the test checks only that issued tokens are accepted.
                    let Ok(granted) = realm.try_login("alice").await else { continue };
                    let token = granted["access_token"].as_str().unwrap().to_string();
                    kids.borrow_mut().insert(kid(&token));
                    *newest.borrow_mut() = token;
                }
            }
        };
        let some_requests = async |more: usize| {
            let before = asked.get();
            wait_for("more requests", || async {
                if asked.get() > before + more { Ok(()) } else { Err(format!("{} requests", asked.get())) }
            })
            .await;
        };
        let rotation = async {
            let mut last: Option<Added> = None;
            for index in [0, 1, 0] {
                let added = realm.add_key(Key::foreign(index, "given by Keycloak")).await;
                wait_for("a token of the new key", || async {
                    if kid(&newest.borrow()) == added.key.kid { Ok(()) } else { Err(kid(&newest.borrow())) }
                })
                .await;
                some_requests(200).await;
                // Remove an old key once no client uses a token of it.
                *first.borrow_mut() = newest.borrow().clone();
                some_requests(50).await;
                if let Some(last) = last.replace(added) {
                    realm.remove(last).await;
                }
            }
            stop.set(true);
            last
        };
        let (added, (), _) = futures_util::future::join3(rotation, logins, futures_util::future::join_all(callers)).await;
        assert!(kids.borrow().len() >= 3, "tokens of {} keys", kids.borrow().len());
        println!("{} requests with tokens of {} keys, none refused", asked.get(), kids.borrow().len());
        shop.stop().await;
        realm.remove(added.unwrap()).await;
    });
}

/// While Keycloak is unreachable, clients with a valid token keep working; unknown key ids cause at most one key fetch
/// per interval.
#[test]
#[ignore = "needs a Keycloak: .ci/keycloak.sh"]
fn valid_tokens_while_keycloak_is_unreachable_are_accepted() {
    on_system(async {
        let proxy = KeycloakProxy::open().await;
        let realm = Realm::at(&proxy.url).await;
        let mut shop = Shop::start(Shape::Loopback, keycloak_settings(realm.issuer())).await;
        let c = &shop.client;
        c.stocked("kc-2", "1", 100).await;
        c.order(&[("kc-2", 1)]).await.expect(201);
        let fresh = c.token("alice").await;
        proxy.close();
        assert!(realm.try_login("admin").await.is_err(), "Keycloak must be reachable only through the proxy");
        for _ in 0..20 {
            c.order(&[("kc-2", 1)]).await.expect(201);
            // A token that the shop has not seen yet, signed with a key that it knows.
            c.get(&fresh, PATH).await.expect(200);
        }
        proxy.reopen();
        c.get(&c.token("alice").await, PATH).await.expect(200);

        let (before, started) = (proxy.fetches(), Instant::now());
        let stranger = Key::foreign(1, "x");
        for round in 0..4 {
            let made_up = (0..50).map(|i| {
                stranger.token_with(&json!({ "alg": "RS256", "kid": format!("{round}-{i}") }), &claims(&realm.issuer(), "eve", "admin"))
            });
            let made_up: Vec<String> = made_up.collect();
            for reply in futures_util::future::join_all(made_up.iter().map(|token| c.get(token, PATH))).await {
                reply.expect(401);
            }
        }
        let (most, fetched) = (1 + started.elapsed().as_secs() as usize, proxy.fetches() - before);
        assert!((1..=most).contains(&fetched), "{fetched} fetches where {most} are permitted");
        println!("200 made-up key ids made {fetched} fetches in {:?}", started.elapsed().max(Duration::from_millis(1)));
        shop.assert_sound().await;
        shop.stop().await;
    });
}
