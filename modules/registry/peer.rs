//! Another registry, and the changes it has not received yet.
//!
//! Source: Netflix/eureka `PeerEurekaNode`, `ReplicationInstance`.

use crate::net::server_list::Servers;
use crate::rpc::discovery::eureka::instance::{Instance, Status};
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use tokio::sync::Notify;

/// As many as Eureka sends at once.
const BATCH: usize = 250;
/// More than that waits for no peer: the oldest goes, and heartbeats make up for it.
pub(super) const WAITING: usize = 10_000;

/// What happened, by the names of Eureka's `Action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub(super) enum Kind {
    Heartbeat,
    Register,
    Cancel,
    StatusUpdate,
    DeleteStatusOverride,
}

/// One thing that happened to one instance, in the form of `ReplicationInstance`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Task {
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
    pub(super) action: Kind,
}

impl Task {
    /// Of an instance that is registered.
    pub(super) fn of(action: Kind, instance: &Instance) -> Self {
        Self {
            app_name: instance.app.clone(),
            id: instance.instance_id.clone(),
            last_dirty_timestamp: Some(instance.last_dirty_timestamp),
            overridden_status: Some(instance.overridden_status).filter(|status| *status != Status::Unknown),
            status: Some(instance.status),
            instance_info: (action == Kind::Register).then(|| Box::new(instance.clone())),
            action,
        }
    }

    /// Of one that is no more.
    pub(super) fn cancel(app: &str, id: &str) -> Self {
        let (app_name, id) = (app.to_string(), id.to_string());
        Self { app_name, id, last_dirty_timestamp: None, overridden_status: None, status: None, instance_info: None, action: Kind::Cancel }
    }

    fn same_instance(&self, other: &Task) -> bool {
        self.app_name == other.app_name && self.id == other.id
    }
}

/// Another registry, and what it is still to hear.
pub(super) struct Peer {
    pub(super) servers: Servers,
    waiting: Mutex<VecDeque<Task>>,
    pub(super) more: Notify,
}

impl Peer {
    /// One that has heard nothing yet.
    pub(super) fn new(servers: Servers) -> Self {
        Self { servers, waiting: Mutex::default(), more: Notify::new() }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Task>> {
        self.waiting.lock()
    }

    /// Where it is, without credentials.
    pub(super) fn address(&self) -> String {
        self.servers.addresses().collect()
    }

    /// How much it has still to hear.
    pub(super) fn behind(&self) -> usize {
        self.waiting().len()
    }

    /// Puts a task at the end of the line, and takes those out that it makes pointless.
    pub(super) fn tell(&self, task: Task) {
        let mut waiting = self.waiting();
        let ends_all = matches!(task.action, Kind::Register | Kind::Cancel);
        waiting.retain(|other| !task.same_instance(other) || !(ends_all || other.action == task.action));
        waiting.push_back(task);
        while waiting.len() > WAITING {
            waiting.pop_front();
        }
        drop(waiting);
        self.more.notify_one();
    }

    pub(super) fn next(&self) -> Vec<Task> {
        let mut waiting = self.waiting();
        let count = waiting.len().min(BATCH);
        waiting.drain(..count).collect()
    }

    /// Back to the front, but for what has been overtaken meanwhile.
    pub(super) fn put_back(&self, tasks: Vec<Task>) {
        let mut newer: Vec<Task> = self.waiting().drain(..).collect();
        for task in tasks.into_iter().chain(newer.drain(..)) {
            self.tell(task);
        }
    }
}
