//! What one registry hears, the others hear from it.
//!
//! Source: Netflix/eureka `PeerEurekaNode`, `PeerReplicationResource`, `ReplicationInstance`. One batch at
//! a time for each peer, in order; while a peer is away only the last of each kind waits for it. What it
//! missed comes with the heartbeats: it answers 404 to those it does not know, and is told all.

use super::leases::Renewed;
use super::peer::{Kind, Peer, Task};
use super::state::Registry;
use super::validate::check;
use crate::net::server_list::RegistryError;
use crate::rpc::discovery::eureka::instance::{Applications, Instance};
use actix_web::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Pause before a peer that was away is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Why a task was not replicated to a peer, or its instances were not copied.
#[derive(Debug, thiserror::Error)]
pub(super) enum PeerError {
    /// The peer cannot be reached, or its response cannot be parsed.
    #[error(transparent)]
    Call(#[from] RegistryError),
    /// It rejects a batch.
    #[error("a batch was answered {status}")]
    Refused { status: u16 },
}

/// A batch, in the form of `ReplicationList`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct List {
    replication_list: Vec<Value>,
}

/// The answer to one task.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    status_code: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    response_entity: Option<Box<Instance>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AllDone {
    response_list: Vec<Done>,
}

/// Takes a peer's batch. Each task is answered for itself.
pub(super) fn take(registry: &Registry, list: List) -> AllDone {
    let done = |task| match serde_json::from_value(task) {
        Ok(task) => take_one(registry, task),
        Err(_) => Done { status_code: 400, response_entity: None },
    };
    AllDone { response_list: list.replication_list.into_iter().map(done).collect() }
}

fn take_one(registry: &Registry, task: Task) -> Done {
    let plain = |status_code| Done { status_code, response_entity: None };
    let known = |there| plain(if there { 200 } else { 404 });
    let (app, id, dirty) = (task.app_name.to_uppercase(), task.id.as_str(), task.last_dirty_timestamp);
    match task.action {
        Kind::Register => {
            let Some(mut instance) = task.instance_info else { return plain(400) };
            if check(&app, &mut instance).is_err() {
                return plain(400);
            }
            registry.register(*instance, true);
            plain(200)
        }
        Kind::Heartbeat => match registry.renew(&app, id, dirty, task.overridden_status.unwrap_or_default(), true) {
            Renewed::Yes => plain(200),
            Renewed::Ours(ours) => Done { status_code: 200, response_entity: Some(ours) },
            Renewed::No => plain(404),
        },
        Kind::Cancel => known(registry.cancel(&app, id, true)),
        Kind::StatusUpdate => known(registry.set_status(&app, id, true, task.status.unwrap_or_default(), dirty, true)),
        Kind::DeleteStatusOverride => known(registry.set_status(&app, id, false, task.status.unwrap_or_default(), dirty, true)),
    }
}

/// Keeps one peer informed until it is told to stop. First it asks what the peer has: a registry that
/// has just started knows nobody.
pub(super) async fn run(registry: &Registry, peer: &Peer, stop: &CancellationToken) {
    if let Err(cause) = copy(registry, peer).await {
        tracing::info!(%cause, peer = peer.address(), "nothing to copy from the other registry");
    }
    let mut away = false;
    while !stop.is_cancelled() {
        let tasks = peer.next();
        if tasks.is_empty() {
            stop.run_until_cancelled(peer.more.notified()).await;
            continue;
        }
        match send(registry, peer, &tasks).await {
            Ok(()) => away = false,
            Err(cause) => {
                if !away {
                    tracing::warn!(%cause, peer = peer.address(), "the other registry is away");
                }
                away = true;
                peer.put_back(tasks);
                stop.run_until_cancelled(tokio::time::sleep(RETRY)).await;
            }
        }
    }
}

/// Takes over what the peer has.
pub(super) async fn copy(registry: &Registry, peer: &Peer) -> Result<(), PeerError> {
    #[derive(Deserialize)]
    struct Fetched {
        applications: Applications,
    }
    let answer = peer.servers.call(Method::GET, "/apps/", None).await?;
    for application in answer.json::<Fetched>()?.applications.application {
        for mut instance in application.instance {
            if check(&application.name.to_uppercase(), &mut instance).is_ok() {
                registry.register(instance, true);
            }
        }
    }
    Ok(())
}

async fn send(registry: &Registry, peer: &Peer, tasks: &[Task]) -> Result<(), PeerError> {
    let batch = json!({ "replicationList": tasks });
    let answer = peer.servers.call(Method::POST, "/peerreplication/batch", Some(&batch)).await?;
    if answer.status != 200 {
        return Err(PeerError::Refused { status: answer.status });
    }
    let all: AllDone = answer.json()?;
    for (task, done) in tasks.iter().zip(all.response_list) {
        if task.action != Kind::Heartbeat {
            continue;
        }
        if let Some(theirs) = done.response_entity {
            registry.register(*theirs, true);
        } else if done.status_code == 404 {
            let ours: Option<Arc<Instance>> = registry.leases().get(&task.app_name, &task.id);
            ours.into_iter().for_each(|ours| peer.tell(Task::of(Kind::Register, &ours)));
        }
    }
    Ok(())
}
