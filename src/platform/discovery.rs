//! Where the instances of a peer are.

use std::collections::BTreeMap;

/// Finds an instance of a module.
pub trait Discovery: Send + Sync {
    /// `http://host:port` of one instance, without a trailing slash; `None` where none is known.
    fn base_url(&self, module: &str) -> Option<String>;
}

/// One address for each module, from settings (`peers.<module>`).
pub struct Fixed(pub BTreeMap<String, String>);

impl Discovery for Fixed {
    fn base_url(&self, module: &str) -> Option<String> {
        self.0.get(module).map(|url| url.trim_end_matches('/').to_string())
    }
}

/// This very process: every peer is behind its own front door.
pub struct Loopback(pub String);

impl Discovery for Loopback {
    fn base_url(&self, _: &str) -> Option<String> {
        Some(self.0.clone())
    }
}
