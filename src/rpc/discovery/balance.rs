//! Client-side load balancing: picks one of the known instances for a call.
//!
//! Power of two choices (Mitzenmacher): of two random instances, the one with fewer outstanding requests of this
//! process. It needs no global state, and slow instances receive fewer requests. A failed instance is ejected
//! immediately, whether or not its lease is valid, for an exponentially growing time; afterwards it gets a
//! single trial request. Instances of this process's build version are preferred, so that a rolling update
//! mixes versions as little as possible.

use super::{Outcome, PickedInstance};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The first ejection; each consecutive one lasts twice as long.
const BASE_EJECTION: Duration = Duration::from_secs(1);
const MAX_EJECTION: Duration = Duration::from_secs(30);

/// An instance that may be picked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// `http://host:port`, without a trailing slash.
    pub base_url: String,
    /// Build version, if the instance publishes it.
    pub version: Option<String>,
    /// Increases when the instance restarts; a restart resets its failures.
    pub incarnation: i64,
}

#[derive(Debug, Default)]
struct InstanceStats {
    incarnation: i64,
    outstanding: usize,
    failures: u32,
    ejected_until: Option<Instant>,
}

impl InstanceStats {
    fn ejected(&self, now: Instant) -> bool {
        self.ejected_until.is_some_and(|until| now < until)
    }

    /// After an ejection an instance takes one request at a time, until it has responded to one.
    fn usable(&self, now: Instant) -> bool {
        !self.ejected(now) && (self.failures == 0 || self.outstanding == 0)
    }

    fn record(&mut self, outcome: Option<Outcome>, failures: u32, now: Instant) {
        self.outstanding = self.outstanding.saturating_sub(1);
        match outcome {
            // A response to a request sent before the last failure does not show that the instance has recovered.
            Some(Outcome::Responded) if failures == self.failures => {
                self.failures = 0;
                self.ejected_until = None;
            }
            // Concurrent failures count once.
            Some(Outcome::Failed) if failures == self.failures => {
                self.failures = self.failures.saturating_add(1);
                self.ejected_until = Some(now + ejection(self.failures));
            }
            _ => {}
        }
    }
}

fn ejection(failures: u32) -> Duration {
    BASE_EJECTION.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(MAX_EJECTION)
}

/// Keeps statistics per instance and picks the next one.
pub struct Balancer {
    version: String,
    stats: Arc<Mutex<HashMap<String, InstanceStats>>>,
    now: fn() -> Instant,
}

impl Balancer {
    /// `version` is this process's build version.
    pub fn new(version: impl Into<String>) -> Self {
        Self { version: version.into(), stats: Arc::default(), now: Instant::now }
    }

    /// Picks a candidate for one call; `None` if there are none. `avoid` is picked only if there is no other.
    pub fn pick(&self, candidates: &[Candidate], avoid: Option<&str>) -> Option<PickedInstance> {
        let now = (self.now)();
        let mut stats = self.stats.lock();
        let mut pool: Vec<&Candidate> = candidates.iter().filter(|c| Some(c.base_url.as_str()) != avoid).collect();
        if pool.is_empty() {
            pool = candidates.iter().collect();
        }
        for candidate in &pool {
            let instance = stats.entry(candidate.base_url.clone()).or_default();
            if candidate.incarnation > instance.incarnation {
                let outstanding = instance.outstanding;
                *instance = InstanceStats { incarnation: candidate.incarnation, outstanding, ..InstanceStats::default() };
            }
        }
        let instance = |candidate: &Candidate| stats.get(&candidate.base_url);
        let usable: Vec<&Candidate> = pool.iter().copied().filter(|c| instance(c).is_none_or(|i| i.usable(now))).collect();
        let same_version: Vec<&Candidate> = usable.iter().copied().filter(|c| c.version.as_deref() == Some(&self.version)).collect();
        let outstanding = |candidate: &Candidate| instance(candidate).map_or(0, |i| i.outstanding);
        let chosen = match if same_version.is_empty() { usable } else { same_version }.as_slice() {
            // If all are ejected, the one whose ejection ends first.
            [] => pool.into_iter().min_by_key(|c| instance(c).map(|i| (i.ejected_until, i.outstanding)))?,
            [only] => only,
            several => {
                let (first, second) = pick_two(several)?;
                if outstanding(second) < outstanding(first) { second } else { first }
            }
        };
        let url = chosen.base_url.clone();
        let instance = stats.entry(url.clone()).or_default();
        instance.outstanding += 1;
        let (failures, stats_by_url, clock) = (instance.failures, self.stats.clone(), self.now);
        Some(PickedInstance::tracked(url.clone(), move |outcome| {
            if let Some(instance) = stats_by_url.lock().get_mut(&url) {
                instance.record(outcome, failures, clock());
            }
        }))
    }

    /// Drops the statistics of unknown instances that have no outstanding requests.
    pub fn retain(&self, known: impl Fn(&str) -> bool) {
        self.stats.lock().retain(|url, instance| instance.outstanding > 0 || known(url));
    }
}

/// Picks two different candidates; `several` has at least two.
fn pick_two<'a>(several: &[&'a Candidate]) -> Option<(&'a Candidate, &'a Candidate)> {
    let first = rand::random_range(0..several.len());
    let second = (first + rand::random_range(1..several.len())) % several.len();
    Some((several.get(first).copied()?, several.get(second).copied()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::collections::HashSet;

    thread_local! {
        static NOW: Cell<Instant> = Cell::new(Instant::now());
    }

    fn advance(seconds: u64) {
        NOW.set(NOW.get() + Duration::from_secs(seconds));
    }

    fn balancer() -> Balancer {
        Balancer { now: || NOW.get(), ..Balancer::new("1") }
    }

    fn candidates(versions: &[(&str, &str)]) -> Vec<Candidate> {
        versions
            .iter()
            .map(|(url, version)| Candidate { base_url: url.to_string(), version: Some(version.to_string()), incarnation: 1 })
            .collect()
    }

    fn picked_urls(balancer: &Balancer, candidates: &[Candidate]) -> HashSet<String> {
        (0..200).map(|_| balancer.pick(candidates, None).unwrap().base_url.clone()).collect()
    }

    fn fail(balancer: &Balancer, candidates: &[Candidate], url: &str) {
        let others: Vec<_> = candidates.iter().filter(|c| c.base_url == url).cloned().collect();
        balancer.pick(&others, None).unwrap().done(Outcome::Failed);
    }

    #[test]
    fn less_loaded_of_two_instances_is_picked() {
        let (balancer, all) = (balancer(), candidates(&[("a", "1"), ("b", "1")]));
        let picked: Vec<PickedInstance> = (0..10).map(|_| balancer.pick(&all, None).unwrap()).collect();
        assert_eq!(picked.iter().filter(|p| p.base_url == "a").count(), 5);
        let on_a: Vec<_> = picked.into_iter().filter(|p| p.base_url == "a").collect();
        assert!((0..5).all(|_| balancer.pick(&all, None).unwrap().base_url == "b"), "a cancelled call is no longer outstanding");
        drop(on_a);
        assert_eq!(picked_urls(&balancer, &all).len(), 2);
    }

    #[test]
    fn empty_candidate_list_yields_none() {
        assert!(balancer().pick(&[], None).is_none());
    }

    #[test]
    fn failed_instance_is_ejected_immediately_and_longer_each_time() {
        let (balancer, all) = (balancer(), candidates(&[("a", "1"), ("b", "1")]));
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            fail(&balancer, &all, "a");
            advance(seconds - 1);
            assert_eq!(picked_urls(&balancer, &all), ["b".to_string()].into(), "still ejected before {seconds} s");
            advance(1);
            assert_eq!(picked_urls(&balancer, &all).len(), 2, "back after {seconds} s");
        }
        balancer.pick(&all[..1], None).unwrap().done(Outcome::Responded);
        fail(&balancer, &all, "a");
        advance(1);
        assert_eq!(picked_urls(&balancer, &all).len(), 2, "a response resets the failures");
    }

    #[test]
    fn instance_after_an_ejection_gets_one_request_at_a_time() {
        let (balancer, all) = (balancer(), candidates(&[("a", "1"), ("b", "1")]));
        fail(&balancer, &all, "a");
        advance(1);
        let trial = balancer.pick(&all[..1], None).unwrap();
        assert_eq!(picked_urls(&balancer, &all), ["b".to_string()].into());
        trial.done(Outcome::Responded);
        assert_eq!(picked_urls(&balancer, &all).len(), 2);
    }

    #[test]
    fn concurrent_failures_count_once_and_late_responses_are_ignored() {
        let (balancer, all) = (balancer(), candidates(&[("a", "1"), ("b", "1")]));
        let mut sent: Vec<_> = (0..4).map(|_| balancer.pick(&all[..1], None).unwrap()).collect();
        let late = sent.pop().unwrap();
        sent.into_iter().for_each(|picked| picked.done(Outcome::Failed));
        late.done(Outcome::Responded);
        assert_eq!(picked_urls(&balancer, &all), ["b".to_string()].into());
        advance(1);
        assert_eq!(picked_urls(&balancer, &all).len(), 2);
    }

    #[test]
    fn instance_whose_ejection_ends_first_is_picked_if_all_are_ejected() {
        let (balancer, all) = (balancer(), candidates(&[("a", "1"), ("b", "1")]));
        fail(&balancer, &all, "a");
        fail(&balancer, &all, "b");
        advance(1);
        fail(&balancer, &all, "b");
        fail(&balancer, &all, "a");
        fail(&balancer, &all, "a");
        assert_eq!(picked_urls(&balancer, &all), ["b".to_string()].into());
    }

    #[test]
    fn instance_of_the_same_version_is_preferred() {
        let (balancer, all) = (balancer(), candidates(&[("a", "1"), ("b", "2"), ("c", "1")]));
        assert_eq!(picked_urls(&balancer, &all), ["a".to_string(), "c".to_string()].into());
        fail(&balancer, &all, "a");
        fail(&balancer, &all, "c");
        assert_eq!(picked_urls(&balancer, &all), ["b".to_string()].into(), "other versions only if there is none of the same");
        let avoided = |url| (0..50).all(|_| balancer.pick(&all[1..2], Some(url)).unwrap().base_url == "b");
        assert!(avoided("b"), "the instance to avoid is picked if there is no other");
        advance(60);
        assert!((0..50).all(|_| balancer.pick(&all[..2], Some("a")).unwrap().base_url == "b"));
    }

    #[test]
    fn restarted_instance_is_no_longer_ejected() {
        let (balancer, mut all) = (balancer(), candidates(&[("a", "1"), ("b", "1")]));
        fail(&balancer, &all, "a");
        all[0].incarnation = 2;
        assert_eq!(picked_urls(&balancer, &all).len(), 2);
        balancer.retain(|url| url == "b");
        assert_eq!(balancer.stats.lock().len(), 1);
    }
}
