//! The leases: registered instances, their renewal and eviction, and recent changes. No I/O; callers pass the time.
//!
//! Source of the rules: Netflix/eureka `AbstractInstanceRegistry`, `PeerAwareInstanceRegistryImpl`, `InstanceResource`.
//! Two rules differ. A lease expires when its duration has passed since the last renewal; Eureka adds the duration
//! twice, a mistake according to its own comment. And without an override, the status that the instance reports
//! applies, even over one that it has reported earlier.

use super::renewal_rate::RenewalRate;
use crate::rpc::discovery::eureka::instance::{Action, Application, Applications, Instance, Status, hash};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Limits of deltas and eviction.
#[derive(Debug, Clone, Copy)]
pub(super) struct LeaseRules {
    /// Time for which deltas contain a change, in milliseconds.
    pub(super) delta_ms: i64,
    /// Whether too many missing renewals suspend eviction.
    pub(super) self_preservation: bool,
    /// Fraction of the expected renewals at or below which eviction is suspended; also the fraction of all
    /// instances that one eviction run must keep.
    pub(super) threshold: f64,
}

/// Result of a lease renewal.
#[derive(Debug, PartialEq)]
pub(super) enum Renewal {
    Renewed,
    /// Renewed, and this registry has a newer version of the instance than the peer that replicates the renewal.
    Newer(Box<Instance>),
    /// The instance is unknown, or its registration here is outdated: the client must register again.
    Unknown,
}

#[derive(Debug, Clone)]
pub(super) struct LeaseEntry {
    pub(super) instance: Arc<Instance>,
    renewals: RenewalRate,
}

/// Eureka's self-preservation: eviction stops while too many renewals are missing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SelfPreservation {
    /// Expected renewals of the last minute.
    pub(super) expected: i64,
    /// Actual renewals of the last minute.
    pub(super) renewed: i64,
    /// Eviction is suspended.
    pub(super) active: bool,
}

pub(super) struct Leases {
    rules: LeaseRules,
    apps: BTreeMap<String, BTreeMap<String, LeaseEntry>>,
    changes: VecDeque<(i64, Arc<Instance>)>,
    version: i64,
}

impl Leases {
    pub(super) fn new(rules: LeaseRules) -> Self {
        Self { rules, apps: BTreeMap::new(), changes: VecDeque::new(), version: 0 }
    }

    fn entry(&mut self, app: &str, id: &str) -> Option<&mut LeaseEntry> {
        self.apps.get_mut(app)?.get_mut(id)
    }

    pub(super) fn get(&self, app: &str, id: &str) -> Option<Arc<Instance>> {
        Some(self.apps.get(app)?.get(id)?.instance.clone())
    }

    fn record_change(&mut self, instance: Arc<Instance>, now: i64) {
        self.version += 1;
        self.changes.push_back((now, instance));
        self.drop_old_changes(now);
    }

    fn drop_old_changes(&mut self, now: i64) {
        while self.changes.front().is_some_and(|(at, _)| now - at > self.rules.delta_ms) {
            self.changes.pop_front();
        }
    }

    /// Registers an instance. If a newer version of it is registered already, keeps that one.
    pub(super) fn register(&mut self, mut instance: Instance, now: i64) -> Arc<Instance> {
        let existing = self.apps.get(&instance.app).and_then(|app| app.get(&instance.instance_id)).cloned();
        let mut up_since = 0;
        let mut renewals = RenewalRate::new(now);
        if let Some(existing) = existing {
            let previous = existing.instance;
            (up_since, renewals) = (previous.lease_info.service_up_timestamp, existing.renewals);
            let overridden = previous.overridden_status;
            if previous.last_dirty_timestamp > instance.last_dirty_timestamp {
                instance = Instance::clone(&previous);
            }
            if overridden != Status::Unknown {
                instance.overridden_status = overridden;
            }
        }
        // an operator's override does not apply to an instance that is starting or going down
        let can_override = matches!(instance.status, Status::Up | Status::OutOfService);
        if can_override && instance.overridden_status != Status::Unknown {
            instance.status = instance.overridden_status;
        }
        let lease = &mut instance.lease_info;
        (lease.registration_timestamp, lease.last_renewal_timestamp, lease.eviction_timestamp) = (now, now, 0);
        lease.service_up_timestamp = if up_since == 0 && instance.status == Status::Up { now } else { up_since };
        (instance.last_updated_timestamp, instance.action_type) = (now, Some(Action::Added));
        let registered = Arc::new(instance);
        let entry = LeaseEntry { instance: registered.clone(), renewals };
        self.apps.entry(registered.app.clone()).or_default().insert(registered.instance_id.clone(), entry);
        self.record_change(registered.clone(), now);
        registered
    }

    /// `dirty` is the last change that the client, or the replicating registry, knows.
    pub(super) fn renew(&mut self, app: &str, id: &str, dirty: Option<i64>, replica: bool, over: Status, now: i64) -> Renewal {
        let Some(entry) = self.entry(app, id) else { return Renewal::Unknown };
        // the override was removed; only the instance knows its current status
        if entry.instance.status == Status::Unknown {
            return Renewal::Unknown;
        }
        entry.renewals.record(now);
        let instance = Arc::make_mut(&mut entry.instance);
        instance.lease_info.last_renewal_timestamp = now;
        match dirty {
            Some(dirty) if dirty > instance.last_dirty_timestamp => {
                if replica && over != Status::Unknown {
                    instance.overridden_status = over;
                }
                Renewal::Unknown
            }
            Some(dirty) if replica && dirty < instance.last_dirty_timestamp => Renewal::Newer(Box::new(instance.clone())),
            _ => Renewal::Renewed,
        }
    }

    /// Removes a registration; `false` if the instance is not registered.
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
        self.record_change(entry.instance, now);
        true
    }

    /// Overrides the instance's status; or, without `is_override`, removes the override and sets `status` until the
    /// instance reports its own. `None` if the instance is not registered.
    pub(super) fn set_status(
        &mut self,
        app: &str,
        id: &str,
        is_override: bool,
        status: Status,
        dirty: Option<i64>,
        now: i64,
    ) -> Option<Arc<Instance>> {
        let entry = self.entry(app, id)?;
        let instance = Arc::make_mut(&mut entry.instance);
        instance.lease_info.last_renewal_timestamp = now;
        let unchanged = if is_override { instance.status == status } else { instance.overridden_status == Status::Unknown };
        if unchanged {
            return Some(entry.instance.clone());
        }
        instance.overridden_status = if is_override { status } else { Status::Unknown };
        instance.status = status;
        if status == Status::Up && instance.lease_info.service_up_timestamp == 0 {
            instance.lease_info.service_up_timestamp = now;
        }
        instance.last_dirty_timestamp = instance.last_dirty_timestamp.max(dirty.unwrap_or(0));
        (instance.action_type, instance.last_updated_timestamp) = (Some(Action::Modified), now);
        let changed = entry.instance.clone();
        self.record_change(changed.clone(), now);
        Some(changed)
    }

    /// Adds to an instance's metadata. `None` if the instance is not registered.
    pub(super) fn set_metadata(&mut self, app: &str, id: &str, pairs: Vec<(String, String)>, now: i64) -> Option<Arc<Instance>> {
        let entry = self.entry(app, id)?;
        let instance = Arc::make_mut(&mut entry.instance);
        instance.metadata.extend(pairs);
        (instance.action_type, instance.last_updated_timestamp) = (Some(Action::Modified), now);
        let changed = entry.instance.clone();
        self.record_change(changed.clone(), now);
        Some(changed)
    }

    /// The instances that `filter` accepts, with the hash over them.
    pub(super) fn applications(&self, filter: impl Fn(&Instance) -> bool) -> Applications {
        let mut application = Vec::new();
        for (name, instances) in &self.apps {
            let chosen = instances.values().filter(|entry| filter(&entry.instance));
            let instance: Vec<_> = chosen.map(|entry| Instance::clone(&entry.instance)).collect();
            if !instance.is_empty() {
                application.push(Application { name: name.clone(), instance });
            }
        }
        let hash = hash(application.iter().flat_map(|app| &app.instance));
        Applications { version: 1, hash, application }
    }

    /// The last recent change of each instance, with the hash over the whole registry.
    pub(super) fn delta(&mut self, now: i64) -> Applications {
        self.drop_old_changes(now);
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

    pub(super) fn hash(&self) -> String {
        hash(self.entries().map(|entry| &*entry.instance))
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &LeaseEntry> {
        self.apps.values().flat_map(BTreeMap::values)
    }

    /// Self-preservation is active if so many renewals are missing that a network failure is likely.
    ///
    /// Each instance is expected to renew at its own interval, over the last minute or since it registered. Extra
    /// renewals of one instance do not compensate for missing ones of another.
    pub(super) fn self_preservation(&self, now: i64) -> SelfPreservation {
        let (mut expected, mut renewed) = (0, 0);
        for entry in self.entries() {
            let due = entry.renewals.expected(entry.instance.lease_info.renewal_interval_in_secs, now);
            expected += due;
            renewed += entry.renewals.in_window(now).min(due);
        }
        // as in Eureka: at exactly the threshold, eviction is suspended
        let active = self.rules.self_preservation && renewed as f64 <= expected as f64 * self.rules.threshold;
        SelfPreservation { expected, renewed, active }
    }

    /// Evicts instances with an expired lease, the longest overdue first: limited per run, and none while
    /// self-preservation is active. Returns the application and id of each evicted instance.
    pub(super) fn evict(&mut self, now: i64) -> Vec<(String, String)> {
        if self.self_preservation(now).active {
            return Vec::new();
        }
        let is_expired = |entry: &&LeaseEntry| {
            let lease = &entry.instance.lease_info;
            now - lease.last_renewal_timestamp > lease.duration_in_secs.saturating_mul(1000)
        };
        let mut overdue: Vec<_> = self.entries().filter(is_expired).map(|entry| entry.instance.clone()).collect();
        overdue.sort_by_key(|instance| instance.lease_info.last_renewal_timestamp);
        let size = self.entries().count();
        overdue.truncate(size.saturating_sub((size as f64 * self.rules.threshold).floor() as usize));
        overdue.retain(|instance| self.remove(&instance.app, &instance.instance_id, now, now));
        overdue.iter().map(|instance| (instance.app.clone(), instance.instance_id.clone())).collect()
    }
}
