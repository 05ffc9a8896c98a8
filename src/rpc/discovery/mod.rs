//! Service discovery: finds the instances of a peer and picks one for each call.
//!
//! Instances come from settings ([`StaticDiscovery`]), from this process ([`LoopbackDiscovery`]), or from a registry ([`eureka`]);
//! [`balance`] picks among those of a registry.

pub mod balance;
pub mod eureka;

use std::collections::BTreeMap;

/// The outcome of a call, as far as the instance is responsible for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The instance responded, with any status.
    Responded,
    /// Unreachable, connection lost, or timeout.
    Failed,
}

/// An instance picked for one call. Dropped without an outcome, the call counts as cancelled.
pub struct PickedInstance {
    /// `http://host:port`, without a trailing slash.
    pub base_url: String,
    /// Whether it is this process.
    pub is_self: bool,
    /// Called once with the outcome; `None` if the call was cancelled.
    on_done: Option<Box<dyn FnOnce(Option<Outcome>) + Send>>,
}

impl PickedInstance {
    /// An instance without load statistics.
    pub fn plain(base_url: impl Into<String>) -> Self {
        Self { base_url: base_url.into(), is_self: false, on_done: None }
    }

    /// An instance whose outcome is reported to `on_done`.
    pub fn tracked(base_url: impl Into<String>, on_done: impl FnOnce(Option<Outcome>) + Send + 'static) -> Self {
        Self { base_url: base_url.into(), is_self: false, on_done: Some(Box::new(on_done)) }
    }

    /// Reports the call's outcome.
    pub fn done(mut self, outcome: Outcome) {
        if let Some(on_done) = self.on_done.take() {
            on_done(Some(outcome));
        }
    }
}

impl Drop for PickedInstance {
    fn drop(&mut self) {
        if let Some(on_done) = self.on_done.take() {
            on_done(None);
        }
    }
}

pub trait Discovery: Send + Sync {
    /// Picks an instance for one call; `None` if none is known. `avoid` is the base URL of an instance that has
    /// just failed; it is picked only if there is no other.
    fn pick(&self, module: &str, avoid: Option<&str>) -> Option<PickedInstance>;
}

/// One address per module, from settings (`peers.<module>`).
pub struct StaticDiscovery(pub BTreeMap<String, String>);

impl Discovery for StaticDiscovery {
    fn pick(&self, module: &str, _: Option<&str>) -> Option<PickedInstance> {
        self.0.get(module).map(|url| PickedInstance::plain(url.trim_end_matches('/')))
    }
}

/// Asks several discoveries in order; returns the first result.
pub struct CompositeDiscovery(pub Vec<std::sync::Arc<dyn Discovery>>);

impl Discovery for CompositeDiscovery {
    fn pick(&self, module: &str, avoid: Option<&str>) -> Option<PickedInstance> {
        self.0.iter().find_map(|discovery| discovery.pick(module, avoid))
    }
}

/// This process's own HTTP address, for its own modules.
pub struct LoopbackDiscovery {
    pub url: String,
    /// The modules of this process.
    pub modules: Vec<&'static str>,
}

impl Discovery for LoopbackDiscovery {
    fn pick(&self, module: &str, _: Option<&str>) -> Option<PickedInstance> {
        self.modules.contains(&module).then(|| PickedInstance { base_url: self.url.clone(), is_self: true, on_done: None })
    }
}
