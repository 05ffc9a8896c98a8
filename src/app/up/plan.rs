//! Configuration of a split shop.

use crate::settings::{Actuator, Secret};
use std::path::PathBuf;

#[derive(Debug, Clone)]
pub struct Plan {
    /// Normally the running executable.
    pub binary: PathBuf,
    /// Data folder shared by all processes: each module has files of its own in it.
    pub data: PathBuf,
    /// Port of the first gateway; 0 takes any free one, as further gateways do.
    pub port: u16,
    /// Port of the first registry; 0 takes any free one, as further registries do.
    pub registry_port: u16,
    /// Processes per module, at least 1.
    pub instances: usize,
    /// Settings file of every process, instead of `./tradepost.toml`.
    pub config: Option<PathBuf>,
    /// `https` if the settings have `server.tls_cert`, else `http`. The caller has loaded the settings and configured
    /// its own HTTP clients by them.
    pub scheme: &'static str,
    /// Credentials for the processes' health details. Without a password, one is generated for this run.
    pub actuator: Actuator,
    /// Further settings of every process, as environment variables.
    pub settings: Vec<(String, String)>,
}

impl Plan {
    /// Health details require a password.
    pub(super) fn with_actuator_password(mut self) -> Self {
        if self.actuator.password.is_none() {
            let password = hex::encode(rand::random::<[u8; 32]>());
            self.settings.push(("TRADEPOST__ACTUATOR__PASSWORD".into(), password.clone()));
            self.actuator.password = Some(Secret::new(password));
        }
        self
    }
}
