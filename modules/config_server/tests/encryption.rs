//! Values encrypted by Spring's server are read, and what is encrypted here can be read.

use super::{BASIC, Secret, Settings, folder, get, send, settings};
use crate::edge::web::testing;
use actix_web::test::TestRequest;
use serde_json::json;

/// Spring Cloud Config Server 4.3.1 made this of `geheim`, with `encrypt.key=not-a-secret-interop`.
const BY_SPRING: &str = "ee3cbe76d7f7e06cb37d6a67e852b317531ebdbec35b0fec7ac6aa112d297a51";

fn with_key(settings: Settings) -> Settings {
    Settings { encrypt_key: Some(Secret::new("not-a-secret-interop")), ..settings }
}

#[actix_web::test]
async fn springs_values_are_decrypted_on_the_way_out() {
    let text = format!("a: '{{cipher}}{BY_SPRING}'\nb: '{{cipher}}{{key:x}}{BY_SPRING}'\nc: '{{cipher}}00'\nd: plain\n");
    let dir = folder(&[("basket.yml", &text)]);
    let sent_out = get(&with_key(settings(dir.path())), "/basket/default").await.json()["propertySources"][0]["source"].clone();
    assert_eq!(sent_out, json!({ "a": "geheim", "b": "geheim", "invalid.c": "<n/a>", "d": "plain" }));
    // without a key they go out as they are, for clients that have one
    assert_eq!(get(&settings(dir.path()), "/basket/default").await.value("a"), json!(format!("{{cipher}}{BY_SPRING}")));
    let other = Settings { encrypt_key: Some(Secret::new("another")), ..settings(dir.path()) };
    assert_eq!(get(&other, "/basket/default").await.value("invalid.a"), json!("<n/a>"));
}

#[actix_web::test]
async fn encrypt_and_decrypt() {
    let dir = folder(&[]);
    let settings = with_key(settings(dir.path()));
    let post = async |path: &str, body: String, kind: &str| {
        let request = TestRequest::post().uri(path).insert_header(BASIC).insert_header(("content-type", kind)).set_payload(body);
        send(&settings, request).await
    };
    assert_eq!(get(&settings, "/encrypt/status").await.json(), json!({ "status": "OK" }));
    let form = "application/x-www-form-urlencoded";
    for (text, kind, meant) in [
        ("s3cret=", "text/plain", "s3cret="),
        ("s3cret%21=", form, "s3cret!"),
        ("ü", form, "ü"),
        ("{plain}{a:b}", "text/plain", "{a:b}"),
        (&"{a:b}".repeat(100_000), "text/plain", ""),
    ] {
        let encrypted = post("/encrypt", text.into(), kind).await;
        assert_eq!(encrypted.status, 200);
        assert_ne!(post("/encrypt", text.into(), kind).await.text, encrypted.text, "another each time");
        assert_eq!(post("/decrypt/app/prod", encrypted.text, "text/plain").await.text, meant);
    }
    for wrong in ["zz", "", "00", &"ab".repeat(16), &"ab".repeat(31), &BY_SPRING.replace('e', "f")] {
        let answer = post("/decrypt", wrong.to_string(), "text/plain").await;
        assert_eq!((answer.status, answer.json()["status"].clone()), (400, json!("INVALID")), "{wrong}");
    }
}

#[actix_web::test]
async fn without_a_key_nothing_is_encrypted() {
    let dir = folder(&[]);
    let answer = get(&settings(dir.path()), "/encrypt/status").await;
    assert_eq!((answer.status, answer.json()["status"].clone()), (404, json!("NO_KEY")));
    let rsa = Settings { encrypt_key: Some(Secret::new("-----BEGIN RSA PRIVATE KEY-----")), ..settings(dir.path()) };
    let authenticator = testing::edge(testing::NO_ISSUER).authenticator;
    let said = super::ConfigServer::new(&rsa, dir.path(), authenticator).err().unwrap().to_string();
    assert!(said.contains("symmetric"), "{said}");
}
