//! Who is registered, for how long, and what has changed lately. No HTTP; the time is given.
//!
//! Source of the rules: Netflix/eureka `AbstractInstanceRegistry`, `PeerAwareInstanceRegistryImpl`,
//! `InstanceResource`. Two of them are kept in spirit only. A lease ends when its duration has passed
//! since the last renewal (Eureka adds the duration twice, by its own account a mistake). And without an
//! override the instance's own word on its status counts, also over an earlier one of its own.

use super::rates::Renewals;
use crate::rpc::discovery::eureka::instance::{Action, Application, Applications, Instance, Status, hash};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How long registrations are kept and when they are not taken away.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// How long a change stays in deltas, in milliseconds.
    pub(super) delta_ms: i64,
    /// Nobody is evicted while too many renewals are missing.
    pub(super) self_preservation: bool,
    /// Part of the expected renewals at or below which too many are missing, and part of the registry
    /// that stays through one sweep.
    pub(super) threshold: f64,
}

/// What a renewal meets.
#[derive(Debug, PartialEq)]
pub(super) enum Renewed {
    /// The lease runs anew.
    Yes,
    /// It does, and we know the instance later than the registry that replicates it to us.
    Ours(Box<Instance>),
    /// Not known, or known too old: the client shall register again.
    No,
}

/// What is to be known of a registration on the dashboard.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// As registered, with its lease.
    pub(super) instance: Arc<Instance>,
    /// Last renewals.
    renewals: Renewals,
}

/// Whether the registry evicts, and why not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Preservation {
    /// Renewals that the last minute should have brought.
    pub(super) expected: i64,
    /// Renewals that it brought.
    pub(super) renewed: i64,
    /// Nobody is evicted for now.
    pub(super) on: bool,
}

/// The registry's state.
pub(super) struct Leases {
    rules: Rules,
    apps: BTreeMap<String, BTreeMap<String, Entry>>,
    changes: VecDeque<(i64, Arc<Instance>)>,
    version: i64,
}

impl Leases {
    /// An empty registry.
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, apps: BTreeMap::new(), changes: VecDeque::new(), version: 0 }
    }

    fn entry(&mut self, app: &str, id: &str) -> Option<&mut Entry> {
        self.apps.get_mut(app)?.get_mut(id)
    }

    /// A registered instance.
    pub(super) fn get(&self, app: &str, id: &str) -> Option<Arc<Instance>> {
        Some(self.apps.get(app)?.get(id)?.instance.clone())
    }

    fn changed(&mut self, instance: Arc<Instance>, now: i64) {
        self.version += 1;
        self.changes.push_back((now, instance));
        self.forget_changes(now);
    }

    fn forget_changes(&mut self, now: i64) {
        while self.changes.front().is_some_and(|(at, _)| now - at > self.rules.delta_ms) {
            self.changes.pop_front();
        }
    }

    /// Takes a registration; what is registered already and changed later stays.
    pub(super) fn register(&mut self, mut instance: Instance, now: i64) -> Arc<Instance> {
        let existing = self.apps.get(&instance.app).and_then(|app| app.get(&instance.instance_id)).cloned();
        let mut up_since = 0;
        let mut renewals = Renewals::new(now);
        if let Some(existing) = existing {
            let before = existing.instance;
            (up_since, renewals) = (before.lease_info.service_up_timestamp, existing.renewals);
            let overridden = before.overridden_status;
            if before.last_dirty_timestamp > instance.last_dirty_timestamp {
                instance = Instance::clone(&before);
            }
            if overridden != Status::Unknown {
                instance.overridden_status = overridden;
            }
        }
        // an instance that is on its way up or down knows better than an operator's override
        let own = matches!(instance.status, Status::Up | Status::OutOfService);
        if own && instance.overridden_status != Status::Unknown {
            instance.status = instance.overridden_status;
        }
        let lease = &mut instance.lease_info;
        (lease.registration_timestamp, lease.last_renewal_timestamp, lease.eviction_timestamp) = (now, now, 0);
        lease.service_up_timestamp = if up_since == 0 && instance.status == Status::Up { now } else { up_since };
        (instance.last_updated_timestamp, instance.action_type) = (now, Some(Action::Added));
        let kept = Arc::new(instance);
        let entry = Entry { instance: kept.clone(), renewals };
        self.apps.entry(kept.app.clone()).or_default().insert(kept.instance_id.clone(), entry);
        self.changed(kept.clone(), now);
        kept
    }

    /// Takes a heartbeat. `dirty` is what the client, or the replicating registry, last changed.
    pub(super) fn renew(&mut self, app: &str, id: &str, dirty: Option<i64>, replica: bool, over: Status, now: i64) -> Renewed {
        let Some(entry) = self.entry(app, id) else { return Renewed::No };
        // its override was taken away: only the instance knows what it is now
        if entry.instance.status == Status::Unknown {
            return Renewed::No;
        }
        entry.renewals.count(now);
        let instance = Arc::make_mut(&mut entry.instance);
        instance.lease_info.last_renewal_timestamp = now;
        match dirty {
            Some(dirty) if dirty > instance.last_dirty_timestamp => {
                if replica && over != Status::Unknown {
                    instance.overridden_status = over;
                }
                Renewed::No
            }
            Some(dirty) if replica && dirty < instance.last_dirty_timestamp => Renewed::Ours(Box::new(instance.clone())),
            _ => Renewed::Yes,
        }
    }

    /// Ends a registration. False where there is none.
    pub(super) fn cancel(&mut self, app: &str, id: &str, now: i64) -> bool {
        self.remove(app, id, 0, now)
    }

    fn remove(&mut self, app: &str, id: &str, evicted: i64, now: i64) -> bool {
        let Some(instances) = self.apps.get_mut(app) else { return false };
        let Some(mut entry) = instances.remove(id) else { return false };
        if instances.is_empty() {
            self.apps.remove(app);
        }
        let instance = Arc::make_mut(&mut entry.instance);
        (instance.action_type, instance.last_updated_timestamp) = (Some(Action::Deleted), now);
        instance.lease_info.eviction_timestamp = evicted;
        self.changed(entry.instance, now);
        true
    }

    /// Sets a status over the instance's own: `Some` to override, `None` to take the override away and
    /// leave `status` until the instance says its own. `None` where there is no such instance.
    pub(super) fn set_status(
        &mut self,
        app: &str,
        id: &str,
        over: bool,
        status: Status,
        dirty: Option<i64>,
        now: i64,
    ) -> Option<Arc<Instance>> {
        let entry = self.entry(app, id)?;
        let instance = Arc::make_mut(&mut entry.instance);
        instance.lease_info.last_renewal_timestamp = now;
        let same = if over { instance.status == status } else { instance.overridden_status == Status::Unknown };
        if same {
            return Some(entry.instance.clone());
        }
        instance.overridden_status = if over { status } else { Status::Unknown };
        instance.status = status;
        if status == Status::Up && instance.lease_info.service_up_timestamp == 0 {
            instance.lease_info.service_up_timestamp = now;
        }
        instance.last_dirty_timestamp = instance.last_dirty_timestamp.max(dirty.unwrap_or(0));
        (instance.action_type, instance.last_updated_timestamp) = (Some(Action::Modified), now);
        let kept = entry.instance.clone();
        self.changed(kept.clone(), now);
        Some(kept)
    }

    /// Adds to an instance's metadata. `None` where there is no such instance.
    pub(super) fn set_metadata(&mut self, app: &str, id: &str, pairs: Vec<(String, String)>, now: i64) -> Option<Arc<Instance>> {
        let entry = self.entry(app, id)?;
        let instance = Arc::make_mut(&mut entry.instance);
        instance.metadata.extend(pairs);
        (instance.action_type, instance.last_updated_timestamp) = (Some(Action::Modified), now);
        let kept = entry.instance.clone();
        self.changed(kept.clone(), now);
        Some(kept)
    }

    /// Everything, or what `wanted` wants of it, with the hash over that.
    pub(super) fn applications(&self, wanted: impl Fn(&Instance) -> bool) -> Applications {
        let mut application = Vec::new();
        for (name, instances) in &self.apps {
            let chosen = instances.values().filter(|entry| wanted(&entry.instance));
            let instance: Vec<_> = chosen.map(|entry| Instance::clone(&entry.instance)).collect();
            if !instance.is_empty() {
                application.push(Application { name: name.clone(), instance });
            }
        }
        let hash = hash(application.iter().flat_map(|app| &app.instance));
        Applications { version: 1, hash, application }
    }

    /// What has changed lately, the last of each instance, with the hash over the whole registry.
    pub(super) fn delta(&mut self, now: i64) -> Applications {
        self.forget_changes(now);
        let mut latest: BTreeMap<&str, BTreeMap<&str, &Arc<Instance>>> = BTreeMap::new();
        for (_, instance) in &self.changes {
            latest.entry(&instance.app).or_default().insert(&instance.instance_id, instance);
        }
        let application = latest.into_iter().map(|(name, instances)| Application {
            name: name.to_string(),
            instance: instances.into_values().map(|instance| Instance::clone(instance)).collect(),
        });
        Applications { version: self.version, hash: self.hash(), application: application.collect() }
    }

    /// The hash over the whole registry.
    pub(super) fn hash(&self) -> String {
        hash(self.entries().map(|entry| &*entry.instance))
    }

    /// All registrations.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.apps.values().flat_map(BTreeMap::values)
    }

    /// Whether so many renewals are missing that the network is to blame rather than the instances.
    ///
    /// Expected is what each instance itself promised, over the last minute or since it registered.
    /// Who renews more often than promised does not make up for others.
    pub(super) fn preservation(&self, now: i64) -> Preservation {
        let (mut expected, mut renewed) = (0, 0);
        for entry in self.entries() {
            let due = entry.renewals.expected(entry.instance.lease_info.renewal_interval_in_secs, now);
            expected += due;
            renewed += entry.renewals.lately(now).min(due);
        }
        // the rule: only more than the threshold is enough
        let on = self.rules.self_preservation && renewed as f64 <= expected as f64 * self.rules.threshold;
        Preservation { expected, renewed, on }
    }

    /// Evicts whose lease has ended, but few at once, and none while renewals are missing at large.
    /// Those that are overdue longest go first. Answers who went.
    pub(super) fn evict(&mut self, now: i64) -> Vec<(String, String)> {
        if self.preservation(now).on {
            return Vec::new();
        }
        let ended = |entry: &&Entry| {
            let lease = &entry.instance.lease_info;
            now - lease.last_renewal_timestamp > lease.duration_in_secs.saturating_mul(1000)
        };
        let mut overdue: Vec<_> = self.entries().filter(ended).map(|entry| entry.instance.clone()).collect();
        overdue.sort_by_key(|instance| instance.lease_info.last_renewal_timestamp);
        let size = self.entries().count();
        overdue.truncate(size.saturating_sub((size as f64 * self.rules.threshold).floor() as usize));
        overdue.retain(|gone| self.remove(&gone.app, &gone.instance_id, now, now));
        overdue.iter().map(|gone| (gone.app.clone(), gone.instance_id.clone())).collect()
    }
}
