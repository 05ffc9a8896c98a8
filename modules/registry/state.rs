//! The registry's state: leases, peers, credentials, clock. Each change goes to the leases and to the peers.

use super::auth;
use super::leases::{LeaseRules, Leases, Renewal};
use super::peer::{Peer, ReplicationTask, TaskKind};
use crate::edge::auth::basic::CredentialsError;
use crate::kernel::error::{ComponentError, OutOfRange};
use crate::net::server_list::{AddressError, Servers};
use crate::rpc::discovery::eureka::instance::{Instance, Status};
use crate::settings::Registry as Settings;
use parking_lot::{Mutex, MutexGuard};
use std::path::Path;
use std::sync::Arc;

/// Milliseconds since 1970.
pub(super) type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub(super) enum SettingsError {
    #[error(transparent)]
    Range(#[from] OutOfRange),
    #[error("registry.peers: {0}")]
    Peers(#[from] AddressError),
    #[error(transparent)]
    Password(#[from] CredentialsError),
}

impl ComponentError for SettingsError {}

/// State shared by all endpoints and workers.
pub(super) struct Registry {
    leases: Mutex<Leases>,
    pub(super) clock: Clock,
    pub(super) auth: auth::RegistryAuth,
    pub(super) peers: Vec<Arc<Peer>>,
    /// Milliseconds since 1970.
    pub(super) started: i64,
    pub(super) body_limit: usize,
}

impl Registry {
    pub(super) fn new(settings: &Settings, data: &Path, body_limit: usize, clock: Clock) -> Result<Self, SettingsError> {
        if !(0.0..=1.0).contains(&settings.renewal_threshold) {
            return Err(OutOfRange::new("registry.renewal_threshold", settings.renewal_threshold, "0 to 1").into());
        }
        if settings.eviction_interval_seconds == 0 {
            return Err(OutOfRange::new("registry.eviction_interval_seconds", 0, "1 or more").into());
        }
        let rules = LeaseRules {
            delta_ms: i64::try_from(settings.delta_seconds).unwrap_or(i64::MAX).saturating_mul(1000),
            self_preservation: settings.self_preservation,
            threshold: settings.renewal_threshold,
        };
        let (auth, password) = auth::RegistryAuth::new(settings, data)?;
        let mut peers = Vec::new();
        for url in settings.peers.iter().flat_map(|urls| urls.expose().split(',')).filter(|url| !url.trim().is_empty()) {
            let servers = Servers::parse(url).map_err(SettingsError::Peers)?;
            peers.push(Arc::new(Peer::new(servers.with_default_credentials(&settings.user, &password))));
        }
        Ok(Self { leases: Mutex::new(Leases::new(rules)), started: clock(), clock, auth, peers, body_limit })
    }

    pub(super) fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock()
    }

    pub(super) fn evict_expired(&self) {
        let evicted = self.leases().evict((self.clock)());
        for (app, id) in evicted {
            tracing::warn!(app, id, "lease expired; evicted");
        }
    }

    /// A change that a peer replicated is not forwarded: the registry that received it sends it to every peer.
    fn replicate(&self, replica: bool, task: impl FnOnce() -> ReplicationTask) {
        if replica || self.peers.is_empty() {
            return;
        }
        let task = task();
        self.peers.iter().for_each(|peer| peer.enqueue(task.clone()));
    }

    pub(super) fn register(&self, instance: Instance, replica: bool) {
        let known = self.leases().get(&instance.app, &instance.instance_id).is_some();
        let registered = self.leases().register(instance, (self.clock)());
        if !known {
            tracing::info!(app = registered.app, id = registered.instance_id, status = registered.status.name(), replica, "registered");
        }
        self.replicate(replica, || ReplicationTask::of(TaskKind::Register, &registered));
    }

    pub(super) fn renew(&self, app: &str, id: &str, dirty: Option<i64>, over: Status, replica: bool) -> Renewal {
        let mut leases = self.leases();
        let renewed = leases.renew(app, id, dirty, replica, over, (self.clock)());
        let instance = leases.get(app, id);
        drop(leases);
        if let (Some(instance), Renewal::Renewed | Renewal::Newer(_)) = (instance, &renewed) {
            self.replicate(replica, || ReplicationTask::of(TaskKind::Heartbeat, &instance));
        }
        renewed
    }

    pub(super) fn cancel(&self, app: &str, id: &str, replica: bool) -> bool {
        let cancelled = self.leases().cancel(app, id, (self.clock)());
        if cancelled {
            tracing::info!(app, id, replica, "deregistered");
            self.replicate(replica, || ReplicationTask::cancel(app, id));
        }
        cancelled
    }

    pub(super) fn set_status(&self, app: &str, id: &str, is_override: bool, status: Status, dirty: Option<i64>, replica: bool) -> bool {
        let changed = self.leases().set_status(app, id, is_override, status, dirty, (self.clock)());
        let Some(instance) = changed else { return false };
        tracing::info!(app, id, status = instance.status.name(), is_override, replica, "status set");
        self.replicate(replica, || {
            ReplicationTask::of(if is_override { TaskKind::StatusUpdate } else { TaskKind::DeleteStatusOverride }, &instance)
        });
        true
    }

    pub(super) fn set_metadata(&self, app: &str, id: &str, pairs: Vec<(String, String)>, replica: bool) -> bool {
        let changed = self.leases().set_metadata(app, id, pairs, (self.clock)());
        let Some(instance) = changed else { return false };
        self.replicate(replica, || ReplicationTask::of(TaskKind::Register, &instance));
        true
    }
}
