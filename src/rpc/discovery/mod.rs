//! Service discovery: finds the instances of a peer and picks one for each call.
//!
//! Instances come from settings ([`Fixed`]), from this process ([`Loopback`]), or from a registry ([`eureka`]);
//! [`balance`] picks among those of a registry.

pub mod balance;
pub mod eureka;

use std::collections::BTreeMap;

/// The outcome of a call, as far as the instance is responsible for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The instance responded, with any status.
    Answered,
    /// Unreachable, connection lost, or timeout.
    Failed,
}

/// An instance picked for one call. Dropped without an outcome, the call counts as cancelled.
pub struct Picked {
    /// `http://host:port`, without a trailing slash.
    pub base_url: String,
    /// Whether it is this process.
    pub inside: bool,
    /// Called once with the outcome; `None` if the call was cancelled.
    on_done: Option<Box<dyn FnOnce(Option<Outcome>) + Send>>,
}

impl Picked {
    /// An instance without load statistics.
    pub fn plain(base_url: impl Into<String>) -> Self {
        Self { base_url: base_url.into(), inside: false, on_done: None }
    }

    /// An instance whose outcome is reported to `on_done`.
    pub fn tracked(base_url: impl Into<String>, on_done: impl FnOnce(Option<Outcome>) + Send + 'static) -> Self {
        Self { base_url: base_url.into(), inside: false, on_done: Some(Box::new(on_done)) }
    }

    /// Reports the call's outcome.
    pub fn done(mut self, outcome: Outcome) {
        if let Some(on_done) = self.on_done.take() {
            on_done(Some(outcome));
        }
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        if let Some(on_done) = self.on_done.take() {
            on_done(None);
        }
    }
}

pub trait Discovery: Send + Sync {
    /// Picks an instance for one call; `None` if none is known. `avoid` is the base URL of an instance that has
    /// just failed; it is picked only if there is no other.
    fn pick(&self, module: &str, avoid: Option<&str>) -> Option<Picked>;
}

/// One address per module, from settings (`peers.<module>`).
pub struct Fixed(pub BTreeMap<String, String>);

impl Discovery for Fixed {
    fn pick(&self, module: &str, _: Option<&str>) -> Option<Picked> {
        self.0.get(module).map(|url| Picked::plain(url.trim_end_matches('/')))
    }
}

/// Asks several discoveries in order; returns the first result.
pub struct FirstOf(pub Vec<std::sync::Arc<dyn Discovery>>);

impl Discovery for FirstOf {
    fn pick(&self, module: &str, avoid: Option<&str>) -> Option<Picked> {
        self.0.iter().find_map(|discovery| discovery.pick(module, avoid))
    }
}

/// This process's own HTTP address, for its own modules.
pub struct Loopback {
    pub url: String,
    /// The modules of this process.
    pub modules: Vec<&'static str>,
}

impl Discovery for Loopback {
    fn pick(&self, module: &str, _: Option<&str>) -> Option<Picked> {
        self.modules.contains(&module).then(|| Picked { base_url: self.url.clone(), inside: true, on_done: None })
    }
}
