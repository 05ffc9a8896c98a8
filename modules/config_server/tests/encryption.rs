//! Tests of encrypted values, with a value from Spring's server.

use super::{BASIC, Secret, Settings, folder, get, send, settings};
use crate::edge::web::testing;
use actix_web::test::TestRequest;
use serde_json::json;

/// `geheim`, encrypted by Spring Cloud Config Server 4.3.1 with `encrypt.key=not-a-secret-interop`.
const BY_SPRING: &str = "ee3cbe76d7f7e06cb37d6a67e852b317531ebdbec35b0fec7ac6aa112d297a51";

fn with_key(settings: Settings) -> Settings {
    Settings { encrypt_key: Some(Secret::new("not-a-secret-interop")), ..settings }
}

#[actix_web::test]
async fn value_encrypted_by_spring_is_decrypted_in_response() {
    let text = format!("a: '{{cipher}}{BY_SPRING}'\nb: '{{cipher}}{{key:x}}{BY_SPRING}'\nc: '{{cipher}}00'\nd: plain\n");
    let dir = folder(&[("basket.yml", &text)]);
    let source = get(&with_key(settings(dir.path())), "/basket/default").await.json()["propertySources"][0]["source"].clone();
    assert_eq!(source, json!({ "a": "geheim", "b": "geheim", "invalid.c": "<n/a>", "d": "plain" }));
    // without a key, encrypted values stay as they are: clients may have the key
    assert_eq!(get(&settings(dir.path()), "/basket/default").await.value("a"), json!(format!("{{cipher}}{BY_SPRING}")));
    let other = Settings { encrypt_key: Some(Secret::new("another")), ..settings(dir.path()) };
    assert_eq!(get(&other, "/basket/default").await.value("invalid.a"), json!("<n/a>"));
}

#[actix_web::test]
async fn decrypt_of_encrypted_text_returns_text() {
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
        assert_ne!(post("/encrypt", text.into(), kind).await.text, encrypted.text, "the result differs on each call");
        assert_eq!(post("/decrypt/app/prod", encrypted.text, "text/plain").await.text, meant);
    }
    for wrong in ["zz", "", "00", &"ab".repeat(16), &"ab".repeat(31), &BY_SPRING.replace('e', "f")] {
        let response = post("/decrypt", wrong.to_string(), "text/plain").await;
        assert_eq!((response.status, response.json()["status"].clone()), (400, json!("INVALID")), "{wrong}");
    }
}

#[actix_web::test]
async fn encryption_without_symmetric_key_is_rejected() {
    let dir = folder(&[]);
    let response = get(&settings(dir.path()), "/encrypt/status").await;
    assert_eq!((response.status, response.json()["status"].clone()), (404, json!("NO_KEY")));
    let rsa = Settings { encrypt_key: Some(Secret::new("-----BEGIN RSA PRIVATE KEY-----")), ..settings(dir.path()) };
    let authenticator = testing::edge(testing::NO_ISSUER).authenticator;
    let message = super::ConfigServer::new(&rsa, dir.path(), authenticator).err().unwrap().to_string();
    assert!(message.contains("symmetric"), "{message}");
}
