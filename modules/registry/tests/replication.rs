//! Tests of the replication between two registries, over HTTP.

use super::super::replication;
use super::*;
use actix_web::rt::spawn;
use tokio_util::sync::CancellationToken;

pub(super) async fn until(condition: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 30 s: {condition}");
}

fn replicate(registry: &TestRegistry, stop: &CancellationToken) {
    for peer in registry.state.peers.clone() {
        let (registry, stop) = (registry.state.clone(), stop.clone());
        spawn(async move { replication::run(&registry, &peer, &stop).await });
    }
}

fn status(registry: &TestRegistry, id: &str) -> Option<&'static str> {
    registry.state.leases().get("A", id).map(|instance| instance.status.name())
}

#[actix_web::test]
async fn change_in_one_registry_reaches_its_peer() {
    let two = TestRegistry::new();
    let (port, _server) = two.listen(0);
    let one = TestRegistry::with(|settings| settings.peers = Some(Secret::new(url(port))));
    let stop = CancellationToken::new();
    replicate(&one, &stop);
    let client = one.client().await;
    client.register(instance("A", "a", 1)).await;
    client.register(instance("A", "b", 1)).await;
    until("both are registered", || two.count() == 2).await;
    client.put("/eureka/apps/A/a/status?value=OUT_OF_SERVICE").await;
    until("the override is replicated", || status(&two, "a") == Some("OUT_OF_SERVICE")).await;
    client.delete("/eureka/apps/A/a/status?value=UP").await;
    until("the removal of the override is replicated", || status(&two, "a") == Some("UP")).await;
    client.put("/eureka/apps/A/a/metadata?k=v").await;
    until("metadata is replicated", || two.state.leases().get("A", "a").unwrap().metadata.contains_key("k")).await;
    client.delete("/eureka/apps/A/a").await;
    until("the cancellation is replicated", || two.count() == 1).await;
    // the peer does not know the instance: the next heartbeat registers it again
    two.state.leases().cancel("A", "b", 1);
    client.put("/eureka/apps/A/b?status=UP&lastDirtyTimestamp=1").await;
    until("it is registered again", || two.count() == 1).await;
    // the peer has a newer version: the response to the next heartbeat contains it
    two.state.register(serde_json::from_value(instance("A", "b", 9)).unwrap(), true);
    client.put("/eureka/apps/A/b?status=UP&lastDirtyTimestamp=1").await;
    until("the newer version is registered", || one.state.leases().get("A", "b").unwrap().last_dirty_timestamp == 9).await;
    stop.cancel();
}

#[actix_web::test]
async fn mutual_peers_do_not_forward_replicated_changes() {
    let (port_a, port_b) = (free_port(), free_port());
    let one = TestRegistry::with(|settings| settings.peers = Some(Secret::new(url(port_b))));
    let two = TestRegistry::with(|settings| settings.peers = Some(Secret::new(url(port_a))));
    let stop = CancellationToken::new();
    // the peer is down at first: changes are queued for it
    let (client, _one) = (one.client().await, one.listen(port_a));
    replicate(&one, &stop);
    client.register(instance("A", "a", 1)).await;
    let _two = two.listen(port_b);
    until("the queued registration is replicated", || two.count() == 1).await;
    replicate(&two, &stop);
    two.client().await.delete("/eureka/apps/A/a").await;
    until("the cancellation is replicated in the other direction", || one.count() == 0).await;
    stop.cancel();
}

#[actix_web::test]
async fn started_registry_fetches_the_instances_of_its_peer() {
    let old = TestRegistry::new();
    old.client().await.register(instance("A", "a", 1)).await;
    let (port, _server) = old.listen(0);
    let new = TestRegistry::with(|settings| settings.peers = Some(Secret::new(url(port))));
    replication::fetch_instances(&new.state, &new.state.peers[0]).await.unwrap();
    assert_eq!(status(&new, "a"), Some("UP"));
}

#[actix_web::test]
async fn batch_returns_one_status_per_task() {
    let registry = TestRegistry::new();
    let client = registry.client().await;
    let task = |action: &str, id: &str, more: Value| {
        let mut task =
            json!({"appName": "A", "id": id, "action": action, "lastDirtyTimestamp": 5, "status": "UP", "overriddenStatus": null});
        task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        task
    };
    let list = json!({"replicationList": [
        task("Heartbeat", "a", json!({})),
        task("Register", "a", json!({"instanceInfo": instance("A", "a", 5)})),
        task("Heartbeat", "a", json!({})),
        task("Heartbeat", "a", json!({"lastDirtyTimestamp": 4})),
        task("Heartbeat", "a", json!({"lastDirtyTimestamp": 6, "overriddenStatus": "DOWN"})),
        task("StatusUpdate", "a", json!({"status": "DOWN"})),
        task("DeleteStatusOverride", "a", json!({})),
        task("StatusUpdate", "none", json!({})),
        task("Register", "b", json!({})),
        task("Dance", "a", json!({})),
        task("Cancel", "a", json!({})),
        task("Cancel", "a", json!({})),
    ]});
    let response = client.post("/eureka/peerreplication/batch/", list).await;
    let codes: Vec<u64> =
        response.json()["responseList"].as_array().unwrap().iter().map(|done| done["statusCode"].as_u64().unwrap()).collect();
    assert_eq!(codes, [404, 200, 200, 200, 404, 200, 200, 404, 400, 400, 200, 404]);
    assert_eq!(response.json()["responseList"][3]["responseEntity"]["lastDirtyTimestamp"], "5");
    assert!(response.json()["responseList"][2].get("responseEntity").is_none());
}
