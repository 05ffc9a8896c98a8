//! Client-side load balancing: which of the known instances a call goes to.
//!
//! Of two instances chosen at random, the one with fewer requests of ours outstanding (Mitzenmacher,
//! "The power of two choices"): it needs no view of the whole, and slow instances get less by
//! themselves. An instance that fails is ejected at once, whatever its lease says, and for longer each
//! time; once back it gets a single request to prove itself. Instances of our own build version come
//! before others, so that a rolling update keeps to one side as long as it can.

use super::{Outcome, Picked};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// First ejection; each further one in a row lasts twice as long.
const EJECTION: Duration = Duration::from_secs(1);
/// No ejection lasts longer.
const LONGEST: Duration = Duration::from_secs(30);

/// An instance that may be picked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// `http://host:port`, without a trailing slash.
    pub base_url: String,
    /// Its build version, where it tells.
    pub version: Option<String>,
    /// Grows when the instance is started anew: what an earlier one did is not held against it.
    pub incarnation: i64,
}

#[derive(Debug, Default)]
struct Account {
    incarnation: i64,
    outstanding: usize,
    failures: u32,
    ejected_until: Option<Instant>,
}

impl Account {
    fn ejected(&self, now: Instant) -> bool {
        self.ejected_until.is_some_and(|until| now < until)
    }

    /// Back from an ejection it takes one request at a time, until one is answered.
    fn usable(&self, now: Instant) -> bool {
        !self.ejected(now) && (self.failures == 0 || self.outstanding == 0)
    }

    fn settle(&mut self, outcome: Option<Outcome>, failures: u32, now: Instant) {
        self.outstanding = self.outstanding.saturating_sub(1);
        match outcome {
            // an answer to what was sent before the last failure says nothing of now
            Some(Outcome::Answered) if failures == self.failures => {
                self.failures = 0;
                self.ejected_until = None;
            }
            // requests that fail together are one failure
            Some(Outcome::Failed) if failures == self.failures => {
                self.failures = self.failures.saturating_add(1);
                self.ejected_until = Some(now + ejection(self.failures));
            }
            _ => {}
        }
    }
}

fn ejection(failures: u32) -> Duration {
    EJECTION.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST)
}

/// Keeps an account of each instance and picks by it.
pub struct Balancer {
    version: String,
    accounts: Arc<Mutex<HashMap<String, Account>>>,
    now: fn() -> Instant,
}

impl Balancer {
    /// For a process of this build version.
    pub fn new(version: impl Into<String>) -> Self {
        Self { version: version.into(), accounts: Arc::default(), now: Instant::now }
    }

    /// One of these for one call; `None` where there is none. `avoid` is taken only where there is no other.
    pub fn pick(&self, candidates: &[Candidate], avoid: Option<&str>) -> Option<Picked> {
        let now = (self.now)();
        let mut accounts = self.accounts.lock();
        let mut pool: Vec<&Candidate> = candidates.iter().filter(|c| Some(c.base_url.as_str()) != avoid).collect();
        if pool.is_empty() {
            pool = candidates.iter().collect();
        }
        for candidate in &pool {
            let account = accounts.entry(candidate.base_url.clone()).or_default();
            if candidate.incarnation > account.incarnation {
                let outstanding = account.outstanding;
                *account = Account { incarnation: candidate.incarnation, outstanding, ..Account::default() };
            }
        }
        let account = |candidate: &Candidate| accounts.get(&candidate.base_url);
        let usable: Vec<&Candidate> = pool.iter().copied().filter(|c| account(c).is_none_or(|a| a.usable(now))).collect();
        let same: Vec<&Candidate> = usable.iter().copied().filter(|c| c.version.as_deref() == Some(&self.version)).collect();
        let outstanding = |candidate: &Candidate| account(candidate).map_or(0, |a| a.outstanding);
        let chosen = match if same.is_empty() { usable } else { same }.as_slice() {
            // never none because all are ejected: then the one that is due back first
            [] => pool.into_iter().min_by_key(|c| account(c).map(|a| (a.ejected_until, a.outstanding)))?,
            [only] => only,
            several => {
                let (first, second) = two(several)?;
                if outstanding(second) < outstanding(first) { second } else { first }
            }
        };
        let url = chosen.base_url.clone();
        let account = accounts.entry(url.clone()).or_default();
        account.outstanding += 1;
        let (failures, shared, clock) = (account.failures, self.accounts.clone(), self.now);
        Some(Picked::tracked(url.clone(), move |outcome| {
            if let Some(account) = shared.lock().get_mut(&url) {
                account.settle(outcome, failures, clock());
            }
        }))
    }

    /// Drops the accounts of instances that are gone, but for those with requests under way.
    pub fn keep(&self, known: impl Fn(&str) -> bool) {
        self.accounts.lock().retain(|url, account| account.outstanding > 0 || known(url));
    }
}

/// Two different ones at random, of two or more.
fn two<'a>(several: &[&'a Candidate]) -> Option<(&'a Candidate, &'a Candidate)> {
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

    fn pass(seconds: u64) {
        NOW.set(NOW.get() + Duration::from_secs(seconds));
    }

    fn balancer() -> Balancer {
        Balancer { now: || NOW.get(), ..Balancer::new("1") }
    }

    fn of(versions: &[(&str, &str)]) -> Vec<Candidate> {
        versions
            .iter()
            .map(|(url, version)| Candidate { base_url: url.to_string(), version: Some(version.to_string()), incarnation: 1 })
            .collect()
    }

    fn seen(balancer: &Balancer, candidates: &[Candidate]) -> HashSet<String> {
        (0..200).map(|_| balancer.pick(candidates, None).unwrap().base_url.clone()).collect()
    }

    fn fail(balancer: &Balancer, candidates: &[Candidate], url: &str) {
        let others: Vec<_> = candidates.iter().filter(|c| c.base_url == url).cloned().collect();
        balancer.pick(&others, None).unwrap().done(Outcome::Failed);
    }

    #[test]
    fn the_less_loaded_of_two_is_picked() {
        let (balancer, all) = (balancer(), of(&[("a", "1"), ("b", "1")]));
        let held: Vec<Picked> = (0..10).map(|_| balancer.pick(&all, None).unwrap()).collect();
        assert_eq!(held.iter().filter(|p| p.base_url == "a").count(), 5);
        let on_a: Vec<_> = held.into_iter().filter(|p| p.base_url == "a").collect();
        assert!((0..5).all(|_| balancer.pick(&all, None).unwrap().base_url == "b"), "an abandoned call is taken off the account");
        drop(on_a);
        assert_eq!(seen(&balancer, &all).len(), 2);
    }

    #[test]
    fn nothing_is_picked_from_nothing() {
        assert!(balancer().pick(&[], None).is_none());
    }

    #[test]
    fn a_failed_instance_is_ejected_at_once_and_longer_each_time() {
        let (balancer, all) = (balancer(), of(&[("a", "1"), ("b", "1")]));
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            fail(&balancer, &all, "a");
            pass(seconds - 1);
            assert_eq!(seen(&balancer, &all), ["b".to_string()].into(), "still ejected before {seconds} s");
            pass(1);
            assert_eq!(seen(&balancer, &all).len(), 2, "back after {seconds} s");
        }
        balancer.pick(&all[..1], None).unwrap().done(Outcome::Answered);
        fail(&balancer, &all, "a");
        pass(1);
        assert_eq!(seen(&balancer, &all).len(), 2, "an answer makes it as good as new");
    }

    #[test]
    fn back_from_an_ejection_it_gets_one_request_at_a_time() {
        let (balancer, all) = (balancer(), of(&[("a", "1"), ("b", "1")]));
        fail(&balancer, &all, "a");
        pass(1);
        let trial = balancer.pick(&all[..1], None).unwrap();
        assert_eq!(seen(&balancer, &all), ["b".to_string()].into());
        trial.done(Outcome::Answered);
        assert_eq!(seen(&balancer, &all).len(), 2);
    }

    #[test]
    fn failures_together_count_once_and_late_answers_not_at_all() {
        let (balancer, all) = (balancer(), of(&[("a", "1"), ("b", "1")]));
        let mut sent: Vec<_> = (0..4).map(|_| balancer.pick(&all[..1], None).unwrap()).collect();
        let late = sent.pop().unwrap();
        sent.into_iter().for_each(|picked| picked.done(Outcome::Failed));
        late.done(Outcome::Answered);
        assert_eq!(seen(&balancer, &all), ["b".to_string()].into());
        pass(1);
        assert_eq!(seen(&balancer, &all).len(), 2);
    }

    #[test]
    fn when_all_are_ejected_the_least_bad_serves() {
        let (balancer, all) = (balancer(), of(&[("a", "1"), ("b", "1")]));
        fail(&balancer, &all, "a");
        fail(&balancer, &all, "b");
        pass(1);
        fail(&balancer, &all, "b");
        fail(&balancer, &all, "a");
        fail(&balancer, &all, "a");
        assert_eq!(seen(&balancer, &all), ["b".to_string()].into());
    }

    #[test]
    fn our_own_version_comes_first() {
        let (balancer, all) = (balancer(), of(&[("a", "1"), ("b", "2"), ("c", "1")]));
        assert_eq!(seen(&balancer, &all), ["a".to_string(), "c".to_string()].into());
        fail(&balancer, &all, "a");
        fail(&balancer, &all, "c");
        assert_eq!(seen(&balancer, &all), ["b".to_string()].into(), "others only where there is none");
        let avoided = |url| (0..50).all(|_| balancer.pick(&all[1..2], Some(url)).unwrap().base_url == "b");
        assert!(avoided("b"), "what is to be avoided is taken where there is no other");
        pass(60);
        assert!((0..50).all(|_| balancer.pick(&all[..2], Some("a")).unwrap().base_url == "b"));
    }

    #[test]
    fn an_instance_started_anew_is_forgiven() {
        let (balancer, mut all) = (balancer(), of(&[("a", "1"), ("b", "1")]));
        fail(&balancer, &all, "a");
        all[0].incarnation = 2;
        assert_eq!(seen(&balancer, &all).len(), 2);
        balancer.keep(|url| url == "b");
        assert_eq!(balancer.accounts.lock().len(), 1);
    }
}
