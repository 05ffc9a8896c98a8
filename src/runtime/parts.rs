//! What a built module adds to its process.

use super::service::{Service, Services};
#[cfg(feature = "store")]
use crate::data::credential_renewal::CredentialRenewal;
use crate::events::bus::{Bus, Consumer, Outbox};
use crate::kernel::error::{HealthError, ReloadError};
use crate::rpc::contract::Endpoint;
use crate::settings::{ApplySettings, Settings};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Settings that can change while the process runs.
#[derive(Clone)]
pub struct Reloadable {
    pub keys: &'static [&'static str],
    pub apply: ApplySettings,
}

/// What a built module adds to its process.
#[derive(Default)]
pub struct Parts {
    pub endpoints: Vec<Endpoint>,
    pub services: Services,
    pub consumers: Vec<Arc<dyn Consumer>>,
    pub outboxes: Vec<Arc<dyn Outbox>>,
    pub reloadable: Vec<Reloadable>,
    /// Notified when a server refuses the credentials in force: Vault may have newer ones.
    pub auth_failure_signals: Vec<Arc<Notify>>,
}

impl Parts {
    /// Adds a service that runs until the token is cancelled.
    pub fn worker<F, Fut>(&mut self, name: &'static str, task: F)
    where
        F: FnOnce(CancellationToken) -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        self.services.push(Service::running(name, task));
    }

    /// Adds a health check.
    pub fn check<F, Fut>(&mut self, name: &'static str, check: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, HealthError>> + 'static,
    {
        self.services.push(Service::checked(name, check));
    }

    /// Adds an outbox, and the service of this name that relays its events to the bus.
    pub fn outbox(&mut self, service: &'static str, outbox: Arc<dyn Outbox>, bus: Arc<dyn Bus>) {
        self.outboxes.push(outbox.clone());
        self.worker(service, move |stop| async move { outbox.relay(bus, stop).await });
    }

    /// Adds settings that `POST /actuator/refresh` applies.
    pub fn reloadable(
        &mut self,
        keys: &'static [&'static str],
        apply: impl Fn(&Settings) -> Result<(), ReloadError> + Send + Sync + 'static,
    ) {
        self.reloadable.push(Reloadable { keys, apply: Arc::new(apply) });
    }

    /// Adds a store's credentials, which can change while the process runs.
    #[cfg(feature = "store")]
    pub fn renewal(&mut self, renewal: Option<CredentialRenewal>) {
        if let Some(CredentialRenewal { keys, apply, auth_failure_signal }) = renewal {
            self.reloadable.push(Reloadable { keys, apply });
            self.auth_failure_signals.extend(auth_failure_signal);
        }
    }

    /// Adds all that another module adds.
    pub fn append(&mut self, other: Parts) {
        self.endpoints.extend(other.endpoints);
        self.services.append(other.services);
        self.consumers.extend(other.consumers);
        self.outboxes.extend(other.outboxes);
        self.reloadable.extend(other.reloadable);
        self.auth_failure_signals.extend(other.auth_failure_signals);
    }
}
