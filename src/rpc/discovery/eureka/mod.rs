//! A client of Eureka servers (the registry module or Netflix's): registers this process's modules and
//! fetches the instances of others.
//!
//! If the registry is unreachable, the last known instances stay in use, and both workers retry with backoff.
//! Source of the rules: Netflix/eureka `DiscoveryClient` (register, renew every few seconds, register again on
//! a 404, fetch deltas and check a hash of the result).

pub mod instance;
pub mod view;

use crate::net::server_list::{RegistryError, Servers};
use actix_web::http::Method;
use instance::{Applications, DataCenter, Instance, Lease, Port, Status};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use view::RegistryView;

/// Backoff after the first failure; it doubles up to the normal interval.
const INITIAL_BACKOFF: Duration = Duration::from_millis(250);

/// The data of one module's registration.
pub struct InstanceInfo<'a> {
    /// Application name, such as `PRODUCT-SERVICE`.
    pub app: &'a str,
    /// Host name or address at which other processes reach this one.
    pub host: &'a str,
    /// IP address.
    pub ip: &'a str,
    pub port: u16,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Build version; callers of the same version prefer this instance.
    pub version: &'a str,
    pub zone: Option<&'a str>,
    /// Seconds between renewals.
    pub renew_seconds: u64,
    /// Seconds after the last renewal at which the registration expires.
    pub lease_seconds: u64,
}

impl InstanceInfo<'_> {
    /// The instance to register. `now` distinguishes a restarted process from its predecessor.
    pub fn instance(&self, now: i64) -> Instance {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.to_string() };
        let base = format!("{}://{host}:{}", self.scheme, self.port);
        let secure = self.scheme == "https";
        let name = self.app.to_ascii_lowercase();
        let mut metadata = std::collections::BTreeMap::from([
            ("version".to_string(), self.version.to_string()),
            ("management.port".to_string(), self.port.to_string()),
            ("management.context-path".to_string(), "/actuator".to_string()),
        ]);
        metadata.extend(self.zone.map(|zone| ("zone".to_string(), zone.to_string())));
        let seconds = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        Instance {
            instance_id: format!("{}:{name}:{}", self.host, self.port),
            host_name: self.host.into(),
            app: self.app.into(),
            ip_addr: self.ip.into(),
            status: Status::Up,
            // As a Spring service with `secure-port: ${server.port}` registers its ports.
            port: Some(Port { number: self.port, enabled: !secure }),
            secure_port: Some(Port { number: if secure { self.port } else { 443 }, enabled: secure }),
            country_id: 1,
            data_center_info: Some(DataCenter::default()),
            lease_info: Lease {
                renewal_interval_in_secs: seconds(self.renew_seconds),
                duration_in_secs: seconds(self.lease_seconds),
                ..Lease::default()
            },
            metadata,
            home_page_url: Some(format!("{base}/")),
            status_page_url: Some(format!("{base}/actuator/info")),
            health_check_url: Some(format!("{base}/actuator/health")),
            secure_health_check_url: secure.then(|| format!("{base}/actuator/health")),
            vip_address: Some(name.clone()),
            secure_vip_address: Some(name),
            last_updated_timestamp: now,
            last_dirty_timestamp: now,
            ..Instance::default()
        }
    }
}

/// The body of `GET /apps` and `/apps/delta`.
#[derive(Deserialize)]
struct FetchResponse {
    applications: Applications,
}

/// Updates the view periodically until cancelled.
pub async fn refresh_periodically(servers: Arc<Servers>, view: Arc<RegistryView>, interval: Duration, stop: CancellationToken) {
    let mut full = true;
    let mut timer = RetryTimer::new("fetch", interval);
    while timer.wait(&stop).await {
        let fetched = fetch(&servers, &view, full).await;
        full = fetched.as_ref().is_err_and(|_| view.is_empty());
        timer.record(fetched);
    }
}

/// Fetches the delta; or everything, if `full` is set or the delta's hash does not match.
pub async fn fetch(servers: &Servers, view: &RegistryView, full: bool) -> Result<(), RegistryError> {
    if !full {
        let response = servers.call(Method::GET, "/apps/delta", None).await?;
        // Deltas may be disabled in the registry.
        if response.status == 200 && view.apply(response.json::<FetchResponse>()?.applications) {
            return Ok(());
        }
    }
    let response = servers.call(Method::GET, "/apps/", None).await?;
    if response.status != 200 {
        return Err(RegistryError::NotFetched { status: response.status });
    }
    view.replace(response.json::<FetchResponse>()?.applications);
    Ok(())
}

/// Renews the registrations of this process until it deregisters.
pub struct Registrations {
    stop: CancellationToken,
    workers: Vec<JoinHandle<()>>,
}

impl Registrations {
    /// Registers the instances and renews them. Must run on the actix system's main thread.
    pub fn start(servers: &Arc<Servers>, instances: Vec<Instance>, interval: Duration) -> Self {
        let stop = CancellationToken::new();
        let spawn = |instance| actix_web::rt::spawn(renew_periodically(servers.clone(), instance, interval, stop.clone()));
        let workers = instances.into_iter().map(spawn).collect();
        Self { stop, workers }
    }

    /// Deregisters all instances, so that peers stop calling this process. Returns false if the limit is exceeded.
    pub async fn deregister(self, limit: Duration) -> bool {
        self.stop.cancel();
        let done = tokio::time::timeout(limit, futures_util::future::join_all(self.workers)).await.is_ok();
        if !done {
            tracing::warn!("deregistration timed out; the lease will expire");
        }
        done
    }
}

/// Registers, renews, registers again if the registration has expired, and deregisters at the end.
async fn renew_periodically(servers: Arc<Servers>, instance: Instance, interval: Duration, stop: CancellationToken) {
    let mut registered = false;
    let mut timer = RetryTimer::new("registration", interval);
    while timer.wait(&stop).await {
        let renewal = async {
            if registered && renew(&servers, &instance).await? {
                return Ok(());
            }
            registered = false;
            register(&servers, &instance).await?;
            registered = true;
            Ok(())
        };
        // Not cancelled by `stop`: a registration must not arrive after the deregistration.
        timer.record(renewal.await);
    }
    let path = format!("/apps/{}/{}", instance.app, instance.instance_id);
    if let Err(cause) = servers.call(Method::DELETE, &path, None).await {
        tracing::warn!(%cause, app = instance.app, "deregistration failed; the lease will expire");
    }
}

async fn register(servers: &Servers, instance: &Instance) -> Result<(), RegistryError> {
    let response = servers.call(Method::POST, &format!("/apps/{}", instance.app), Some(&json!({ "instance": instance }))).await?;
    if response.status != 204 {
        let body = String::from_utf8_lossy(&response.body).into_owned();
        return Err(RegistryError::NotRegistered { status: response.status, body });
    }
    tracing::info!(app = instance.app, id = instance.instance_id, "registered");
    Ok(())
}

/// Returns false if the registry does not know the instance.
async fn renew(servers: &Servers, instance: &Instance) -> Result<bool, RegistryError> {
    let path = format!("/apps/{}/{}?status=UP&lastDirtyTimestamp={}", instance.app, instance.instance_id, instance.last_dirty_timestamp);
    match servers.call(Method::PUT, &path, None).await?.status {
        200 => Ok(true),
        404 => Ok(false),
        status => Err(RegistryError::NotRenewed { status }),
    }
}

/// Waits between two attempts, and logs when attempts start to fail and when they succeed again.
struct RetryTimer {
    operation: &'static str,
    interval: Duration,
    next: Duration,
    failing: bool,
}

impl RetryTimer {
    fn new(operation: &'static str, interval: Duration) -> Self {
        Self { operation, interval, next: Duration::ZERO, failing: false }
    }

    /// Returns false when cancelled.
    async fn wait(&self, stop: &CancellationToken) -> bool {
        tokio::select! {
            biased;
            () = stop.cancelled() => false,
            () = tokio::time::sleep(self.next) => true,
        }
    }

    fn record(&mut self, outcome: Result<(), RegistryError>) {
        match outcome {
            Ok(()) => {
                if self.failing {
                    tracing::info!(operation = self.operation, "registry reachable again");
                }
                (self.failing, self.next) = (false, self.interval);
            }
            Err(cause) => {
                if !self.failing {
                    tracing::warn!(%cause, operation = self.operation, "registry unavailable; known instances stay in use");
                    self.next = Duration::ZERO;
                }
                (self.failing, self.next) = (true, (self.next * 2).max(INITIAL_BACKOFF).min(self.interval.max(INITIAL_BACKOFF)));
            }
        }
    }
}
