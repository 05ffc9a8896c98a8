//! Two registries that tell each other, over real HTTP.

use super::super::replication;
use super::*;
use actix_web::rt::spawn;
use tokio_util::sync::CancellationToken;

/// Waits for what will come to be; how long that takes is not the test's business.
pub(super) async fn until(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

fn replicate(desk: &Desk, stop: &CancellationToken) {
    for peer in desk.registry.peers.clone() {
        let (registry, stop) = (desk.registry.clone(), stop.clone());
        spawn(async move { replication::run(&registry, &peer, &stop).await });
    }
}

fn status(desk: &Desk, id: &str) -> Option<&'static str> {
    desk.registry.leases().get("A", id).map(|instance| instance.status.name())
}

#[actix_web::test]
async fn what_one_hears_the_other_hears() {
    let two = Desk::new();
    let (port, _server) = two.listen(0);
    let one = Desk::with(|settings| settings.peers = Some(Secret::new(url(port))));
    let stop = CancellationToken::new();
    replicate(&one, &stop);
    let web = one.web().await;
    web.register(instance("A", "a", 1)).await;
    web.register(instance("A", "b", 1)).await;
    until("both are registered", || two.known() == 2).await;
    web.put("/eureka/apps/A/a/status?value=OUT_OF_SERVICE").await;
    until("the override arrives", || status(&two, "a") == Some("OUT_OF_SERVICE")).await;
    web.delete("/eureka/apps/A/a/status?value=UP").await;
    until("and is taken back", || status(&two, "a") == Some("UP")).await;
    web.put("/eureka/apps/A/a/metadata?k=v").await;
    until("metadata arrives", || two.registry.leases().get("A", "a").unwrap().metadata.contains_key("k")).await;
    web.delete("/eureka/apps/A/a").await;
    until("one is gone", || two.known() == 1).await;
    // what the other has forgotten it is told again, with the next heartbeat
    two.registry.leases().cancel("A", "b", 1);
    web.put("/eureka/apps/A/b?status=UP&lastDirtyTimestamp=1").await;
    until("it is registered again", || two.known() == 1).await;
    // and what it knows later we take from it
    two.registry.register(serde_json::from_value(instance("A", "b", 9)).unwrap(), true);
    web.put("/eureka/apps/A/b?status=UP&lastDirtyTimestamp=1").await;
    until("ours is the later one", || one.registry.leases().get("A", "b").unwrap().last_dirty_timestamp == 9).await;
    stop.cancel();
}

#[actix_web::test]
async fn two_that_tell_each_other_come_to_rest() {
    let (port_a, port_b) = (free_port(), free_port());
    let one = Desk::with(|settings| settings.peers = Some(Secret::new(url(port_b))));
    let two = Desk::with(|settings| settings.peers = Some(Secret::new(url(port_a))));
    let stop = CancellationToken::new();
    // the peer is away at first: what was heard meanwhile waits for it
    let (web, _one) = (one.web().await, one.listen(port_a));
    replicate(&one, &stop);
    web.register(instance("A", "a", 1)).await;
    let _two = two.listen(port_b);
    until("it heard what it had missed", || two.known() == 1).await;
    replicate(&two, &stop);
    two.web().await.delete("/eureka/apps/A/a").await;
    until("the other way round, too", || one.known() == 0).await;
    stop.cancel();
}

#[actix_web::test]
async fn a_registry_that_starts_copies_what_another_has() {
    let old = Desk::new();
    old.web().await.register(instance("A", "a", 1)).await;
    let (port, _server) = old.listen(0);
    let new = Desk::with(|settings| settings.peers = Some(Secret::new(url(port))));
    replication::copy(&new.registry, &new.registry.peers[0]).await.unwrap();
    assert_eq!(status(&new, "a"), Some("UP"));
}

#[actix_web::test]
async fn each_task_of_a_batch_is_answered_for_itself() {
    let desk = Desk::new();
    let web = desk.web().await;
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
    let answer = web.post("/eureka/peerreplication/batch/", list).await;
    let codes: Vec<u64> =
        answer.json()["responseList"].as_array().unwrap().iter().map(|done| done["statusCode"].as_u64().unwrap()).collect();
    assert_eq!(codes, [404, 200, 200, 200, 404, 200, 200, 404, 400, 400, 200, 404]);
    assert_eq!(answer.json()["responseList"][3]["responseEntity"]["lastDirtyTimestamp"], "5");
    assert!(answer.json()["responseList"][2].get("responseEntity").is_none());
}
