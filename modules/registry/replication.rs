//! Replication between registries: each one sends the changes it receives from clients to its peers.
//!
//! Source: Netflix/eureka `PeerEurekaNode`, `PeerReplicationResource`, `ReplicationInstance`. A peer gets one batch at
//! a time, in order. While it is down, its queue keeps only the last task of each kind per instance. Heartbeats repair
//! what is missing: the peer answers 404 for an instance it does not know, and gets the registration.

use super::leases::Renewal;
use super::peer::{Peer, ReplicationTask, TaskKind};
use super::state::Registry;
use super::validate::validate;
use crate::net::server_list::RegistryError;
use crate::rpc::discovery::eureka::instance::{Applications, Instance};
use actix_web::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const RETRY_DELAY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub(super) enum PeerError {
    /// The peer cannot be reached, or its response cannot be parsed.
    #[error(transparent)]
    Call(#[from] RegistryError),
    #[error("peer rejected a batch with status {status}")]
    Rejected { status: u16 },
}

/// A batch, in the form of `ReplicationList`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReplicationList {
    replication_list: Vec<Value>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TaskResponse {
    status_code: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    response_entity: Option<Box<Instance>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BatchResponse {
    response_list: Vec<TaskResponse>,
}

/// Applies a peer's batch. Each task has its own response.
pub(super) fn apply_batch(registry: &Registry, list: ReplicationList) -> BatchResponse {
    let respond = |task| match serde_json::from_value(task) {
        Ok(task) => apply_task(registry, task),
        Err(_) => TaskResponse { status_code: 400, response_entity: None },
    };
    BatchResponse { response_list: list.replication_list.into_iter().map(respond).collect() }
}

fn apply_task(registry: &Registry, task: ReplicationTask) -> TaskResponse {
    let with_status = |status_code| TaskResponse { status_code, response_entity: None };
    let found_or_404 = |found| with_status(if found { 200 } else { 404 });
    let (app, id, dirty) = (task.app_name.to_uppercase(), task.id.as_str(), task.last_dirty_timestamp);
    match task.action {
        TaskKind::Register => {
            let Some(mut instance) = task.instance_info else { return with_status(400) };
            if validate(&app, &mut instance).is_err() {
                return with_status(400);
            }
            registry.register(*instance, true);
            with_status(200)
        }
        TaskKind::Heartbeat => match registry.renew(&app, id, dirty, task.overridden_status.unwrap_or_default(), true) {
            Renewal::Renewed => with_status(200),
            Renewal::Newer(instance) => TaskResponse { status_code: 200, response_entity: Some(instance) },
            Renewal::Unknown => with_status(404),
        },
        TaskKind::Cancel => found_or_404(registry.cancel(&app, id, true)),
        TaskKind::StatusUpdate => found_or_404(registry.set_status(&app, id, true, task.status.unwrap_or_default(), dirty, true)),
        TaskKind::DeleteStatusOverride => found_or_404(registry.set_status(&app, id, false, task.status.unwrap_or_default(), dirty, true)),
    }
}

/// Replicates to one peer until stopped. Fetches its instances first, because after a start this registry is empty.
pub(super) async fn run(registry: &Registry, peer: &Peer, stop: &CancellationToken) {
    if let Err(cause) = fetch_instances(registry, peer).await {
        tracing::info!(%cause, peer = peer.address(), "instances not fetched from peer registry");
    }
    let mut unreachable = false;
    while !stop.is_cancelled() {
        let tasks = peer.next_batch();
        if tasks.is_empty() {
            stop.run_until_cancelled(peer.enqueued.notified()).await;
            continue;
        }
        match send_batch(registry, peer, &tasks).await {
            Ok(()) => unreachable = false,
            Err(cause) => {
                if !unreachable {
                    tracing::warn!(%cause, peer = peer.address(), "peer registry is unreachable");
                }
                unreachable = true;
                peer.requeue(tasks);
                stop.run_until_cancelled(tokio::time::sleep(RETRY_DELAY)).await;
            }
        }
    }
}

/// Registers the instances that the peer knows.
pub(super) async fn fetch_instances(registry: &Registry, peer: &Peer) -> Result<(), PeerError> {
    #[derive(Deserialize)]
    struct Fetched {
        applications: Applications,
    }
    let response = peer.servers.call(Method::GET, "/apps/", None).await?;
    for application in response.json::<Fetched>()?.applications.application {
        for mut instance in application.instance {
            if validate(&application.name.to_uppercase(), &mut instance).is_ok() {
                registry.register(instance, true);
            }
        }
    }
    Ok(())
}

async fn send_batch(registry: &Registry, peer: &Peer, tasks: &[ReplicationTask]) -> Result<(), PeerError> {
    let batch = json!({ "replicationList": tasks });
    let response = peer.servers.call(Method::POST, "/peerreplication/batch", Some(&batch)).await?;
    if response.status != 200 {
        return Err(PeerError::Rejected { status: response.status });
    }
    let all: BatchResponse = response.json()?;
    for (task, done) in tasks.iter().zip(all.response_list) {
        if task.action != TaskKind::Heartbeat {
            continue;
        }
        if let Some(newer) = done.response_entity {
            registry.register(*newer, true);
        } else if done.status_code == 404 {
            let instance: Option<Arc<Instance>> = registry.leases().get(&task.app_name, &task.id);
            instance.into_iter().for_each(|instance| peer.enqueue(ReplicationTask::of(TaskKind::Register, &instance)));
        }
    }
    Ok(())
}
