//! Tests of the responses to clients, with a folder as the backend.

use super::{BASIC, folder, get, send, settings};
use crate::edge::web::testing;
use actix_web::test::TestRequest;
use serde_json::{Value, json};

const SHARED: &str = "shop: {name: Tradepost, sizes: [1, 2], currency: EUR}\nhello: ${shop.name}\n---\n\
    spring.config.activate.on-profile: prod\nshop.currency: USD\n";

#[actix_web::test]
async fn sources_have_springs_order_and_names() {
    let dir = folder(&[
        ("application.yml", SHARED),
        ("application-prod.yml", "a: 1"),
        ("application-dev.yml", "a: 2"),
        ("order-service.yml", "a: 3"),
        ("order-service.yaml", "a: 4"),
        ("order-service.properties", "a=5"),
        ("order-service-prod.yml", "a: 6"),
        ("team/application.yml", "a: 7"),
        ("team/application-dev.yml", "a: 8"),
    ]);
    let settings = settings(dir.path());
    let root = dir.path().display();
    let response = get(&settings, "/order-service/prod,dev").await;
    assert_eq!(
        response.source_names(),
        [
            "application-dev.yml",
            "order-service-prod.yml",
            "application-prod.yml",
            "order-service.properties",
            "order-service.yml",
            "order-service.yaml",
            "application.yml#1",
            "application.yml#0"
        ]
    );
    let body = response.json();
    assert_eq!((&body["name"], &body["profiles"]), (&json!("order-service"), &json!(["prod,dev"])));
    assert_eq!((&body["label"], &body["version"], &body["state"]), (&Value::Null, &Value::Null, &Value::Null));
    assert_eq!(body["propertySources"][0]["name"], format!("file:{root}/application-dev.yml"));
    let several = format!("Config resource 'file [{root}/application.yml]' via location 'file:{root}/' (document #0)");
    assert_eq!(body["propertySources"][7]["name"], several);
    assert_eq!(body["propertySources"][7]["source"]["hello"], "${shop.name}");

    // the label is a subfolder: its files override those of the root, with and without a profile
    let labelled = get(&settings, "/order-service/dev/team").await;
    assert_eq!(labelled.json()["label"], "team");
    assert_eq!(labelled.source_names()[..2], ["application-dev.yml", "application-dev.yml"]);
    assert_eq!((labelled.value("a"), &labelled.source_names()[2]), (json!(8), &"application.yml".to_string()));
    // an unknown application gets the shared settings
    assert_eq!(get(&settings, "/unknown/default").await.source_names(), ["application.yml#0"]);
}

#[actix_web::test]
async fn media_type_follows_accept_header() {
    let dir = folder(&[("application.yml", SHARED)]);
    let v2 = "application/vnd.spring-cloud.config-server.v2+json";
    let request = TestRequest::get().uri("/x/default").insert_header(BASIC).insert_header(("accept", v2));
    assert_eq!(send(&settings(dir.path()), request).await.kind, v2);
    assert_eq!(get(&settings(dir.path()), "/x/default").await.kind, "application/json");
}

#[actix_web::test]
async fn rendered_text_contains_each_key_once_and_whole_lists() {
    let dir = folder(&[
        ("application.yml", SHARED),
        ("order-service-prod.yml", "shop.sizes: [9]\nquoted: 'a \"${shop.name}\" b'\nkept: '\\${x} ${unknown}'\n"),
        ("props.properties", "a.b=1\na.b.c=2\nx[0]=p\nx[1].y=q\nx[999999999]=far\n"),
        ("deep.properties", &format!("{}=1", vec!["a"; 100_000].join("."))),
        ("circle.yml", "a: ${b}\nb: ${a}\n"),
    ]);
    let settings = settings(dir.path());
    let text = get(&settings, "/order-service-prod.properties").await;
    assert_eq!(text.kind, "text/plain;charset=UTF-8");
    let lines: Vec<_> = text.text.lines().collect();
    for line in ["shop.currency: USD", "hello: Tradepost", "quoted: a \"Tradepost\" b", "kept: ${x} ${unknown}", "shop.sizes[0]: 9"] {
        assert!(lines.contains(&line), "{line}: {lines:?}");
    }
    assert!(!text.text.contains("shop.sizes[1]"));
    let raw = get(&settings, "/order-service-prod.properties?resolvePlaceholders=false").await.text;
    assert!(raw.contains("hello: ${shop.name}"));
    let nested = json!({ "name": "Tradepost", "sizes": [9], "currency": "USD" });
    let response = get(&settings, "/order-service-prod.json").await;
    assert_eq!((response.kind.as_str(), &response.json()["shop"]), ("application/json", &nested));
    assert_eq!(response.json()["quoted"], "a \"Tradepost\" b");
    for ending in ["yml", "yaml"] {
        let yaml = get(&settings, &format!("/order-service-prod.{ending}")).await.text;
        let read: Value = serde_yaml_ng::from_str(&yaml).unwrap();
        assert_eq!(read["shop"], nested);
    }
    let odd = get(&settings, "/props-default.json").await.json();
    assert_eq!((&odd["a"], &odd["x"]), (&json!({ "b": "1", "b.c": "2" }), &json!(["p", { "y": "q" }])));
    assert_eq!(get(&settings, "/deep-default.json").await.status, 200);
    assert_eq!(get(&settings, "/circle-default.json").await.status, 400);
    assert_eq!(get(&settings, "/none.txt").await.status, 404);
}

#[actix_web::test]
async fn file_with_variant_for_profile_returns_variant() {
    let dir = folder(&[
        ("application.yml", SHARED),
        ("etc/motd.txt", "${shop.name} \\${kept} ${unknown}"),
        ("etc/motd-prod.txt", "in production"),
        ("team/etc/other", "labelled"),
    ]);
    let settings = settings(dir.path());
    assert_eq!(get(&settings, "/x/default/any/etc/motd.txt").await.text, "Tradepost ${kept} ${unknown}");
    assert_eq!(get(&settings, "/x/prod/any/etc/motd.txt").await.text, "in production");
    assert_eq!(get(&settings, "/x/default/team/etc/other").await.text, "labelled");
    let raw =
        TestRequest::get().uri("/x/default/any/etc/motd.txt").insert_header(BASIC).insert_header(("accept", "application/octet-stream"));
    assert_eq!(send(&settings, raw).await.text, "${shop.name} \\${kept} ${unknown}");
    assert_eq!(get(&settings, "/x/default/any/etc/none.txt").await.status, 404);
}

#[actix_web::test]
async fn request_without_credentials_is_rejected() {
    let dir = folder(&[("application.yml", SHARED)]);
    for path in ["/x/default", "/x/default/main", "/x-default.yml", "/x/default/main/application.yml", "/encrypt/status", "/a/b/c/../../d"]
    {
        for credentials in ["Basic dHJhZGVwb3N0OndyWong=", "Basic dHJhZGVwb3N0OndyWong", "Bearer x", "", "Basic"] {
            let response = send(&settings(dir.path()), TestRequest::get().uri(path).insert_header(("authorization", credentials))).await;
            assert_eq!(response.status, 401, "{path} {credentials}: {response:?}");
            assert!(!response.text.contains("Tradepost"));
        }
        assert_eq!(send(&settings(dir.path()), TestRequest::get().uri(path)).await.status, 401, "{path}");
    }
    assert_eq!(send(&settings(dir.path()), TestRequest::post().uri("/monitor")).await.status, 401);
}

#[actix_web::test]
async fn path_out_of_the_folder_is_rejected() {
    let dir = folder(&[("secret.yml", "a: 1"), ("secret.txt", "deep"), ("in/application.yml", SHARED), ("in/.git/config", "url")]);
    std::os::unix::fs::symlink(dir.path().join("secret.txt"), dir.path().join("in/link.txt")).unwrap();
    let settings = settings(&dir.path().join("in"));
    let cases = [
        ("/..%2fsecret/default", 400),
        ("/..(_)secret/default", 400),
        ("/x/..%2fsecret", 400),
        ("/x/default/..", 400),
        ("/x/default/..%2f", 400),
        ("/x/default/%2e%2e", 400),
        ("/x/default/a(_)..(_)..", 400),
        ("/x/default/main/..%2fsecret.txt", 400),
        ("/x/default/main/%2e%2e/secret.txt", 400),
        ("/x/default/../secret.txt", 400),
        ("/x/default/main/a/../../secret.txt", 400),
        ("/x/default/main//etc/passwd", 400),
        ("/x/default/main/.git/config", 400),
        ("/x/default/main/%2fetc%2fpasswd", 400),
        ("/x/default/main/..%5csecret.txt", 400),
        ("/x/default/main/link.txt", 404),
        ("/x/default/main/a%00b", 400),
        ("/%00/default", 400),
        ("/x/a%0ab", 400),
        ("/x/--all/main", 400),
        ("/x/default/--all", 400),
    ];
    let mut statuses = Vec::new();
    for (path, _) in cases {
        let response = get(&settings, path).await;
        assert!(!response.text.contains("deep") && !response.text.contains("\"a\""), "{path}: {response:?}");
        statuses.push((path, response.status));
    }
    assert_eq!(statuses, cases);
    let many = vec!["p"; 21].join(",");
    assert_eq!(get(&settings, &format!("/x/{many}")).await.status, 400);
    assert_eq!(get(&settings, &format!("/{}/default", "x".repeat(201))).await.status, 400);
}

#[actix_web::test]
async fn malformed_file_is_named_in_the_error() {
    let dir = folder(&[("broken.yml", "secret: [hidden"), ("large.yml", &format!("a: {}", "x".repeat(2 << 20)))]);
    let settings = settings(dir.path());
    for name in ["broken", "large"] {
        let response = get(&settings, &format!("/{name}/default")).await;
        assert_eq!(response.status, 503);
        assert!(response.text.contains(&format!("{name}.yml")) && !response.text.contains("hidden"), "{response:?}");
    }
    assert_eq!(get(&settings, "/other/default").await.status, 200);
}

#[test]
fn invalid_settings_stop_the_start() {
    let dir = folder(&[]);
    let start_error = |settings: &super::Settings| {
        let authenticator = testing::edge(testing::NO_ISSUER).authenticator;
        super::ConfigServer::new(settings, dir.path(), authenticator).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let good = settings(dir.path());
    assert_eq!(start_error(&good), "");
    let no_folder = settings(&dir.path().join("none"));
    let outside = super::Settings { search_paths: vec!["../up".into()], ..good.clone() };
    let both = super::Settings { git: Some(super::Secret::new("/x")), ..good.clone() };
    let no_git = super::Settings { git: Some(super::Secret::new(dir.path().to_string_lossy())), folder: None, ..good };
    // git's own text follows
    assert!(start_error(&no_git).starts_with("config_server.git: git: fatal: "), "{}", start_error(&no_git));
    let messages = [no_folder, outside, both].map(|settings| start_error(&settings).replace(&*dir.path().to_string_lossy(), "[dir]"));
    insta::assert_snapshot!("start_errors", messages.join("\n"));
}
