//! This process's copy of the registry. It stays in use while the registry is unreachable.

use super::instance::{Action, Application, Applications, Instance, Status, hash};
use crate::rpc::discovery::balance::{Balancer, Candidate};
use crate::rpc::discovery::{Discovery, PickedInstance};
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

type Instances = BTreeMap<(String, String), Instance>;

#[derive(Default)]
struct Snapshot {
    instances: Instances,
    /// Instances missing from the last full fetch, with the time at which they are dropped. A restarted registry is
    /// empty until all instances have registered again, while the instances can still be called.
    missing: BTreeMap<(String, String), (Instance, Instant)>,
    /// By application name and by each virtual address, in upper case.
    candidates: HashMap<String, Arc<[Candidate]>>,
}

/// The known instances and their load statistics.
pub struct RegistryView {
    snapshot: RwLock<Snapshot>,
    balancer: Balancer,
    names: BTreeMap<&'static str, &'static str>,
    grace: Duration,
}

impl RegistryView {
    /// Starts empty. `version` is this process's build version, `names` maps modules to applications. An instance
    /// that is missing from a full fetch without having deregistered is kept for `grace`.
    pub fn new(version: &str, names: BTreeMap<&'static str, &'static str>, grace: Duration) -> Self {
        Self { snapshot: RwLock::default(), balancer: Balancer::new(version), names, grace }
    }

    /// Applies a full fetch.
    pub fn replace(&self, fetched: Applications) {
        let mut instances = Instances::new();
        insert_all(&mut instances, fetched.application);
        let until = Instant::now() + self.grace;
        let current = self.snapshot.read();
        let mut missing = current.missing.clone();
        missing.extend(current.instances.iter().map(|(key, instance)| (key.clone(), (instance.clone(), until))));
        drop(current);
        self.set(instances, missing);
    }

    /// Applies a delta. Returns false if the result's hash differs from the registry's: then a full fetch is
    /// necessary, and the previous instances stay in use until then.
    /// Source: `DiscoveryClient.updateDelta` and `reconcileAndLogDifference`.
    pub fn apply(&self, delta: Applications) -> bool {
        let current = self.snapshot.read();
        let now = Instant::now();
        let none_expired = current.missing.values().all(|(_, until)| *until > now);
        let unchanged = none_expired
            && delta.application.iter().all(|app| app.instance.iter().all(|i| current.instances.get(&key(&app.name, i)) == Some(i)));
        if unchanged && hash(current.instances.values()) == delta.hash {
            return true;
        }
        let (mut instances, mut missing) = (current.instances.clone(), current.missing.clone());
        drop(current);
        for application in &delta.application {
            missing.retain(|key, _| !application.instance.iter().any(|instance| *key == self::key(&application.name, instance)));
        }
        insert_all(&mut instances, delta.application);
        if hash(instances.values()) != delta.hash {
            return false;
        }
        self.set(instances, missing);
        true
    }

    pub fn len(&self) -> usize {
        self.snapshot.read().instances.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn set(&self, instances: Instances, mut missing: BTreeMap<(String, String), (Instance, Instant)>) {
        let now = Instant::now();
        missing.retain(|key, (_, until)| *until > now && !instances.contains_key(key));
        let mut by_name: HashMap<String, Vec<Candidate>> = HashMap::new();
        let mut urls = HashSet::new();
        let missing_instances = missing.iter().map(|(key, (instance, _))| (key, instance));
        for ((app, _), instance) in instances.iter().chain(missing_instances) {
            let Some(candidate) = candidate(instance) else { continue };
            urls.insert(candidate.base_url.clone());
            let vips = instance.vip_address.iter().flat_map(|vips| vips.split(',')).map(|vip| vip.trim().to_ascii_uppercase());
            let names: HashSet<String> = vips.chain([app.clone()]).collect();
            for name in names {
                by_name.entry(name).or_default().push(candidate.clone());
            }
        }
        let candidates = by_name.into_iter().map(|(name, all)| (name, all.into())).collect();
        *self.snapshot.write() = Snapshot { instances, missing, candidates };
        self.balancer.retain(|url| urls.contains(url));
    }
}

impl Discovery for RegistryView {
    /// `module` is the name of a module or of any application in the registry.
    fn pick(&self, module: &str, avoid: Option<&str>) -> Option<PickedInstance> {
        let name = self.names.get(module).copied().unwrap_or(module).to_ascii_uppercase();
        let candidates = self.snapshot.read().candidates.get(&name).cloned()?;
        self.balancer.pick(&candidates, avoid)
    }
}

fn key(app: &str, instance: &Instance) -> (String, String) {
    (app.to_ascii_uppercase(), instance.instance_id.clone())
}

fn insert_all(instances: &mut Instances, applications: Vec<Application>) {
    for application in applications {
        for instance in application.instance {
            let key = key(&application.name, &instance);
            if instance.action_type == Some(Action::Deleted) {
                instances.remove(&key);
            } else {
                instances.insert(key, instance);
            }
        }
    }
}

/// The instance's base URL; `None` if it takes no traffic or its host is invalid. The host is checked because it
/// becomes part of a URL and must not add a path or credentials.
fn candidate(instance: &Instance) -> Option<Candidate> {
    if instance.status != Status::Up {
        return None;
    }
    let host = if instance.host_name.is_empty() { &instance.ip_addr } else { &instance.host_name };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if bare.is_empty() || !bare.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':')) {
        return None;
    }
    let host = if bare.contains(':') { format!("[{bare}]") } else { bare.to_string() };
    let url = |scheme: &str, port: Option<super::instance::Port>| {
        port.filter(|port| port.enabled && port.number > 0).map(|port| format!("{scheme}://{host}:{}", port.number))
    };
    // Prefers TLS if the instance offers it, as Spring's clients do.
    let (plain, secure) = (url("http", instance.port), url("https", instance.secure_port));
    let base_url = if cfg!(feature = "tls") { secure.or(plain) } else { plain.or(secure) }?;
    let version = instance.metadata.get("version").cloned();
    Some(Candidate { base_url, version, incarnation: instance.last_dirty_timestamp })
}

#[cfg(test)]
mod tests {
    use super::super::instance::Port;
    use super::*;
    use proptest::prelude::*;

    fn instance(id: &str, status: Status) -> Instance {
        Instance {
            instance_id: id.into(),
            host_name: format!("{id}.test"),
            app: "A".into(),
            status,
            port: Some(Port { number: 80, enabled: true }),
            vip_address: Some("a-service,other".into()),
            ..Instance::default()
        }
    }

    fn all(instances: &[Instance]) -> Applications {
        let application = vec![Application { name: "A".into(), instance: instances.to_vec() }];
        Applications { version: 1, hash: hash(instances.iter()), application }
    }

    #[test]
    fn instance_that_is_up_is_found_by_module_application_and_virtual_address() {
        let view = RegistryView::new("1", [("a", "A")].into(), Duration::ZERO);
        view.replace(all(&[instance("x", Status::Up), instance("y", Status::Down)]));
        for name in ["a", "A", "A-SERVICE", "other"] {
            assert_eq!(view.pick(name, None).unwrap().base_url, "http://x.test:80", "{name}");
        }
        assert!(view.pick("b", None).is_none());
    }

    #[test]
    fn instance_without_a_valid_host_and_port_is_no_candidate() {
        let rejected = |change: fn(&mut Instance)| {
            let mut one = instance("x", Status::Up);
            change(&mut one);
            candidate(&one).is_none()
        };
        assert!(rejected(|i| i.host_name = "evil.test/path?".into()) && rejected(|i| i.host_name = "user@evil.test".into()));
        assert!(rejected(|i| i.port = None) && rejected(|i| i.port = Some(Port { number: 80, enabled: false })));
        let mut secure = instance("x", Status::Up);
        (secure.port, secure.secure_port) = (None, Some(Port { number: 443, enabled: true }));
        secure.host_name = "::1".into();
        assert_eq!(candidate(&secure).unwrap().base_url, "https://[::1]:443");
    }

    /// As Spring's clients do; a build without TLS prefers plain HTTP.
    #[test]
    fn instance_with_a_secure_port_is_called_over_tls() {
        let mut both = instance("x", Status::Up);
        both.secure_port = Some(Port { number: 8443, enabled: true });
        let expected = if cfg!(feature = "tls") { "https://x.test:8443" } else { "http://x.test:80" };
        assert_eq!(candidate(&both).unwrap().base_url, expected);
        both.secure_port = Some(Port { number: 8443, enabled: false });
        assert_eq!(candidate(&both).unwrap().base_url, "http://x.test:80");
    }

    #[test]
    fn instance_missing_after_a_registry_restart_stays_a_candidate() {
        let view = RegistryView::new("1", BTreeMap::new(), Duration::from_secs(600));
        view.replace(all(&[instance("x", Status::Up)]));
        view.replace(all(&[]));
        assert_eq!(view.pick("a", None).unwrap().base_url, "http://x.test:80");
        let mut left = instance("x", Status::Up);
        left.action_type = Some(Action::Deleted);
        assert!(view.apply(Applications { hash: String::new(), ..all(&[left]) }));
        assert!(view.pick("a", None).is_none(), "a deregistered instance is dropped");
        view.replace(all(&[instance("x", Status::Up)]));
        view.replace(all(&[instance("x", Status::Down)]));
        assert!(view.pick("a", None).is_none(), "the registry's status applies");
    }

    #[test]
    fn delta_with_a_wrong_hash_changes_nothing() {
        let view = RegistryView::new("1", BTreeMap::new(), Duration::ZERO);
        view.replace(all(&[instance("x", Status::Up)]));
        let mut delta = all(&[instance("y", Status::Up)]);
        delta.hash = "UP_3_".into();
        assert!(!view.apply(delta));
        assert_eq!(view.len(), 1);
    }

    proptest! {
        /// Random changes, applied as deltas in random portions, lead to the state of a full fetch.
        #[test]
        fn deltas_lead_to_the_state_of_a_full_fetch(steps in proptest::collection::vec((0..6_u8, 0..4_u8, any::<bool>()), 1..60)) {
            let (by_delta, by_fetch) = (RegistryView::new("1", BTreeMap::new(), Duration::ZERO), RegistryView::new("1", BTreeMap::new(), Duration::ZERO));
            let (mut registry, mut pending) = (BTreeMap::new(), BTreeMap::new());
            for (id, what, fetch) in steps {
                let mut one = instance(&id.to_string(), if what == 1 { Status::Down } else { Status::Up });
                one.action_type = Some(match what { 0 => Action::Added, 3 => Action::Deleted, _ => Action::Modified });
                if what == 3 { registry.remove(&id); } else { registry.insert(id, one.clone()); }
                pending.insert(id, one);
                if fetch {
                    let mut delta = all(&pending.values().cloned().collect::<Vec<_>>());
                    let full = all(&registry.values().cloned().collect::<Vec<_>>());
                    delta.hash = full.hash.clone();
                    prop_assert!(by_delta.apply(delta));
                    by_fetch.replace(full);
                    prop_assert_eq!(&by_delta.snapshot.read().instances, &by_fetch.snapshot.read().instances);
                    pending.clear();
                }
            }
        }
    }
}
