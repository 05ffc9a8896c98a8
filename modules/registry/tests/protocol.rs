//! Tests of the Eureka protocol: every endpoint with every status.

use super::*;
use std::io::Read;

const ID: &str = "/eureka/apps/ORDER-SERVICE/h%3Aorder-service%3A1";

async fn with_one() -> (TestRegistry, TestClient) {
    let registry = TestRegistry::new();
    let client = registry.client().await;
    assert_eq!(client.register(instance("ORDER-SERVICE", "h:order-service:1", 100)).await, 204);
    (registry, client)
}

/// Instances in every state that the dashboard distinguishes, with markup in their fields.
async fn with_several() -> (TestRegistry, TestClient) {
    let registry = TestRegistry::with(|settings| settings.peers = Some(Secret::new("http://user:secret@peer.test:8761/eureka")));
    let client = registry.client().await;
    let mut down = instance("ORDER-SERVICE", "h:order-service:2", 101);
    down["status"] = "DOWN".into();
    down["metadata"] = json!({ "version": "1.2 \"beta\" & 'more'\u{7}", "a_b": "c\nd", "$x": "", "no name": "left out" });
    down["homePageUrl"] = "http://host.test/?a=1&b='\"".into();
    let mut starting = instance("PRODUCT-SERVICE", "p:2", 103);
    starting["status"] = "STARTING".into();
    for instance in [instance("ORDER-SERVICE", "h:order-service:1", 100), down, instance("PRODUCT-SERVICE", "p:1", 102)] {
        assert_eq!(client.register(instance).await, 204);
    }
    assert_eq!(client.put("/eureka/apps/PRODUCT-SERVICE/p:1/status?value=OUT_OF_SERVICE").await, 200);
    registry.advance(95);
    assert_eq!(client.register(starting).await, 204);
    (registry, client)
}

#[actix_web::test]
async fn registered_instance_is_on_every_path() {
    let (_registry, client) = with_one().await;
    for path in [
        "/eureka/apps",
        "/eureka/apps/",
        "/eureka/v2/apps/",
        "/eureka/apps?regions=eu",
        "/eureka/apps/delta",
        "/eureka/v2/apps/delta/",
        "/eureka/vips/order-service",
        "/eureka/svips/order-service/",
    ] {
        let response = client.get(path).await;
        assert_eq!(response.status, 200, "{path}");
        assert_eq!(client.list(path).await, [("h:order-service:1".into(), "UP".into(), "ADDED".into())], "{path}");
        assert_eq!(response.json()["applications"]["apps__hashcode"], "UP_1_", "{path}");
    }
    for path in [ID, "/eureka/v2/apps/order-service/h:order-service:1", "/eureka/instances/h%3Aorder-service%3A1"] {
        assert_eq!(client.get(path).await.json()["instance"]["hostName"], "host.test", "{path}");
    }
    let app = client.get("/eureka/apps/ORDER-SERVICE").await.json();
    assert_eq!(
        (app["application"]["name"].as_str(), app["application"]["instance"].as_array().map(Vec::len)),
        (Some("ORDER-SERVICE"), Some(1))
    );
    for path in
        ["/eureka/apps/NONE", "/eureka/apps/ORDER-SERVICE/none", "/eureka/instances/none", "/eureka/vips/none", "/eureka/svips/none"]
    {
        // a Spring client parses any body as an instance, whatever the status
        let none = client.get(path).await;
        assert_eq!((none.status, none.text().as_str(), none.header("content-type")), (404, "", ""), "{path}");
    }
    assert_eq!(client.send(TestRequest::default().method(actix_web::http::Method::HEAD).uri("/eureka/apps/")).await.status, 200);
}

#[actix_web::test]
async fn invalid_registration_is_rejected() {
    let registry = TestRegistry::new();
    let client = registry.client().await;
    for field in ["instanceId", "hostName", "ipAddr", "app", "dataCenterInfo"] {
        let mut incomplete = instance("A", "a", 1);
        incomplete.as_object_mut().unwrap().remove(field);
        let rejected = client.post("/eureka/apps/A", json!({ "instance": incomplete })).await;
        assert_eq!(rejected.status, 400, "{field}");
        assert!(rejected.text().contains(field));
    }
    assert_eq!(client.post("/eureka/apps/B", json!({ "instance": instance("A", "a", 1) })).await.status, 400, "another application");
    assert_eq!(client.post("/eureka/apps/a", json!({ "instance": instance("a", "a", 1) })).await.status, 204, "names are upper case");
    assert_eq!(client.post("/eureka/apps/A", instance("A", "a", 1)).await.status, 400, "no root");
    let send = |kind: &'static str, body: &'static str| {
        client.send(TestRequest::post().uri("/eureka/apps/A").insert_header(BASIC).insert_header(("content-type", kind)).set_payload(body))
    };
    assert_eq!(send("application/json", "{").await.status, 400);
    assert_eq!(send("application/xml", "<instance>").await.status, 400);
    assert_eq!(send("application/xml", "<application/>").await.status, 400);
    assert_eq!(send("text/plain", "{}").await.status, 415, "a page of another site could send it");
    assert_eq!(registry.count(), 1);
}

#[actix_web::test]
async fn malformed_xml_is_rejected() {
    let (registry, client) = with_one().await;
    let whole = client.send(TestRequest::get().uri(ID)).await.text();
    let send = |body: Vec<u8>| {
        let post = TestRequest::post().uri("/eureka/apps/ORDER-SERVICE").insert_header(BASIC);
        client.send(post.insert_header(("content-type", "application/xml")).set_payload(body))
    };
    let declared = |declaration: &str, body: &str| format!("{declaration}{}", body.replace("h:order-service:1", "new:\u{e4}"));
    let entity_expansion =
        r#"<!DOCTYPE instance [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>"#;
    for (body, reason) in [
        (declared(entity_expansion, &whole.replace("host.test", "&c;")).into_bytes(), "document types are not supported"),
        (declared("<?xml version=\"1.0\" encoding=\"ISO-8859-15\"?>", &whole).into_bytes(), "expected UTF-8"),
        (declared("", &whole).chars().map(|c| c as u8).collect(), "utf-8"),
        (declared("\u{feff}", &whole).encode_utf16().flat_map(u16::to_be_bytes).collect(), "utf-8"),
        (declared("", &whole).replace("</instance>", "").into_bytes(), "<instance> is not closed"),
        (declared("", &whole).replace("</metadata>", "").into_bytes(), "</metadata>"),
        (declared("", &whole).repeat(2).into_bytes(), "more than one element"),
        (declared("", &whole).replace("host.test", "&nbsp;").into_bytes(), "`&nbsp;` is no known entity"),
        (format!("<instance>{}", "<a>".repeat(300_000)).into_bytes(), "nested too deeply"),
    ] {
        let rejected = send(body).await;
        assert_eq!(rejected.status, 400, "{}", rejected.text());
        assert!(rejected.text().contains("the body is not understood: ") && rejected.text().contains(reason), "{}", rejected.text());
    }
    assert_eq!(send(format!("<instance>{}</instance>", " ".repeat(1 << 20)).into_bytes()).await.status, 413);
    assert_eq!(registry.count(), 1);
    let commented =
        declared("<?xml version=\"1.0\" encoding=\"utf-8\"?><!-- a -->", &whole).replace("host.test", "<![CDATA[host]]><!-- b -->.test");
    assert_eq!(send(commented.into_bytes()).await.status, 204);
    assert_eq!(client.get("/eureka/apps/ORDER-SERVICE/new:%C3%A4").await.json()["instance"]["hostName"], "host.test");
}

#[actix_web::test]
async fn request_without_credentials_is_rejected() {
    let (registry, client) = with_one().await;
    let batch = "/eureka/peerreplication/batch";
    for request in [
        TestRequest::post().uri("/eureka/apps/A").set_json(json!({ "instance": instance("A", "a", 1) })),
        TestRequest::post().uri(batch).set_json(json!({ "replicationList": [] })),
        TestRequest::put().uri(ID),
        TestRequest::put().uri(&format!("{ID}/status?value=DOWN")),
        TestRequest::delete().uri(&format!("{ID}/status")),
        TestRequest::put().uri(&format!("{ID}/metadata?a=b")),
        TestRequest::delete().uri(ID).insert_header(("authorization", "Basic dHJhZGVwb3N0OnB4")),
        TestRequest::delete().uri(ID).insert_header(("authorization", "Bearer pw")),
    ] {
        let rejected = client.send(request).await;
        assert_eq!(rejected.status, 401);
        assert!(rejected.header("www-authenticate").starts_with("Basic "));
    }
    assert_eq!(registry.count(), 1);
    let closed = TestRegistry::with(|settings| settings.open_reads = false);
    let client = closed.client().await;
    for path in ["/", "/eureka/web", "/eureka/apps", "/eureka/apps/delta"] {
        assert_eq!(client.get(path).await.status, 401, "{path}");
        assert_eq!(client.send(TestRequest::get().uri(path).insert_header(BASIC)).await.status, 200, "{path}");
    }
}

#[actix_web::test]
async fn renewal_of_outdated_instance_requires_registration() {
    let (_registry, client) = with_one().await;
    let renew = |dirty| format!("{ID}?status=UP&lastDirtyTimestamp={dirty}");
    assert_eq!(client.put(&renew("100")).await, 200);
    assert_eq!(client.put(&renew("99")).await, 200, "an older timestamp of the client changes nothing");
    assert_eq!(client.put(&renew("101")).await, 404, "the client has a newer version");
    assert_eq!(client.put(&renew("soon")).await, 400);
    assert_eq!(client.put(ID).await, 200);
    let unknown = TestRequest::put().uri("/eureka/apps/ORDER-SERVICE/none?status=UP").insert_header(BASIC);
    let unknown = client.send(unknown.insert_header(("accept", "application/json"))).await;
    assert_eq!((unknown.status, unknown.text().as_str()), (404, ""), "Spring's client fails on a body here, and never registers again");
    let replica = TestRequest::put().uri(&renew("99")).insert_header(BASIC).insert_header(("x-netflix-discovery-replication", "true"));
    let newer = client.send(replica.insert_header(("accept", "application/json"))).await;
    assert_eq!((newer.status, newer.json()["instance"]["lastDirtyTimestamp"].as_str()), (200, Some("100")));
    assert_eq!(client.delete(ID).await, 200);
    assert_eq!(client.delete(ID).await, 404);
    assert_eq!(client.put(&renew("100")).await, 404);
    assert_eq!(client.list("/eureka/apps/delta").await, [("h:order-service:1".into(), "UP".into(), "DELETED".into())]);
    assert_eq!(client.hash("/eureka/apps/delta").await, "");
}

#[actix_web::test]
async fn status_override_applies_until_removed() {
    let (_registry, client) = with_one().await;
    assert_eq!(client.put(&format!("{ID}/status?value=OUT_OF_SERVICE&lastDirtyTimestamp=100")).await, 200);
    let read = client.get(ID).await.json()["instance"].clone();
    assert_eq!((read["status"].as_str(), read["overriddenStatus"].as_str()), (Some("OUT_OF_SERVICE"), Some("OUT_OF_SERVICE")));
    assert_eq!(client.hash("/eureka/apps/delta").await, "OUT_OF_SERVICE_1_");
    assert_eq!(client.register(instance("ORDER-SERVICE", "h:order-service:1", 200)).await, 204);
    assert_eq!(client.get(ID).await.json()["instance"]["status"], "OUT_OF_SERVICE", "a registration keeps the override");
    let mut down = instance("ORDER-SERVICE", "h:order-service:1", 201);
    down["status"] = "DOWN".into();
    client.register(down).await;
    assert_eq!(client.get(ID).await.json()["instance"]["status"], "DOWN", "DOWN from the instance wins over the override");
    assert_eq!(client.delete(&format!("{ID}/status?value=UP")).await, 200);
    assert_eq!(client.get(ID).await.json()["instance"]["status"], "UP");
    client.put(&format!("{ID}/status?value=DOWN")).await;
    assert_eq!(client.delete(&format!("{ID}/status")).await, 200);
    assert_eq!(client.put(ID).await, 404, "the instance must register its status again");
    assert_eq!(client.put(&format!("{ID}/status?value=BROKEN")).await, 400);
    let none = "/eureka/apps/ORDER-SERVICE/none";
    assert_eq!((client.put(&format!("{none}/status?value=UP")).await, client.delete(&format!("{none}/status")).await), (404, 404));
}

#[actix_web::test]
async fn metadata_update_is_merged() {
    let (_registry, client) = with_one().await;
    assert_eq!(client.put(&format!("{ID}/metadata?weight=3&management.port=9")).await, 200);
    let read = client.get(ID).await.json()["instance"]["metadata"].clone();
    assert_eq!(read, json!({"zone": "<b>z1</b>", "management.port": "9", "weight": "3"}));
    assert_eq!(client.list("/eureka/apps/delta").await[0].2, "MODIFIED");
    assert_eq!(client.put("/eureka/apps/A/none/metadata?a=b").await, 404);
}

#[actix_web::test]
async fn response_contains_only_fields_of_the_java_mapper() {
    let (_registry, client) = with_one().await;
    let mut extended = instance("ORDER-SERVICE", "h:order-service:1", 300);
    extended["somethingNew"] = json!({"a": 1});
    client.register(extended).await;
    let allowed = [
        "instanceId",
        "hostName",
        "app",
        "ipAddr",
        "status",
        "overriddenStatus",
        "port",
        "securePort",
        "countryId",
        "dataCenterInfo",
        "leaseInfo",
        "metadata",
        "homePageUrl",
        "statusPageUrl",
        "healthCheckUrl",
        "vipAddress",
        "secureVipAddress",
        "isCoordinatingDiscoveryServer",
        "lastUpdatedTimestamp",
        "lastDirtyTimestamp",
        "actionType",
    ];
    let read = client.get(ID).await.json()["instance"].clone();
    let written: Vec<&String> = read.as_object().unwrap().keys().collect();
    assert_eq!(written.len(), allowed.len(), "{written:?}");
    assert!(written.iter().all(|key| allowed.contains(&key.as_str())), "{written:?}");
    assert_eq!(read["port"], json!({"$": 8080, "@enabled": "true"}));
    assert_eq!(read["leaseInfo"].as_object().unwrap().len(), 6);
    let compact =
        TestRequest::get().uri("/eureka/apps/").insert_header(("accept", "application/json")).insert_header(("x-eureka-accept", "compact"));
    let compact = client.send(compact).await.json()["applications"]["application"][0]["instance"][0].clone();
    assert!(compact["metadata"].is_null() && compact["leaseInfo"].is_null() && compact["status"] == "UP" && compact["port"]["$"] == 8080);
}

fn snapshot(name: &str, document: &str) {
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, document);
    });
}

#[actix_web::test]
async fn xml_response_matches_snapshot() {
    let (_registry, client) = with_several().await;
    for accept in [None, Some("application/xml"), Some("*/*")] {
        let request = accept.into_iter().fold(TestRequest::get().uri("/eureka/apps/"), |r, a| r.insert_header(("accept", a)));
        let response = client.send(request).await;
        assert_eq!(response.header("content-type"), "application/xml");
        snapshot("applications.xml", &response.text());
    }
    snapshot("instance.xml", &client.send(TestRequest::get().uri("/eureka/instances/h:order-service:2")).await.text());
    let compact = TestRequest::get().uri("/eureka/apps").insert_header(("x-eureka-accept", "compact"));
    snapshot("applications-compact.xml", &client.send(compact).await.text());
}

#[actix_web::test]
async fn xml_registration_equals_json_registration() {
    let (_registry, client) = with_one().await;
    let one = client.send(TestRequest::get().uri(ID)).await.text();
    let copy = one.replace("h:order-service:1", "copy:1");
    let post =
        TestRequest::post().uri("/eureka/apps/ORDER-SERVICE").insert_header(BASIC).insert_header(("content-type", "application/xml"));
    assert_eq!(client.send(post.set_payload(copy)).await.status, 204);
    let (a, mut b) = (client.get(ID).await.json(), client.get("/eureka/apps/ORDER-SERVICE/copy:1").await.json());
    b["instance"]["instanceId"] = "h:order-service:1".into();
    assert_eq!(a, b);
}

#[actix_web::test]
async fn gzip_body_is_read_and_written() {
    let registry = TestRegistry::new();
    let client = registry.client().await;
    let body = json!({ "instance": instance("A", "a", 1) }).to_string();
    let mut packed = Vec::new();
    flate2::read::GzEncoder::new(body.as_bytes(), flate2::Compression::fast()).read_to_end(&mut packed).unwrap();
    let post = |packed: Vec<u8>| {
        TestRequest::post()
            .uri("/eureka/apps/A")
            .insert_header(BASIC)
            .insert_header(("content-type", "application/json"))
            .insert_header(("content-encoding", "gzip"))
            .set_payload(packed)
    };
    assert_eq!(client.send(post(packed)).await.status, 204);
    let mut bomb = Vec::new();
    flate2::read::GzEncoder::new(std::io::repeat(b' ').take(32 << 20), flate2::Compression::fast()).read_to_end(&mut bomb).unwrap();
    assert_eq!(client.send(post(bomb)).await.status, 413);
    client.register(instance("A", "b", 1)).await;
    let get = TestRequest::get()
        .uri("/eureka/apps")
        .insert_header(("accept", "application/json"))
        .insert_header(("accept-encoding", "gzip, deflate"));
    let response = client.send(get).await;
    assert_eq!(response.header("content-encoding"), "gzip");
    let mut text = String::new();
    flate2::read::GzDecoder::new(response.body.as_slice()).read_to_string(&mut text).unwrap();
    assert!(text.contains("\"UP_2_\""));
}

#[actix_web::test]
async fn dashboard_matches_snapshot() {
    let (_registry, client) = with_several().await;
    for path in ["/", "/eureka/web"] {
        let page = client.get(path).await;
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(
            page.header("content-security-policy"),
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
        );
        snapshot("dashboard.html", &page.text());
    }
    snapshot("dashboard-empty.html", &TestRegistry::new().client().await.get("/").await.text());
}
