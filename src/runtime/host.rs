//! What a process gives each module, and what each module gives the process.

#[cfg(feature = "store")]
use crate::data::renewal::Renewal;
use crate::events::bus::{Bus, Consumer, Outbox};
use crate::kernel::error::PartError;
pub use crate::kernel::error::{HealthError, ReloadError, StartError};
use crate::rpc::contract::Endpoint;
use crate::settings::Settings;
use futures_util::future::LocalBoxFuture;
use serde_json::Value;
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Given to each module when it is built.
#[derive(Clone)]
pub struct Host {
    /// All settings.
    pub settings: Arc<Settings>,
    /// How clients reach this process.
    pub public_url: String,
    /// Where events go; none where no module of this process has any.
    pub bus: Option<Arc<dyn Bus>>,
    /// Where metrics are kept.
    pub metrics: prometheus::Registry,
    /// Cancelled when the process takes no more requests and waits for those under way: streams that would never end by
    /// themselves end on it.
    pub draining: CancellationToken,
}

impl Host {
    /// The bus, for a module that cannot do without.
    pub fn bus(&self) -> Result<Arc<dyn Bus>, StartError> {
        self.bus.clone().ok_or_else(|| StartError::from(NoBus))
    }
}

/// Runs beside the requests until the token is cancelled, then finishes soon.
pub type Worker = Box<dyn FnOnce(CancellationToken) -> LocalBoxFuture<'static, ()>>;

/// Answers whether a part is well, with details either way.
pub type Check = Arc<dyn Fn() -> LocalBoxFuture<'static, Result<Value, HealthError>> + Send + Sync>;

/// Takes settings up, or says what is wrong with them.
pub type Apply = Arc<dyn Fn(&Settings) -> Result<(), ReloadError> + Send + Sync>;

/// Settings that may change while the process runs.
#[derive(Clone)]
pub struct Reloadable {
    /// Their keys.
    pub keys: &'static [&'static str],
    /// Takes the new settings up; where they are not good, all stays as it was.
    pub apply: Apply,
}

/// What a built module adds to its process.
#[derive(Default)]
pub struct Parts {
    /// What it serves.
    pub endpoints: Vec<Endpoint>,
    /// What runs beside.
    pub workers: Vec<(&'static str, Worker)>,
    /// What events it takes.
    pub consumers: Vec<Arc<dyn Consumer>>,
    /// How it is.
    pub checks: Vec<(&'static str, Check)>,
    /// Its outbox.
    pub outboxes: Vec<Arc<dyn Outbox>>,
    /// What it takes up while it runs.
    pub reloadable: Vec<Reloadable>,
    /// Told when a server refuses the credentials in force: there may be newer ones.
    pub auth_failure_signals: Vec<Arc<Notify>>,
}

impl Parts {
    /// Adds a worker.
    pub fn worker<F, Fut>(&mut self, name: &'static str, work: F)
    where
        F: FnOnce(CancellationToken) -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        self.workers.push((name, Box::new(move |stop| Box::pin(work(stop)))));
    }

    /// Adds an outbox, and the worker of this name that carries it to the bus.
    pub fn outbox(&mut self, worker: &'static str, outbox: Arc<dyn Outbox>, bus: Arc<dyn Bus>) {
        self.outboxes.push(outbox.clone());
        self.worker(worker, move |stop| async move { outbox.relay(bus, stop).await });
    }

    /// Settings that are taken up again on `POST /actuator/refresh`.
    pub fn reloadable(
        &mut self,
        keys: &'static [&'static str],
        apply: impl Fn(&Settings) -> Result<(), ReloadError> + Send + Sync + 'static,
    ) {
        self.reloadable.push(Reloadable { keys, apply: Arc::new(apply) });
    }

    /// Takes a store's credentials up while it runs.
    #[cfg(feature = "store")]
    pub fn renewal(&mut self, renewal: Option<Renewal>) {
        if let Some(Renewal { keys, apply, refused }) = renewal {
            self.reloadable.push(Reloadable { keys, apply });
            self.auth_failure_signals.extend(refused);
        }
    }

    /// Adds a health check.
    pub fn check<F, Fut>(&mut self, name: &'static str, check: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, HealthError>> + 'static,
    {
        self.checks.push((name, Arc::new(move || Box::pin(check()))));
    }
}

/// A module with events in a process without a bus: a defect in the table of modules.
#[derive(Debug, thiserror::Error)]
#[error("this process has no bus: none of its modules is known to have events")]
pub struct NoBus;

impl PartError for NoBus {}

/// A peer that is known only after its caller is built: for those asked from a worker.
pub struct LazyRef<T: ?Sized>(Arc<OnceLock<Arc<T>>>);

impl<T: ?Sized> Clone for LazyRef<T> {
    fn clone(&self) -> Self {
        LazyRef(self.0.clone())
    }
}

impl<T: ?Sized> Default for LazyRef<T> {
    fn default() -> Self {
        LazyRef(Arc::new(OnceLock::new()))
    }
}

impl<T: ?Sized> LazyRef<T> {
    /// Makes it known; the first call counts.
    pub fn set(&self, peer: Arc<T>) {
        let _ = self.0.set(peer);
    }

    /// The peer, once it is known.
    pub fn get(&self) -> Option<&Arc<T>> {
        self.0.get()
    }
}
