//! The registry's state: leases, peers, credentials, clock. Each change goes to the leases and to the peers.

use super::access;
use super::leases::{Leases, Renewed, Rules};
use super::peer::{Kind, Peer, Task};
use crate::edge::auth::basic::CredentialsError;
use crate::kernel::error::{OutOfRange, PartError};
use crate::net::server_list::{AddressError, Servers};
use crate::rpc::discovery::eureka::instance::{Instance, Status};
use crate::settings::Registry as Settings;
use parking_lot::{Mutex, MutexGuard};
use std::path::Path;
use std::sync::Arc;

/// Milliseconds since 1970.
pub(super) type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Settings with which the registry does not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum SettingsError {
    #[error(transparent)]
    Range(#[from] OutOfRange),
    #[error("registry.peers: {0}")]
    Peers(#[from] AddressError),
    #[error(transparent)]
    Password(#[from] CredentialsError),
}

impl PartError for SettingsError {}

/// The registry with all that its endpoints share.
pub(super) struct Registry {
    leases: Mutex<Leases>,
    pub(super) clock: Clock,
    pub(super) access: access::Access,
    pub(super) peers: Vec<Arc<Peer>>,
    pub(super) started: i64,
    pub(super) body_limit: usize,
}

impl Registry {
    pub(super) fn new(settings: &Settings, data: &Path, body_limit: usize, clock: Clock) -> Result<Self, SettingsError> {
        if !(0.0..=1.0).contains(&settings.renewal_threshold) {
            return Err(OutOfRange::new("registry.renewal_threshold", settings.renewal_threshold, "0 to 1").into());
        }
        if settings.sweep_seconds == 0 {
            return Err(OutOfRange::new("registry.sweep_seconds", 0, "1 or more").into());
        }
        let rules = Rules {
            delta_ms: i64::try_from(settings.delta_seconds).unwrap_or(i64::MAX).saturating_mul(1000),
            self_preservation: settings.self_preservation,
            threshold: settings.renewal_threshold,
        };
        let (access, password) = access::Access::new(settings, data)?;
        let mut peers = Vec::new();
        for url in settings.peers.iter().flat_map(|urls| urls.expose().split(',')).filter(|url| !url.trim().is_empty()) {
            let servers = Servers::parse(url).map_err(SettingsError::Peers)?;
            peers.push(Arc::new(Peer::new(servers.or_as(&settings.user, &password))));
        }
        Ok(Self { leases: Mutex::new(Leases::new(rules)), started: clock(), clock, access, peers, body_limit })
    }

    pub(super) fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock()
    }

    pub(super) fn sweep(&self) {
        let evicted = self.leases().evict((self.clock)());
        for (app, id) in evicted {
            tracing::warn!(app, id, "lease ended; evicted");
        }
    }

    /// What came from a peer goes to no further one: each hears it from where it came in.
    fn tell_peers(&self, replica: bool, task: impl FnOnce() -> Task) {
        if replica || self.peers.is_empty() {
            return;
        }
        let task = task();
        self.peers.iter().for_each(|peer| peer.tell(task.clone()));
    }

    pub(super) fn register(&self, instance: Instance, replica: bool) {
        let known = self.leases().get(&instance.app, &instance.instance_id).is_some();
        let kept = self.leases().register(instance, (self.clock)());
        if !known {
            tracing::info!(app = kept.app, id = kept.instance_id, status = kept.status.name(), replica, "registered");
        }
        self.tell_peers(replica, || Task::of(Kind::Register, &kept));
    }

    pub(super) fn renew(&self, app: &str, id: &str, dirty: Option<i64>, over: Status, replica: bool) -> Renewed {
        let mut leases = self.leases();
        let renewed = leases.renew(app, id, dirty, replica, over, (self.clock)());
        let kept = leases.get(app, id);
        drop(leases);
        if let (Some(kept), Renewed::Yes | Renewed::Ours(_)) = (kept, &renewed) {
            self.tell_peers(replica, || Task::of(Kind::Heartbeat, &kept));
        }
        renewed
    }

    pub(super) fn cancel(&self, app: &str, id: &str, replica: bool) -> bool {
        let cancelled = self.leases().cancel(app, id, (self.clock)());
        if cancelled {
            tracing::info!(app, id, replica, "deregistered");
            self.tell_peers(replica, || Task::cancel(app, id));
        }
        cancelled
    }

    pub(super) fn set_status(&self, app: &str, id: &str, over: bool, status: Status, dirty: Option<i64>, replica: bool) -> bool {
        let kept = self.leases().set_status(app, id, over, status, dirty, (self.clock)());
        let Some(kept) = kept else { return false };
        tracing::info!(app, id, status = kept.status.name(), over, replica, "status set");
        self.tell_peers(replica, || Task::of(if over { Kind::StatusUpdate } else { Kind::DeleteStatusOverride }, &kept));
        true
    }

    pub(super) fn set_metadata(&self, app: &str, id: &str, pairs: Vec<(String, String)>, replica: bool) -> bool {
        let kept = self.leases().set_metadata(app, id, pairs, (self.clock)());
        let Some(kept) = kept else { return false };
        self.tell_peers(replica, || Task::of(Kind::Register, &kept));
        true
    }
}
