//! A peer registry, and the queue of changes to replicate to it.
//!
//! Source: Netflix/eureka `PeerEurekaNode`, `ReplicationInstance`.

use crate::net::server_list::Servers;
use crate::rpc::discovery::eureka::instance::{Instance, Status};
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use tokio::sync::Notify;

/// Same as in Eureka.
const BATCH_SIZE: usize = 250;
/// Above this count the oldest task is dropped; the heartbeats make up for it.
pub(super) const MAX_QUEUED: usize = 10_000;

/// Names are those of Eureka's `Action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum TaskKind {
    Heartbeat,
    Register,
    Cancel,
    StatusUpdate,
    DeleteStatusOverride,
}

/// A change of one instance, in the form of `ReplicationInstance`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReplicationTask {
    pub(super) app_name: String,
    pub(super) id: String,
    #[serde(default)]
    pub(super) last_dirty_timestamp: Option<i64>,
    #[serde(default)]
    pub(super) overridden_status: Option<Status>,
    #[serde(default)]
    pub(super) status: Option<Status>,
    #[serde(default)]
    pub(super) instance_info: Option<Box<Instance>>,
    pub(super) action: TaskKind,
}

impl ReplicationTask {
    pub(super) fn of(action: TaskKind, instance: &Instance) -> Self {
        Self {
            app_name: instance.app.clone(),
            id: instance.instance_id.clone(),
            last_dirty_timestamp: Some(instance.last_dirty_timestamp),
            overridden_status: Some(instance.overridden_status).filter(|status| *status != Status::Unknown),
            status: Some(instance.status),
            instance_info: (action == TaskKind::Register).then(|| Box::new(instance.clone())),
            action,
        }
    }

    pub(super) fn cancel(app: &str, id: &str) -> Self {
        let (app_name, id) = (app.to_string(), id.to_string());
        Self {
            app_name,
            id,
            last_dirty_timestamp: None,
            overridden_status: None,
            status: None,
            instance_info: None,
            action: TaskKind::Cancel,
        }
    }

    fn same_instance(&self, other: &ReplicationTask) -> bool {
        self.app_name == other.app_name && self.id == other.id
    }
}

pub(super) struct Peer {
    pub(super) servers: Servers,
    queue: Mutex<VecDeque<ReplicationTask>>,
    pub(super) enqueued: Notify,
}

impl Peer {
    pub(super) fn new(servers: Servers) -> Self {
        Self { servers, queue: Mutex::default(), enqueued: Notify::new() }
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<ReplicationTask>> {
        self.queue.lock()
    }

    /// URL without credentials.
    pub(super) fn address(&self) -> String {
        self.servers.addresses().collect()
    }

    /// Number of tasks not sent yet.
    pub(super) fn backlog(&self) -> usize {
        self.queue().len()
    }

    /// Appends a task, and drops the queued tasks that it supersedes.
    pub(super) fn enqueue(&self, task: ReplicationTask) {
        let mut queue = self.queue();
        let supersedes_all = matches!(task.action, TaskKind::Register | TaskKind::Cancel);
        queue.retain(|other| !task.same_instance(other) || !(supersedes_all || other.action == task.action));
        queue.push_back(task);
        while queue.len() > MAX_QUEUED {
            queue.pop_front();
        }
        drop(queue);
        self.enqueued.notify_one();
    }

    pub(super) fn next_batch(&self) -> Vec<ReplicationTask> {
        let mut queue = self.queue();
        let count = queue.len().min(BATCH_SIZE);
        queue.drain(..count).collect()
    }

    /// Puts tasks back to the front, except those that newer tasks supersede.
    pub(super) fn requeue(&self, tasks: Vec<ReplicationTask>) {
        let mut newer: Vec<ReplicationTask> = self.queue().drain(..).collect();
        for task in tasks.into_iter().chain(newer.drain(..)) {
            self.enqueue(task);
        }
    }
}
