//! Tests of lease expiry, eviction and self-preservation.

use super::*;

/// Registers `count` instances and renews them for a minute.
async fn register_and_renew(registry: &TestRegistry, client: &TestClient, count: usize) {
    for n in 0..count {
        client.register(instance("A", &format!("i{n}"), 1)).await;
    }
    renew_for_a_minute(registry, client, 0..count).await;
}

/// Advances the clock by a minute, in which these instances renew at their interval of 30 s.
async fn renew_for_a_minute(registry: &TestRegistry, client: &TestClient, ids: std::ops::Range<usize>) {
    for _ in 0..2 {
        registry.advance(30);
        for n in ids.clone() {
            assert_eq!(client.put(&format!("/eureka/apps/A/i{n}?status=UP")).await, 200);
        }
    }
}

#[actix_web::test]
async fn lease_without_renewals_is_evicted() {
    let registry = TestRegistry::new();
    let client = registry.client().await;
    register_and_renew(&registry, &client, 10).await;
    renew_for_a_minute(&registry, &client, 1..10).await;
    registry.state.evict_expired();
    assert_eq!(registry.count(), 10, "the lease has not expired yet");
    renew_for_a_minute(&registry, &client, 1..10).await;
    registry.state.evict_expired();
    assert_eq!(registry.count(), 9);
    assert_eq!(client.put("/eureka/apps/A/i0?status=UP").await, 404);
    let evicted = client.list("/eureka/apps/delta").await.into_iter().find(|(id, ..)| id == "i0").unwrap();
    assert_eq!(evicted.2, "DELETED");
    assert_eq!(client.hash("/eureka/apps/delta").await, "UP_9_");
}

#[actix_web::test]
async fn many_missing_renewals_suspend_eviction() {
    let registry = TestRegistry::new();
    let client = registry.client().await;
    register_and_renew(&registry, &client, 20).await;
    // 17 of 20 is exactly the threshold of 0.85: eviction is suspended
    renew_for_a_minute(&registry, &client, 0..17).await;
    renew_for_a_minute(&registry, &client, 0..17).await;
    registry.state.evict_expired();
    let self_preservation = registry.state.leases().self_preservation(registry.time.load(Ordering::SeqCst));
    assert_eq!((self_preservation.expected, self_preservation.renewed, self_preservation.active), (40, 34, true));
    assert_eq!(registry.count(), 20);
    assert!(client.get("/").await.text().contains("no instance is evicted"));
    renew_for_a_minute(&registry, &client, 0..18).await;
    registry.state.evict_expired();
    assert_eq!(registry.count(), 18, "18 of 20 renewals are above the threshold");
}

#[actix_web::test]
async fn one_eviction_run_keeps_the_threshold() {
    let registry = TestRegistry::with(|settings| settings.self_preservation = false);
    let client = registry.client().await;
    register_and_renew(&registry, &client, 20).await;
    registry.advance(91);
    registry.state.evict_expired();
    assert_eq!(registry.count(), 17, "20 - floor(0.85 * 20)");
    registry.state.evict_expired();
    assert_eq!(registry.count(), 14, "17 - floor(0.85 * 17)");
    (0..20).for_each(|_| registry.state.evict_expired());
    assert_eq!(registry.count(), 0);
}

#[actix_web::test]
async fn lease_duration_follows_the_registration() {
    let registry = TestRegistry::with(|settings| settings.self_preservation = false);
    let client = registry.client().await;
    let mut quick = instance("A", "quick", 1);
    quick["leaseInfo"] = json!({"renewalIntervalInSecs": 1, "durationInSecs": "3"});
    client.register(quick).await;
    let mut silent = instance("A", "silent", 1);
    silent.as_object_mut().unwrap().remove("leaseInfo");
    client.register(silent).await;
    registry.advance(3);
    registry.state.evict_expired();
    assert_eq!(registry.count(), 2);
    registry.advance(1);
    registry.state.evict_expired();
    assert_eq!(client.list("/eureka/apps").await[0].0, "silent");
    registry.advance(86);
    registry.state.evict_expired();
    assert_eq!(registry.count(), 1, "the default is 90 s");
    registry.advance(1);
    registry.state.evict_expired();
    assert_eq!(registry.count(), 0);
}

#[actix_web::test]
async fn delta_contains_last_change_for_three_minutes() {
    let registry = TestRegistry::new();
    let client = registry.client().await;
    client.register(instance("A", "a", 1)).await;
    registry.advance(100);
    client.register(instance("A", "b", 1)).await;
    client.put("/eureka/apps/A/b/status?value=DOWN").await;
    assert_eq!(
        client.list("/eureka/apps/delta").await,
        [("a".into(), "UP".into(), "ADDED".into()), ("b".into(), "DOWN".into(), "MODIFIED".into())]
    );
    registry.advance(81);
    assert_eq!(client.list("/eureka/apps/delta").await, [("b".into(), "DOWN".into(), "MODIFIED".into())]);
    assert_eq!(client.hash("/eureka/apps/delta").await, "DOWN_1_UP_1_", "over the whole registry");
    registry.advance(100);
    assert!(client.list("/eureka/apps/delta").await.is_empty());
    assert_eq!(client.list("/eureka/apps").await.len(), 2);
}

#[actix_web::test]
async fn older_registration_keeps_the_newer_one() {
    let registry = TestRegistry::new();
    let client = registry.client().await;
    client.register(instance("A", "a", 5)).await;
    let mut old = instance("A", "a", 4);
    old["hostName"] = "old.test".into();
    assert_eq!(client.register(old).await, 204);
    let registered = client.get("/eureka/apps/A/a").await.json()["instance"].clone();
    assert_eq!((registered["hostName"].as_str(), registered["lastDirtyTimestamp"].as_str()), (Some("host.test"), Some("5")));
    assert_eq!(registered["leaseInfo"]["serviceUpTimestamp"], 1_000_000);
}

#[test]
fn invalid_settings_stop_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let start_error = |change: fn(&mut Settings)| {
        let mut settings = Settings { password: Some(Secret::new("pw")), ..Settings::default() };
        change(&mut settings);
        Registry::new(&settings, dir.path(), 1, Arc::new(|| 0)).err().unwrap().to_string()
    };
    let messages = [
        start_error(|s| s.renewal_threshold = 1.5),
        start_error(|s| s.eviction_interval_seconds = 0),
        start_error(|s| s.password = Some(Secret::new(""))),
        start_error(|s| s.peers = Some(Secret::new("user:topsecret@nowhere"))),
    ];
    let messages = messages.join("\n");
    assert!(!messages.contains("topsecret"), "{messages}");
    insta::assert_snapshot!("start_errors", messages);
}
