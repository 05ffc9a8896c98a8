//! Services: named parts of a process that run beside the requests, or report health.

use crate::kernel::error::HealthError;
use futures_util::future::LocalBoxFuture;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

type Task = Box<dyn FnOnce(CancellationToken) -> LocalBoxFuture<'static, ()>>;

/// Reports whether a service is healthy, with details in both cases.
pub type HealthCheck = Arc<dyn Fn() -> LocalBoxFuture<'static, Result<Value, HealthError>> + Send + Sync>;

/// A named part of a process.
pub struct Service {
    name: &'static str,
    work: Work,
}

enum Work {
    Task(Task),
    HealthCheck(HealthCheck),
}

impl Service {
    /// Runs `task` from the start of the process until the token is cancelled; it then has to end soon.
    pub fn running<F, Fut>(name: &'static str, task: F) -> Self
    where
        F: FnOnce(CancellationToken) -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        Self { name, work: Work::Task(Box::new(move |stop| Box::pin(task(stop)))) }
    }

    /// Reports health.
    pub fn checked<F, Fut>(name: &'static str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Value, HealthError>> + 'static,
    {
        Self { name, work: Work::HealthCheck(Arc::new(move || Box::pin(check()))) }
    }
}

/// The services of a module or of a process.
#[derive(Default)]
pub struct Services(Vec<Service>);

impl Services {
    pub fn push(&mut self, service: Service) {
        self.0.push(service);
    }

    pub fn extend(&mut self, services: impl IntoIterator<Item = Service>) {
        self.0.extend(services);
    }

    pub fn append(&mut self, mut other: Services) {
        self.0.append(&mut other.0);
    }

    /// The health checks, by the services' names.
    pub fn health_checks(&self) -> Vec<(&'static str, HealthCheck)> {
        let check = |service: &Service| match &service.work {
            Work::HealthCheck(check) => Some((service.name, check.clone())),
            Work::Task(_) => None,
        };
        self.0.iter().filter_map(check).collect()
    }

    /// Starts each task on this thread.
    pub fn start(self) -> RunningServices {
        let stop = CancellationToken::new();
        let start = |Service { name, work }| match work {
            Work::Task(task) => Some((name, actix_web::rt::spawn(task(stop.clone())))),
            Work::HealthCheck(_) => None,
        };
        RunningServices { tasks: self.0.into_iter().filter_map(start).collect(), stop }
    }
}

/// Services whose tasks run.
pub struct RunningServices {
    tasks: Vec<(&'static str, JoinHandle<()>)>,
    stop: CancellationToken,
}

impl RunningServices {
    /// Stops all tasks at once, and waits for them until the limit. Returns the services that did not stop in time, or
    /// failed.
    pub async fn stop(self, limit: Duration) -> Vec<&'static str> {
        self.stop.cancel();
        let deadline = Instant::now() + limit;
        let mut unfinished = Vec::new();
        for (service, task) in self.tasks {
            match timeout_at(deadline, task).await {
                Ok(Ok(())) => continue,
                Ok(Err(cause)) => tracing::error!(service, %cause, "service failed"),
                Err(_) => tracing::warn!(service, "shutdown deadline exceeded; work resumes at next start"),
            }
            unfinished.push(service);
        }
        unfinished
    }
}
