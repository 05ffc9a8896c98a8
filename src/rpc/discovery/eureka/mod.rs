//! A client of any Eureka server, ours or the real one: keeps this process's modules registered there
//! and knows whom else there is.
//!
//! A registry that is away changes nothing for calls under way: the last known instances stay in use,
//! and both workers ask again with back-off until it is back. Source of the rules: Netflix/eureka
//! `DiscoveryClient` (register, renew every few seconds, register again on a 404, fetch by delta with a
//! hash over the result).

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
use view::View;

/// First pause after a failure; it doubles up to the usual interval.
const BACKOFF: Duration = Duration::from_millis(250);

/// Where one module of this process answers.
pub struct InstanceInfo<'a> {
    /// `PRODUCT-SERVICE`.
    pub app: &'a str,
    /// The name or address under which others reach this machine.
    pub host: &'a str,
    /// Its address.
    pub ip: &'a str,
    /// The port.
    pub port: u16,
    /// What it speaks there: `http` or `https`.
    pub scheme: &'a str,
    /// The build's version: callers of the same one come here first.
    pub version: &'a str,
    /// The zone, where there are any.
    pub zone: Option<&'a str>,
    /// Seconds between renewals.
    pub renew_seconds: u64,
    /// Seconds after the last renewal for which the registration holds.
    pub lease_seconds: u64,
}

impl InstanceInfo<'_> {
    /// What is registered. `now` tells one start of the process from the next.
    pub fn instance(&self, now: i64) -> Instance {
        let shown = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.to_string() };
        let base = format!("{}://{shown}:{}", self.scheme, self.port);
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
            // as a Spring service with `secure-port: ${server.port}` has them
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
struct Fetched {
    applications: Applications,
}

/// Keeps the view up to date until it is told to stop.
pub async fn keep_fetched(servers: Arc<Servers>, view: Arc<View>, every: Duration, stop: CancellationToken) {
    let mut whole = true;
    let mut pause = Pause::new("fetch", every);
    while pause.wait(&stop).await {
        let fetched = fetch(&servers, &view, whole).await;
        whole = fetched.as_ref().is_err_and(|_| view.is_empty());
        pause.after(fetched);
    }
}

/// One fetch: the changes, or all where there is nothing yet or the changes do not add up.
pub async fn fetch(servers: &Servers, view: &View, whole: bool) -> Result<(), RegistryError> {
    if !whole {
        let answer = servers.call(Method::GET, "/apps/delta", None).await?;
        // a registry may have its deltas switched off
        if answer.status == 200 && view.apply(answer.json::<Fetched>()?.applications) {
            return Ok(());
        }
    }
    let answer = servers.call(Method::GET, "/apps/", None).await?;
    if answer.status != 200 {
        return Err(RegistryError::NotFetched { status: answer.status });
    }
    view.replace(answer.json::<Fetched>()?.applications);
    Ok(())
}

/// Registrations that are kept until they are taken back.
pub struct Registrations {
    leave: CancellationToken,
    kept: Vec<JoinHandle<()>>,
}

impl Registrations {
    /// Registers these instances and keeps them so. Must run on the system's main thread.
    pub fn start(servers: &Arc<Servers>, instances: Vec<Instance>, every: Duration) -> Self {
        let leave = CancellationToken::new();
        let keep = |instance| actix_web::rt::spawn(keep_registered(servers.clone(), instance, every, leave.clone()));
        let kept = instances.into_iter().map(keep).collect();
        Self { leave, kept }
    }

    /// Deregisters all of them, so that no peer calls this process any more. Returns false where it gave up at the limit.
    pub async fn leave(self, limit: Duration) -> bool {
        self.leave.cancel();
        let done = tokio::time::timeout(limit, futures_util::future::join_all(self.kept)).await.is_ok();
        if !done {
            tracing::warn!("the registry did not hear us leave; our lease there will end by itself");
        }
        done
    }
}

/// Registers, renews, registers again where the registry has forgotten us, and deregisters at the end.
async fn keep_registered(servers: Arc<Servers>, instance: Instance, every: Duration, leave: CancellationToken) {
    let mut registered = false;
    let mut pause = Pause::new("registration", every);
    while pause.wait(&leave).await {
        let kept = async {
            if registered && renew(&servers, &instance).await? {
                return Ok(());
            }
            registered = false;
            register(&servers, &instance).await?;
            registered = true;
            Ok(())
        };
        // not cut short when we are told to leave: a registration must not arrive after the leaving
        pause.after(kept.await);
    }
    let path = format!("/apps/{}/{}", instance.app, instance.instance_id);
    if let Err(cause) = servers.call(Method::DELETE, &path, None).await {
        tracing::warn!(%cause, app = instance.app, "could not deregister; the lease will end by itself");
    }
}

async fn register(servers: &Servers, instance: &Instance) -> Result<(), RegistryError> {
    let answer = servers.call(Method::POST, &format!("/apps/{}", instance.app), Some(&json!({ "instance": instance }))).await?;
    if answer.status != 204 {
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        return Err(RegistryError::NotRegistered { status: answer.status, body });
    }
    tracing::info!(app = instance.app, id = instance.instance_id, "registered");
    Ok(())
}

/// False where the registry does not know us.
async fn renew(servers: &Servers, instance: &Instance) -> Result<bool, RegistryError> {
    let path = format!("/apps/{}/{}?status=UP&lastDirtyTimestamp={}", instance.app, instance.instance_id, instance.last_dirty_timestamp);
    match servers.call(Method::PUT, &path, None).await?.status {
        200 => Ok(true),
        404 => Ok(false),
        status => Err(RegistryError::NotRenewed { status }),
    }
}

/// The time between two attempts, and one line in the log when things turn bad or good.
struct Pause {
    what: &'static str,
    every: Duration,
    next: Duration,
    failing: bool,
}

impl Pause {
    fn new(what: &'static str, every: Duration) -> Self {
        Self { what, every, next: Duration::ZERO, failing: false }
    }

    /// False once told to stop.
    async fn wait(&self, stop: &CancellationToken) -> bool {
        tokio::select! {
            biased;
            () = stop.cancelled() => false,
            () = tokio::time::sleep(self.next) => true,
        }
    }

    fn after(&mut self, outcome: Result<(), RegistryError>) {
        match outcome {
            Ok(()) => {
                if self.failing {
                    tracing::info!(what = self.what, "the registry is back");
                }
                (self.failing, self.next) = (false, self.every);
            }
            Err(cause) => {
                if !self.failing {
                    tracing::warn!(%cause, what = self.what, "the registry is away; what is known stays in use");
                    self.next = Duration::ZERO;
                }
                (self.failing, self.next) = (true, (self.next * 2).max(BACKOFF).min(self.every.max(BACKOFF)));
            }
        }
    }
}
