//! Every call with every status, as clients of a Eureka server know them.

use super::*;
use std::io::Read;

const ID: &str = "/eureka/apps/ORDER-SERVICE/h%3Aorder-service%3A1";

async fn with_one() -> (Desk, Web) {
    let desk = Desk::new();
    let web = desk.web().await;
    assert_eq!(web.register(instance("ORDER-SERVICE", "h:order-service:1", 100)).await, 204);
    (desk, web)
}

/// Instances in every state that the dashboard distinguishes, with markup in what they say of themselves.
async fn with_several() -> (Desk, Web) {
    let desk = Desk::with(|settings| settings.peers = Some(Secret::new("http://user:secret@peer.test:8761/eureka")));
    let web = desk.web().await;
    let mut down = instance("ORDER-SERVICE", "h:order-service:2", 101);
    down["status"] = "DOWN".into();
    down["metadata"] = json!({ "version": "1.2 \"beta\" & 'more'\u{7}", "a_b": "c\nd", "$x": "", "no name": "left out" });
    down["homePageUrl"] = "http://host.test/?a=1&b='\"".into();
    let mut starting = instance("PRODUCT-SERVICE", "p:2", 103);
    starting["status"] = "STARTING".into();
    for instance in [instance("ORDER-SERVICE", "h:order-service:1", 100), down, instance("PRODUCT-SERVICE", "p:1", 102)] {
        assert_eq!(web.register(instance).await, 204);
    }
    assert_eq!(web.put("/eureka/apps/PRODUCT-SERVICE/p:1/status?value=OUT_OF_SERVICE").await, 200);
    desk.pass(95);
    assert_eq!(web.register(starting).await, 204);
    (desk, web)
}

#[actix_web::test]
async fn a_registration_is_found_by_every_path() {
    let (_desk, web) = with_one().await;
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
        let answer = web.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(web.list(path).await, [("h:order-service:1".into(), "UP".into(), "ADDED".into())], "{path}");
        assert_eq!(answer.json()["applications"]["apps__hashcode"], "UP_1_", "{path}");
    }
    for path in [ID, "/eureka/v2/apps/order-service/h:order-service:1", "/eureka/instances/h%3Aorder-service%3A1"] {
        assert_eq!(web.get(path).await.json()["instance"]["hostName"], "host.test", "{path}");
    }
    let app = web.get("/eureka/apps/ORDER-SERVICE").await.json();
    assert_eq!(
        (app["application"]["name"].as_str(), app["application"]["instance"].as_array().map(Vec::len)),
        (Some("ORDER-SERVICE"), Some(1))
    );
    for path in
        ["/eureka/apps/NONE", "/eureka/apps/ORDER-SERVICE/none", "/eureka/instances/none", "/eureka/vips/none", "/eureka/svips/none"]
    {
        // a Spring client takes a body for an instance, whatever the status
        let none = web.get(path).await;
        assert_eq!((none.status, none.text().as_str(), none.header("content-type")), (404, "", ""), "{path}");
    }
    assert_eq!(web.send(TestRequest::default().method(actix_web::http::Method::HEAD).uri("/eureka/apps/")).await.status, 200);
}

#[actix_web::test]
async fn what_cannot_be_registered_is_refused() {
    let desk = Desk::new();
    let web = desk.web().await;
    for field in ["instanceId", "hostName", "ipAddr", "app", "dataCenterInfo"] {
        let mut lacking = instance("A", "a", 1);
        lacking.as_object_mut().unwrap().remove(field);
        let refused = web.post("/eureka/apps/A", json!({ "instance": lacking })).await;
        assert_eq!(refused.status, 400, "{field}");
        assert!(refused.text().contains(field));
    }
    assert_eq!(web.post("/eureka/apps/B", json!({ "instance": instance("A", "a", 1) })).await.status, 400, "another application");
    assert_eq!(web.post("/eureka/apps/a", json!({ "instance": instance("a", "a", 1) })).await.status, 204, "names are upper case");
    assert_eq!(web.post("/eureka/apps/A", instance("A", "a", 1)).await.status, 400, "no root");
    let send = |kind: &'static str, body: &'static str| {
        web.send(TestRequest::post().uri("/eureka/apps/A").insert_header(BASIC).insert_header(("content-type", kind)).set_payload(body))
    };
    assert_eq!(send("application/json", "{").await.status, 400);
    assert_eq!(send("application/xml", "<instance>").await.status, 400);
    assert_eq!(send("application/xml", "<application/>").await.status, 400);
    assert_eq!(send("text/plain", "{}").await.status, 415, "what a page of another site could send");
    assert_eq!(desk.known(), 1);
}

#[actix_web::test]
async fn malformed_xml_is_refused() {
    let (desk, web) = with_one().await;
    let whole = web.send(TestRequest::get().uri(ID)).await.text();
    let send = |body: Vec<u8>| {
        let post = TestRequest::post().uri("/eureka/apps/ORDER-SERVICE").insert_header(BASIC);
        web.send(post.insert_header(("content-type", "application/xml")).set_payload(body))
    };
    let declared = |declaration: &str, body: &str| format!("{declaration}{}", body.replace("h:order-service:1", "new:\u{e4}"));
    let laughs =
        r#"<!DOCTYPE instance [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>"#;
    for (body, reason) in [
        (declared(laughs, &whole.replace("host.test", "&c;")).into_bytes(), "a document type is not taken"),
        (declared("<?xml version=\"1.0\" encoding=\"ISO-8859-15\"?>", &whole).into_bytes(), "expected UTF-8"),
        (declared("", &whole).chars().map(|c| c as u8).collect(), "utf-8"),
        (declared("\u{feff}", &whole).encode_utf16().flat_map(u16::to_be_bytes).collect(), "utf-8"),
        (declared("", &whole).replace("</instance>", "").into_bytes(), "<instance> is not closed"),
        (declared("", &whole).replace("</metadata>", "").into_bytes(), "</metadata>"),
        (declared("", &whole).repeat(2).into_bytes(), "more than one element"),
        (declared("", &whole).replace("host.test", "&nbsp;").into_bytes(), "`&nbsp;` is no known entity"),
        (format!("<instance>{}", "<a>".repeat(300_000)).into_bytes(), "nested too deeply"),
    ] {
        let refused = send(body).await;
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert!(refused.text().contains("the body is not understood: ") && refused.text().contains(reason), "{}", refused.text());
    }
    assert_eq!(send(format!("<instance>{}</instance>", " ".repeat(1 << 20)).into_bytes()).await.status, 413);
    assert_eq!(desk.known(), 1);
    let commented =
        declared("<?xml version=\"1.0\" encoding=\"utf-8\"?><!-- a -->", &whole).replace("host.test", "<![CDATA[host]]><!-- b -->.test");
    assert_eq!(send(commented.into_bytes()).await.status, 204);
    assert_eq!(web.get("/eureka/apps/ORDER-SERVICE/new:%C3%A4").await.json()["instance"]["hostName"], "host.test");
}

#[actix_web::test]
async fn writing_needs_credentials_and_reading_does_by_setting() {
    let (desk, web) = with_one().await;
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
        let refused = web.send(request).await;
        assert_eq!(refused.status, 401);
        assert!(refused.header("www-authenticate").starts_with("Basic "));
    }
    assert_eq!(desk.known(), 1);
    let closed = Desk::with(|settings| settings.open_reads = false);
    let web = closed.web().await;
    for path in ["/", "/eureka/web", "/eureka/apps", "/eureka/apps/delta"] {
        assert_eq!(web.get(path).await.status, 401, "{path}");
        assert_eq!(web.send(TestRequest::get().uri(path).insert_header(BASIC)).await.status, 200, "{path}");
    }
}

#[actix_web::test]
async fn a_renewal_asks_for_registration_where_it_must() {
    let (_desk, web) = with_one().await;
    let renew = |dirty| format!("{ID}?status=UP&lastDirtyTimestamp={dirty}");
    assert_eq!(web.put(&renew("100")).await, 200);
    assert_eq!(web.put(&renew("99")).await, 200, "an older word of the client changes nothing");
    assert_eq!(web.put(&renew("101")).await, 404, "the client knows more than we do");
    assert_eq!(web.put(&renew("soon")).await, 400);
    assert_eq!(web.put(ID).await, 200);
    let unknown = TestRequest::put().uri("/eureka/apps/ORDER-SERVICE/none?status=UP").insert_header(BASIC);
    let unknown = web.send(unknown.insert_header(("accept", "application/json"))).await;
    assert_eq!((unknown.status, unknown.text().as_str()), (404, ""), "Spring's client fails over a body here, and never registers again");
    let replica = TestRequest::put().uri(&renew("99")).insert_header(BASIC).insert_header(("x-netflix-discovery-replication", "true"));
    let ours = web.send(replica.insert_header(("accept", "application/json"))).await;
    assert_eq!((ours.status, ours.json()["instance"]["lastDirtyTimestamp"].as_str()), (200, Some("100")));
    assert_eq!(web.delete(ID).await, 200);
    assert_eq!(web.delete(ID).await, 404);
    assert_eq!(web.put(&renew("100")).await, 404);
    assert_eq!(web.list("/eureka/apps/delta").await, [("h:order-service:1".into(), "UP".into(), "DELETED".into())]);
    assert_eq!(web.hash("/eureka/apps/delta").await, "");
}

#[actix_web::test]
async fn a_status_is_set_over_the_instances_own_until_it_is_taken_back() {
    let (_desk, web) = with_one().await;
    assert_eq!(web.put(&format!("{ID}/status?value=OUT_OF_SERVICE&lastDirtyTimestamp=100")).await, 200);
    let read = web.get(ID).await.json()["instance"].clone();
    assert_eq!((read["status"].as_str(), read["overriddenStatus"].as_str()), (Some("OUT_OF_SERVICE"), Some("OUT_OF_SERVICE")));
    assert_eq!(web.hash("/eureka/apps/delta").await, "OUT_OF_SERVICE_1_");
    assert_eq!(web.register(instance("ORDER-SERVICE", "h:order-service:1", 200)).await, 204);
    assert_eq!(web.get(ID).await.json()["instance"]["status"], "OUT_OF_SERVICE", "a registration does not undo it");
    let mut down = instance("ORDER-SERVICE", "h:order-service:1", 201);
    down["status"] = "DOWN".into();
    web.register(down).await;
    assert_eq!(web.get(ID).await.json()["instance"]["status"], "DOWN", "that it is down the instance knows best");
    assert_eq!(web.delete(&format!("{ID}/status?value=UP")).await, 200);
    assert_eq!(web.get(ID).await.json()["instance"]["status"], "UP");
    web.put(&format!("{ID}/status?value=DOWN")).await;
    assert_eq!(web.delete(&format!("{ID}/status")).await, 200);
    assert_eq!(web.put(ID).await, 404, "only the instance knows its status now");
    assert_eq!(web.put(&format!("{ID}/status?value=BROKEN")).await, 400);
    let none = "/eureka/apps/ORDER-SERVICE/none";
    assert_eq!((web.put(&format!("{none}/status?value=UP")).await, web.delete(&format!("{none}/status")).await), (404, 404));
}

#[actix_web::test]
async fn metadata_is_added_to() {
    let (_desk, web) = with_one().await;
    assert_eq!(web.put(&format!("{ID}/metadata?weight=3&management.port=9")).await, 200);
    let read = web.get(ID).await.json()["instance"]["metadata"].clone();
    assert_eq!(read, json!({"zone": "<b>z1</b>", "management.port": "9", "weight": "3"}));
    assert_eq!(web.list("/eureka/apps/delta").await[0].2, "MODIFIED");
    assert_eq!(web.put("/eureka/apps/A/none/metadata?a=b").await, 404);
}

#[actix_web::test]
async fn no_field_is_written_that_the_java_mapper_does_not_know() {
    let (_desk, web) = with_one().await;
    let mut strange = instance("ORDER-SERVICE", "h:order-service:1", 300);
    strange["somethingNew"] = json!({"a": 1});
    web.register(strange).await;
    let known = [
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
    let read = web.get(ID).await.json()["instance"].clone();
    let written: Vec<&String> = read.as_object().unwrap().keys().collect();
    assert_eq!(written.len(), known.len(), "{written:?}");
    assert!(written.iter().all(|key| known.contains(&key.as_str())), "{written:?}");
    assert_eq!(read["port"], json!({"$": 8080, "@enabled": "true"}));
    assert_eq!(read["leaseInfo"].as_object().unwrap().len(), 6);
    let compact =
        TestRequest::get().uri("/eureka/apps/").insert_header(("accept", "application/json")).insert_header(("x-eureka-accept", "compact"));
    let compact = web.send(compact).await.json()["applications"]["application"][0]["instance"][0].clone();
    assert!(compact["metadata"].is_null() && compact["leaseInfo"].is_null() && compact["status"] == "UP" && compact["port"]["$"] == 8080);
}

fn snapshot(name: &str, document: &str) {
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, document);
    });
}

#[actix_web::test]
async fn xml_matches_its_snapshots() {
    let (_desk, web) = with_several().await;
    for accept in [None, Some("application/xml"), Some("*/*")] {
        let request = accept.into_iter().fold(TestRequest::get().uri("/eureka/apps/"), |r, a| r.insert_header(("accept", a)));
        let answer = web.send(request).await;
        assert_eq!(answer.header("content-type"), "application/xml");
        snapshot("applications.xml", &answer.text());
    }
    snapshot("instance.xml", &web.send(TestRequest::get().uri("/eureka/instances/h:order-service:2")).await.text());
    let compact = TestRequest::get().uri("/eureka/apps").insert_header(("x-eureka-accept", "compact"));
    snapshot("applications-compact.xml", &web.send(compact).await.text());
}

#[actix_web::test]
async fn xml_says_the_same_as_json() {
    let (_desk, web) = with_one().await;
    let one = web.send(TestRequest::get().uri(ID)).await.text();
    let copy = one.replace("h:order-service:1", "copy:1");
    let post =
        TestRequest::post().uri("/eureka/apps/ORDER-SERVICE").insert_header(BASIC).insert_header(("content-type", "application/xml"));
    assert_eq!(web.send(post.set_payload(copy)).await.status, 204);
    let (a, mut b) = (web.get(ID).await.json(), web.get("/eureka/apps/ORDER-SERVICE/copy:1").await.json());
    b["instance"]["instanceId"] = "h:order-service:1".into();
    assert_eq!(a, b);
}

#[actix_web::test]
async fn gzip_both_ways() {
    let desk = Desk::new();
    let web = desk.web().await;
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
    assert_eq!(web.send(post(packed)).await.status, 204);
    let mut bomb = Vec::new();
    flate2::read::GzEncoder::new(std::io::repeat(b' ').take(32 << 20), flate2::Compression::fast()).read_to_end(&mut bomb).unwrap();
    assert_eq!(web.send(post(bomb)).await.status, 413);
    web.register(instance("A", "b", 1)).await;
    let get = TestRequest::get()
        .uri("/eureka/apps")
        .insert_header(("accept", "application/json"))
        .insert_header(("accept-encoding", "gzip, deflate"));
    let answer = web.send(get).await;
    assert_eq!(answer.header("content-encoding"), "gzip");
    let mut text = String::new();
    flate2::read::GzDecoder::new(answer.body.as_slice()).read_to_string(&mut text).unwrap();
    assert!(text.contains("\"UP_2_\""));
}

#[actix_web::test]
async fn dashboard_matches_its_snapshots() {
    let (_desk, web) = with_several().await;
    for path in ["/", "/eureka/web"] {
        let page = web.get(path).await;
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(
            page.header("content-security-policy"),
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
        );
        snapshot("dashboard.html", &page.text());
    }
    snapshot("dashboard-empty.html", &Desk::new().web().await.get("/").await.text());
}
