//! A process from its start to its end: listen, build, answer, drain, stop.

mod error;

use crate::app::wiring;
use crate::config::Loaded;
use crate::edge::auth::operator::Operator;
use crate::edge::exchanges::Exchanges;
use crate::edge::listen::{Speaks, listen};
use crate::edge::web::Edge;
use crate::events::bus;
use crate::kernel::build;
use crate::kernel::clock;
use crate::kernel::error::StartError;
use crate::kernel::files;
use crate::kernel::module as modules;
use crate::kernel::module::Module;
use crate::net::server_list::Servers;
use crate::net::tls;
use crate::observe::log as telemetry;
use crate::observe::metrics;
use crate::observe::trace;
use crate::observe::trace::export::Exports;
use crate::ops::actuator;
use crate::ops::actuator::Actuator;
use crate::ops::console;
use crate::ops::docs;
use crate::ops::refresh;
use crate::ops::refresh::ActiveConfig;
use crate::rpc::discovery::eureka;
use crate::rpc::discovery::eureka::view::View;
use crate::rpc::discovery::eureka::{InstanceInfo, Registrations};
use crate::runtime::host::Host;
use crate::settings::{LogFormat, Settings};
use actix_web::dev::ServerHandle;
use error::ServeError;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A shop that answers.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// How clients reach it.
    pub public_url: String,
    /// Users of the built-in issuer that are announced, with their roles.
    pub demo_users: Vec<(String, String)>,
    /// Names of the modules that run here.
    pub modules: Vec<&'static str>,
    server: ServerHandle,
    leaving: CancellationToken,
    linger: Duration,
    draining: CancellationToken,
    stop: CancellationToken,
    workers: Vec<(&'static str, JoinHandle<()>)>,
    registrations: Option<Registrations>,
    limit: Duration,
    until_input_closes: bool,
    exports: Exports,
}

/// Saying goodbye to the registry takes milliseconds; one that is away is not waited for longer.
const GOODBYE: Duration = Duration::from_secs(2);
/// So is asking it who is there.
const MEET: Duration = Duration::from_secs(2);

/// Reserves the address, builds the modules and starts to answer.
///
/// Must run inside an actix system, on which the workers stay. The port is bound before anything is
/// built, so that a free one can be asked for (port 0) and a taken one is told at once.
pub async fn start(loaded: Loaded) -> Result<Running, StartError> {
    let chosen = wiring::select(&loaded.settings)?;
    trace::set(&loaded.settings.telemetry)?;
    let settings = Arc::new(loaded.settings.clone());
    let server = &settings.server;
    let tls = tls::start(&settings)?;
    let listener = TcpListener::bind((server.host.as_str(), server.port)).map_err(|cause| ServeError::Bind {
        host: server.host.clone(),
        port: server.port,
        cause,
    })?;
    let address = listener.local_addr().map_err(ServeError::Address)?;
    let public_url = server.public_url.clone().unwrap_or_else(|| format!("{}://{}", server.scheme(), named(&server.host, address)));
    let host = host(settings.clone(), public_url.clone(), &chosen)?;
    let exports = trace::export::start(&settings.telemetry, &modules::service(&chosen), &host.metrics)?;
    let (registry, draining) = (host.metrics.clone(), host.draining.clone());
    let shop = wiring::build(&host, chosen.clone(), format!("{}://{}", server.scheme(), reachable(address)))?;

    let names: Vec<_> = shop.modules.iter().map(|m| m.name()).collect();
    let mut endpoints = shop.parts.endpoints;
    endpoints.extend(console::endpoints(&exports, &shop.authenticator));
    endpoints.extend(docs::endpoints(&wiring::openapi(&documented(&shop.modules), "/")));
    let in_force = Arc::new(ActiveConfig::new(loaded, shop.parts.reloadable)?);
    let (checks, outboxes, bus) = (shop.parts.checks, shop.parts.outboxes, host.bus.clone());
    let exchanges = Arc::new(Exchanges::default());
    let leaving = CancellationToken::new();
    endpoints.extend(actuator::endpoints(Actuator {
        settings: in_force.clone(),
        modules: names.clone(),
        checks,
        bus,
        outboxes: outboxes.clone(),
        metrics: registry.clone(),
        exchanges: exchanges.clone(),
        folder: chosen.iter().any(|module| keeps_files(*module, &settings)).then(|| settings.data.dir.clone()),
        leaving: leaving.clone(),
        served: endpoints.iter().map(|endpoint| endpoint.operation.clone()).collect(),
    }));
    let edge = Edge {
        authenticator: shop.authenticator,
        operator: Operator::new(&settings.actuator)?,
        exchanges,
        body_limit: server.body_limit,
        timeout: Duration::from_secs(server.request_seconds),
        origins: server.origins.clone(),
        door: shop.door,
        leaving: leaving.clone(),
    };
    let limit = Duration::from_secs(server.shutdown_seconds);
    if let Some((servers, view)) = &shop.registries {
        meet(servers, view).await;
    }
    let speaks = match tls.inbound {
        Some(config) => Speaks::Tls(config),
        None if edge.door.is_some() && settings.gateway.http2 => Speaks::PlainOrH2c,
        None => Speaks::Plain,
    };
    metrics::process(&registry)?;
    if let Some(bus) = &host.bus {
        bus.measured(&registry)?;
    }
    let gauges = Rc::new(bus::Gauges::new(&registry)?);
    let http = listen(listener, speaks, endpoints, Arc::new(edge), registry, server.workers, limit)?;
    let handle = http.handle();
    actix_web::rt::spawn(http);

    let stop = CancellationToken::new();
    let mut workers = Vec::new();
    if !tls.renewals.is_empty() {
        workers.push(("certificates", actix_web::rt::spawn(tls.renewals.look_after(stop.clone()))));
    }
    for (name, worker) in shop.parts.workers {
        workers.push((name, actix_web::rt::spawn(worker(stop.clone()))));
    }
    if settings.vault.url.is_some() {
        let every = Duration::from_secs(settings.vault.refresh_seconds);
        let kept = refresh::keep_secrets(in_force, every, shop.parts.auth_failure_signals, stop.clone());
        workers.push(("secrets", actix_web::rt::spawn(kept)));
    }
    for outbox in outboxes {
        let (gauges, until) = (gauges.clone(), stop.clone());
        workers.push(("outbox-gauges", actix_web::rt::spawn(async move { gauges.watch_outbox(outbox, until).await })));
    }
    for consumer in shop.parts.consumers {
        let (bus, stop) = (host.bus()?, stop.clone());
        let name = consumer.group();
        let (gauges, shown, until) = (gauges.clone(), bus.clone(), stop.clone());
        workers.push(("bus-gauges", actix_web::rt::spawn(async move { gauges.watch_group(shown, name, until).await })));
        workers.push((name, actix_web::rt::spawn(async move { bus.consume(consumer, stop).await })));
    }
    // last of all: who is found there is called at once
    let registrations = shop.registries.and_then(|(servers, _)| register(&settings, servers, &chosen, address));
    tracing::info!(modules = names.join(","), %address, "ready");
    Ok(Running {
        address,
        public_url,
        demo_users: shop.demo_users,
        modules: names,
        server: handle,
        leaving,
        linger: Duration::from_secs(server.linger_seconds),
        draining,
        stop,
        workers,
        registrations,
        limit,
        until_input_closes: server.until_input_closes,
        exports,
    })
}

/// Looks up who is there before anybody is let in: a first request would find its way to nobody. A registry
/// that is away holds nothing up for long.
async fn meet(servers: &Servers, view: &View) {
    match tokio::time::timeout(MEET, eureka::fetch(servers, view, true)).await {
        Ok(Ok(())) => {}
        Ok(Err(cause)) => tracing::warn!(%cause, "the registry is away at the start; it is asked again"),
        Err(_) => tracing::warn!("the registry does not answer at the start; it is asked again"),
    }
}

/// Registers the modules of a process that is a part; one that runs all, untold, is looked for by nobody.
fn register(settings: &Settings, servers: Arc<Servers>, chosen: &[Module], address: SocketAddr) -> Option<Registrations> {
    if settings.server.modules.is_empty() && chosen.len() == Module::ALL.len() {
        return None;
    }
    let registry = &settings.registry;
    let ours = if address.ip().is_unspecified() { towards(&servers).unwrap_or(address.ip()) } else { address.ip() };
    let named = match settings.server.host.as_str() {
        "0.0.0.0" | "::" | "[::]" => ours.to_string(),
        name => name.to_string(),
    };
    let (host, ip) = (registry.host.clone().unwrap_or(named), ours.to_string());
    let offer = |module: &Module| InstanceInfo {
        app: module.application(),
        host: &host,
        ip: &ip,
        port: address.port(),
        scheme: settings.server.scheme(),
        version: build::VERSION,
        zone: registry.zone.as_deref(),
        renew_seconds: registry.renew_seconds,
        lease_seconds: registry.lease_seconds,
    };
    let now = clock::now_ms();
    let instances = chosen.iter().filter(|module| **module != Module::Registry).map(|module| offer(module).instance(now));
    Some(Registrations::start(&servers, instances.collect(), Duration::from_secs(registry.renew_seconds)))
}

/// The address of ours from which a registry is reached: nothing is sent to learn it.
fn towards(servers: &Servers) -> Option<std::net::IpAddr> {
    let address = servers.addresses().next()?.split_once("://")?.1.split('/').next()?;
    let target = if address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        address.to_string()
    } else {
        format!("{address}:80")
    };
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect(target).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn host(settings: Arc<Settings>, public_url: String, chosen: &[Module]) -> Result<Host, StartError> {
    if chosen.iter().any(|module| keeps_files(*module, &settings)) {
        make_private(&settings.data.dir)?;
        files::whole(&settings.data.dir)?;
    }
    let bus = if chosen.iter().any(|module| module.has_events()) { Some(wiring::bus(&settings)?) } else { None };
    Ok(Host { settings, public_url, bus, metrics: prometheus::Registry::new(), draining: CancellationToken::new() })
}

/// Brings every store of the chosen modules up to date without serving; answers the modules' names.
pub fn prepare(loaded: Loaded) -> Result<Vec<&'static str>, StartError> {
    let mut settings = loaded.settings;
    settings.mysql.migrate = true;
    settings.mongodb.migrate = true;
    let settings = Arc::new(settings);
    let chosen = wiring::select(&settings)?;
    let names = chosen.iter().map(|m| m.name()).collect();
    wiring::build(&host(settings, "http://127.0.0.1".into(), &chosen)?, chosen, String::new())?;
    Ok(names)
}

impl Running {
    /// Runs until [`told_to_stop`] ends, then stops in order.
    pub async fn until(self, told: impl Future<Output = ()>) {
        tokio::select! { () = told => {} () = self.input_closed() => {} }
        self.stop().await;
    }

    /// Ends when the standard input does, where that is wanted; never otherwise.
    async fn input_closed(&self) {
        if !self.until_input_closes {
            return std::future::pending().await;
        }
        let (closed, wait) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            let _ = closed.send(());
        });
        let _ = wait.await;
    }

    /// Stops accepting, finishes requests under way, then lets every worker finish, within the limit.
    ///
    /// Before anything else it takes its registrations back: who asks the registry from here on is sent elsewhere. It lingers
    /// because word of that takes its time, and because a caller that sends on a connection that we are closing cannot
    /// know whether its request was taken: so each connection ends with an answer, and those that nobody uses are
    /// closed by then by callers whose own limit (ours: [`crate::net::http::IDLE`]) is shorter.
    pub async fn stop(self) {
        tracing::info!("stopping");
        // heard from here on: who says it twice does not want to wait
        let again = (!self.linger.is_zero()).then(told_to_stop);
        self.leaving.cancel();
        let lingers = tokio::time::Instant::now() + self.linger;
        if let Some(registrations) = self.registrations {
            registrations.leave(GOODBYE).await;
        }
        if let Some(again) = again {
            tokio::select! { () = tokio::time::sleep_until(lingers) => {} () = again => {} }
        }
        self.draining.cancel();
        self.server.stop(true).await;
        self.stop.cancel();
        let deadline = tokio::time::Instant::now() + self.limit;
        for (name, worker) in self.workers {
            if tokio::time::timeout_at(deadline, worker).await.is_err() {
                tracing::warn!(worker = name, "did not finish in time; what it left is taken up at the next start");
            }
        }
        self.exports.finish().await;
        tracing::info!("stopped");
    }
}

/// Ends with SIGTERM or SIGINT. They are heard from the call on, not from the first poll: one that comes
/// while the process starts stops it in order, too.
pub fn told_to_stop() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        match signals {
            (Ok(mut terminate), Ok(mut interrupt)) => {
                tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
            }
            (Err(cause), _) | (_, Err(cause)) => tracing::error!(%cause, "signals cannot be heard"),
        }
    }
}

/// The gateway is the front door of all: what it shows is the whole contract.
fn documented(modules: &[Module]) -> Vec<Module> {
    if modules.contains(&Module::Gateway) { Module::ALL.to_vec() } else { modules.to_vec() }
}

/// Starts the log by settings.
pub fn start_log(loaded: &Loaded) -> Result<(), StartError> {
    let json = match loaded.settings.log.format {
        LogFormat::Auto => None,
        LogFormat::Human => Some(false),
        LogFormat::Json => Some(true),
    };
    Ok(telemetry::start(&loaded.settings.log.level, json)?)
}

/// Whether it keeps anything in the data folder: who does not also runs where nothing can be written.
fn keeps_files(module: Module, settings: &Settings) -> bool {
    match module {
        Module::Gateway => false,
        Module::Registry => settings.registry.password.is_none(),
        _ => true,
    }
}

/// The data folder is the shop's alone: it holds customers' data and the issuer's keys.
fn make_private(dir: &std::path::Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    Ok(made.map_err(|cause| ServeError::DataFolder { path: dir.into(), cause })?)
}

/// The name that was configured, with the port that was bound.
fn named(host: &str, address: SocketAddr) -> String {
    match host {
        "0.0.0.0" | "::" => reachable(address),
        name => format!("{name}:{}", address.port()),
    }
}

/// An address of this machine itself.
fn reachable(address: SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("127.0.0.1:{}", address.port()) } else { address.to_string() }
}
