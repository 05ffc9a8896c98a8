//! The circuit breakers of this process by name: one per peer, and those that the gateway's routes name. Equal
//! names share one breaker, as in Resilience4j's registry.

use super::breaker::{Breaker, NotPermitted, Permit};
use crate::settings::BreakerSettings;
use parking_lot::{Mutex, MutexGuard};
use prometheus::{Error, IntCounter, IntCounterVec, Opts, Registry};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A breaker with its name and counters.
pub struct NamedBreaker {
    name: String,
    pub breaker: Arc<Breaker>,
    /// A peer's breaker lives as long as the process; a route's is dropped with its route.
    permanent: bool,
    successful: IntCounter,
    failed: IntCounter,
    not_permitted: IntCounter,
}

impl NamedBreaker {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Permit for one call.
    pub fn acquire(&self) -> Result<Permit, NotPermitted> {
        self.breaker.acquire().inspect_err(|_| self.not_permitted.inc())
    }

    /// Records the outcome of the call.
    pub fn record(&self, permit: Permit, success: bool) {
        permit.record(success);
        if success { self.successful.inc() } else { self.failed.inc() }
    }
}

type ByName = BTreeMap<String, Arc<NamedBreaker>>;

/// All breakers. Clones share them.
#[derive(Clone)]
pub struct BreakerRegistry {
    by_name: Arc<Mutex<ByName>>,
    calls: IntCounterVec,
}

impl BreakerRegistry {
    /// Starts without breakers and registers their metrics.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let calls = Opts::new("resilience4j_circuitbreaker_calls_total", "Calls through circuit breakers by outcome.");
        let calls = IntCounterVec::new(calls, &["name", "kind"])?;
        registry.register(Box::new(calls.clone()))?;
        Ok(Self { by_name: Arc::default(), calls })
    }

    /// Returns the breaker of a peer; creates it on the first call.
    pub fn of_peer(&self, name: &str, rules: BreakerSettings) -> Arc<NamedBreaker> {
        self.lock().entry(name.to_string()).or_insert_with(|| self.create(name, rules, true)).clone()
    }

    /// Replaces the breakers of routes. A breaker with unchanged rules keeps its state; one that no route names
    /// any more is dropped. If a peer's breaker has the same name, the route uses it with the peer's rules.
    pub fn replace_route_breakers(&self, wanted: &BTreeMap<String, BreakerSettings>) -> ByName {
        let mut breakers = self.lock();
        breakers.retain(|name, guard| guard.permanent || wanted.get(name) == Some(guard.breaker.rules()));
        let get = |(name, rules): (&String, &BreakerSettings)| {
            let guard = breakers.entry(name.clone()).or_insert_with(|| self.create(name, *rules, false));
            (name.clone(), guard.clone())
        };
        wanted.iter().map(get).collect()
    }

    /// All breakers, sorted by name.
    pub fn all(&self) -> Vec<Arc<NamedBreaker>> {
        self.lock().values().cloned().collect()
    }

    pub fn find(&self, name: &str) -> Option<Arc<NamedBreaker>> {
        self.lock().get(name).cloned()
    }

    fn create(&self, name: &str, rules: BreakerSettings, permanent: bool) -> Arc<NamedBreaker> {
        let count = |kind: &str| self.calls.with_label_values(&[name, kind]);
        Arc::new(NamedBreaker {
            name: name.to_string(),
            breaker: Breaker::new(name, rules),
            permanent,
            successful: count("successful"),
            failed: count("failed"),
            not_permitted: count("not_permitted"),
        })
    }

    fn lock(&self) -> MutexGuard<'_, ByName> {
        self.by_name.lock()
    }
}
