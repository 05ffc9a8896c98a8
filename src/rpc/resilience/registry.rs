//! The circuit breakers of this process by name: those of its peers, and those that routes of the gateway
//! name. One name is one breaker, as in Resilience4j's registry.

use super::breaker::{Breaker, NotPermitted, Permit};
use crate::settings::BreakerRules;
use parking_lot::{Mutex, MutexGuard};
use prometheus::{Error, IntCounter, IntCounterVec, Opts, Registry};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A breaker under its name, with its counters.
pub struct Guard {
    name: String,
    /// The breaker itself.
    pub breaker: Arc<Breaker>,
    /// Whether it came with the process and stays as long; a route's goes with its route.
    fixed: bool,
    successful: IntCounter,
    failed: IntCounter,
    not_permitted: IntCounter,
}

impl Guard {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Leave for one call.
    pub fn acquire(&self) -> Result<Permit, NotPermitted> {
        self.breaker.acquire().inspect_err(|_| self.not_permitted.inc())
    }

    /// How the call of this permit went.
    pub fn settle(&self, permit: Permit, success: bool) {
        permit.done(success);
        if success { self.successful.inc() } else { self.failed.inc() }
    }
}

type ByName = BTreeMap<String, Arc<Guard>>;

/// All of them; clones are the same.
#[derive(Clone)]
pub struct Breakers {
    all: Arc<Mutex<ByName>>,
    calls: IntCounterVec,
}

impl Breakers {
    /// None yet; their calls are counted in this registry.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let calls = Opts::new("resilience4j_circuitbreaker_calls_total", "Calls through circuit breakers by outcome.");
        let calls = IntCounterVec::new(calls, &["name", "kind"])?;
        registry.register(Box::new(calls.clone()))?;
        Ok(Self { all: Arc::default(), calls })
    }

    /// The breaker of a peer: it stays as long as the process.
    pub fn fixed(&self, name: &str, rules: BreakerRules) -> Arc<Guard> {
        self.lock().entry(name.to_string()).or_insert_with(|| self.make(name, rules, true)).clone()
    }

    /// The breakers that routes name from now on. One whose rules are the same goes on as it is, one that
    /// nobody names any more is gone, and a peer's of the same name serves under its own rules.
    pub fn routed(&self, wanted: &BTreeMap<String, BreakerRules>) -> ByName {
        let mut all = self.lock();
        all.retain(|name, guard| guard.fixed || wanted.get(name) == Some(guard.breaker.rules()));
        let get = |(name, rules): (&String, &BreakerRules)| {
            let guard = all.entry(name.clone()).or_insert_with(|| self.make(name, *rules, false));
            (name.clone(), guard.clone())
        };
        wanted.iter().map(get).collect()
    }

    /// Those there are, by name.
    pub fn listed(&self) -> Vec<Arc<Guard>> {
        self.lock().values().cloned().collect()
    }

    /// The one of this name.
    pub fn find(&self, name: &str) -> Option<Arc<Guard>> {
        self.lock().get(name).cloned()
    }

    fn make(&self, name: &str, rules: BreakerRules, fixed: bool) -> Arc<Guard> {
        let count = |kind: &str| self.calls.with_label_values(&[name, kind]);
        Arc::new(Guard {
            name: name.to_string(),
            breaker: Breaker::new(name, rules),
            fixed,
            successful: count("successful"),
            failed: count("failed"),
            not_permitted: count("not_permitted"),
        })
    }

    fn lock(&self) -> MutexGuard<'_, ByName> {
        self.all.lock()
    }
}
