//! Leases, their end, and when they do not end. Time passes only where the test says so.

use super::*;

/// This many instances, registered and then renewed for a minute.
async fn settled(desk: &Desk, web: &Web, count: usize) {
    for n in 0..count {
        web.register(instance("A", &format!("i{n}"), 1)).await;
    }
    minute(desk, web, 0..count).await;
}

/// A minute in which these renew, as they promised: every 30 s.
async fn minute(desk: &Desk, web: &Web, who: std::ops::Range<usize>) {
    for _ in 0..2 {
        desk.pass(30);
        for n in who.clone() {
            assert_eq!(web.put(&format!("/eureka/apps/A/i{n}?status=UP")).await, 200);
        }
    }
}

#[actix_web::test]
async fn an_instance_that_no_longer_renews_is_evicted() {
    let desk = Desk::new();
    let web = desk.web().await;
    settled(&desk, &web, 10).await;
    minute(&desk, &web, 1..10).await;
    desk.registry.sweep();
    assert_eq!(desk.known(), 10, "its lease runs yet");
    minute(&desk, &web, 1..10).await;
    desk.registry.sweep();
    assert_eq!(desk.known(), 9);
    assert_eq!(web.put("/eureka/apps/A/i0?status=UP").await, 404);
    let gone = web.list("/eureka/apps/delta").await.into_iter().find(|(id, ..)| id == "i0").unwrap();
    assert_eq!(gone.2, "DELETED");
    assert_eq!(web.hash("/eureka/apps/delta").await, "UP_9_");
}

#[actix_web::test]
async fn when_many_are_silent_the_network_is_to_blame() {
    let desk = Desk::new();
    let web = desk.web().await;
    settled(&desk, &web, 20).await;
    // 17 of 20 is 0.85 of what is expected: not more, so nobody goes
    minute(&desk, &web, 0..17).await;
    minute(&desk, &web, 0..17).await;
    desk.registry.sweep();
    let state = desk.registry.leases().preservation(desk.time.load(Ordering::SeqCst));
    assert_eq!((state.expected, state.renewed, state.on), (40, 34, true));
    assert_eq!(desk.known(), 20);
    assert!(web.get("/").await.text().contains("nobody is evicted"));
    minute(&desk, &web, 0..18).await;
    desk.registry.sweep();
    assert_eq!(desk.known(), 18, "one more makes the difference");
}

#[actix_web::test]
async fn one_sweep_takes_few() {
    let desk = Desk::with(|settings| settings.self_preservation = false);
    let web = desk.web().await;
    settled(&desk, &web, 20).await;
    desk.pass(91);
    desk.registry.sweep();
    assert_eq!(desk.known(), 17, "20 - floor(0.85 * 20)");
    desk.registry.sweep();
    assert_eq!(desk.known(), 14, "17 - floor(0.85 * 17)");
    (0..20).for_each(|_| desk.registry.sweep());
    assert_eq!(desk.known(), 0);
}

#[actix_web::test]
async fn the_lease_is_the_instances_own() {
    let desk = Desk::with(|settings| settings.self_preservation = false);
    let web = desk.web().await;
    let mut quick = instance("A", "quick", 1);
    quick["leaseInfo"] = json!({"renewalIntervalInSecs": 1, "durationInSecs": "3"});
    web.register(quick).await;
    let mut silent = instance("A", "silent", 1);
    silent.as_object_mut().unwrap().remove("leaseInfo");
    web.register(silent).await;
    desk.pass(3);
    desk.registry.sweep();
    assert_eq!(desk.known(), 2);
    desk.pass(1);
    desk.registry.sweep();
    assert_eq!(web.list("/eureka/apps").await[0].0, "silent");
    desk.pass(86);
    desk.registry.sweep();
    assert_eq!(desk.known(), 1, "who says nothing means 90 s");
    desk.pass(1);
    desk.registry.sweep();
    assert_eq!(desk.known(), 0);
}

#[actix_web::test]
async fn a_delta_shows_the_last_of_each_for_three_minutes() {
    let desk = Desk::new();
    let web = desk.web().await;
    web.register(instance("A", "a", 1)).await;
    desk.pass(100);
    web.register(instance("A", "b", 1)).await;
    web.put("/eureka/apps/A/b/status?value=DOWN").await;
    assert_eq!(
        web.list("/eureka/apps/delta").await,
        [("a".into(), "UP".into(), "ADDED".into()), ("b".into(), "DOWN".into(), "MODIFIED".into())]
    );
    desk.pass(81);
    assert_eq!(web.list("/eureka/apps/delta").await, [("b".into(), "DOWN".into(), "MODIFIED".into())]);
    assert_eq!(web.hash("/eureka/apps/delta").await, "DOWN_1_UP_1_", "over the whole registry");
    desk.pass(100);
    assert!(web.list("/eureka/apps/delta").await.is_empty());
    assert_eq!(web.list("/eureka/apps").await.len(), 2);
}

#[actix_web::test]
async fn an_older_registration_does_not_undo_a_newer_one() {
    let desk = Desk::new();
    let web = desk.web().await;
    web.register(instance("A", "a", 5)).await;
    let mut old = instance("A", "a", 4);
    old["hostName"] = "old.test".into();
    assert_eq!(web.register(old).await, 204);
    let kept = web.get("/eureka/apps/A/a").await.json()["instance"].clone();
    assert_eq!((kept["hostName"].as_str(), kept["lastDirtyTimestamp"].as_str()), (Some("host.test"), Some("5")));
    assert_eq!(kept["leaseInfo"]["serviceUpTimestamp"], 1_000_000);
}

#[test]
fn settings_that_cannot_be_meant_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |change: fn(&mut Settings)| {
        let mut settings = Settings { password: Some(Secret::new("pw")), ..Settings::default() };
        change(&mut settings);
        Registry::new(&settings, dir.path(), 1, Arc::new(|| 0)).err().unwrap().to_string()
    };
    let said = [
        refused(|s| s.renewal_threshold = 1.5),
        refused(|s| s.sweep_seconds = 0),
        refused(|s| s.password = Some(Secret::new(""))),
        refused(|s| s.peers = Some(Secret::new("user:topsecret@nowhere"))),
    ];
    let said = said.join("\n");
    assert!(!said.contains("topsecret"), "{said}");
    insta::assert_snapshot!("start_errors", said);
}
