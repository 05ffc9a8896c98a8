//! Where the instances of a peer are, and which of them a call goes to.
//!
//! From settings ([`Fixed`]), in this process ([`Loopback`]), or from a registry ([`eureka`]) and then
//! by [`balance`].

pub mod balance;
pub mod eureka;

use std::collections::BTreeMap;

/// How a call to an instance went, as far as the instance is to blame or to praise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered, whatever it said.
    Answered,
    /// It could not be reached, broke off, or answered too late.
    Failed,
}

/// An instance chosen for one call. Tell it how the call went; dropped untold, the call counts as abandoned.
pub struct Picked {
    /// `http://host:port`, without a trailing slash.
    pub base_url: String,
    /// Whether it is this very process.
    pub inside: bool,
    /// Called once with the outcome, or `None` where the call was abandoned.
    report: Option<Box<dyn FnOnce(Option<Outcome>) + Send>>,
}

impl Picked {
    /// An instance of which nobody keeps account.
    pub fn plain(base_url: impl Into<String>) -> Self {
        Self { base_url: base_url.into(), inside: false, report: None }
    }

    /// An instance whose account is kept by `report`.
    pub fn tracked(base_url: impl Into<String>, report: impl FnOnce(Option<Outcome>) + Send + 'static) -> Self {
        Self { base_url: base_url.into(), inside: false, report: Some(Box::new(report)) }
    }

    /// How the call went.
    pub fn done(mut self, outcome: Outcome) {
        if let Some(report) = self.report.take() {
            report(Some(outcome));
        }
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        if let Some(report) = self.report.take() {
            report(None);
        }
    }
}

/// Finds an instance of a module.
pub trait Discovery: Send + Sync {
    /// One instance for one call; `None` where none is known. `avoid` names an instance that has just
    /// failed and is taken only where there is no other.
    fn pick(&self, module: &str, avoid: Option<&str>) -> Option<Picked>;
}

/// One address for each module, from settings (`peers.<module>`).
pub struct Fixed(pub BTreeMap<String, String>);

impl Discovery for Fixed {
    fn pick(&self, module: &str, _: Option<&str>) -> Option<Picked> {
        self.0.get(module).map(|url| Picked::plain(url.trim_end_matches('/')))
    }
}

/// The first of several that knows an instance.
pub struct FirstOf(pub Vec<std::sync::Arc<dyn Discovery>>);

impl Discovery for FirstOf {
    fn pick(&self, module: &str, avoid: Option<&str>) -> Option<Picked> {
        self.0.iter().find_map(|discovery| discovery.pick(module, avoid))
    }
}

/// This very process: these modules are behind its own front door.
pub struct Loopback {
    /// Its own address.
    pub url: String,
    /// What runs here.
    pub modules: Vec<&'static str>,
}

impl Discovery for Loopback {
    fn pick(&self, module: &str, _: Option<&str>) -> Option<Picked> {
        self.modules.contains(&module).then(|| Picked { base_url: self.url.clone(), inside: true, report: None })
    }
}
