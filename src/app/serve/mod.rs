//! Life of a process: bind, build, serve, drain, stop.

mod error;

#[cfg(feature = "sqlite")]
use crate::app::databases;
use crate::app::wiring;
use crate::app::wiring::Shop;
use crate::config::Loaded;
use crate::edge::auth::operator::Operator;
use crate::edge::listen::{Protocols, listen};
use crate::edge::web::Edge;
use crate::events::bus;
use crate::kernel::build;
use crate::kernel::clock;
use crate::kernel::error::StartError;
use crate::kernel::files;
use crate::kernel::module;
use crate::kernel::module::Module;
use crate::net::server_list::Servers;
use crate::net::tls;
use crate::observe::log;
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
use crate::rpc::discovery::eureka::view::RegistryView;
use crate::rpc::discovery::eureka::{InstanceInfo, Registrations};
use crate::runtime::{Host, Parts, RunningServices, Service};
use crate::settings::{LogFormat, Settings};
use actix_web::dev::ServerHandle;
use error::ServeError;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A process that serves.
pub struct Running {
    pub address: SocketAddr,
    /// The base URL at which clients reach it.
    pub public_url: String,
    /// Users of the built-in issuer that the start screen shows, with their roles.
    pub demo_users: Vec<(String, String)>,
    /// Names of the modules that run here.
    pub modules: Vec<&'static str>,
    server: ServerHandle,
    services: RunningServices,
    registrations: Option<Registrations>,
    exports: Exports,
    /// Cancelled when the process begins to stop: readiness turns to 503.
    shutting_down: CancellationToken,
    /// Cancelled when the process accepts no more requests.
    draining: CancellationToken,
    shutdown_delay: Duration,
    shutdown_limit: Duration,
    exit_on_stdin_eof: bool,
}

/// Limit for deregistration from the registry, which takes milliseconds.
const DEREGISTRATION_LIMIT: Duration = Duration::from_secs(2);
/// Limit for the first fetch from the registry.
const FIRST_FETCH_LIMIT: Duration = Duration::from_secs(2);

/// Binds the port, builds the modules and starts to serve.
///
/// Must run inside an actix system, on which the services stay. The port is bound before the modules are built: port 0
/// takes a free one, and a port in use is reported at once.
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
    let public_url =
        server.public_url.clone().unwrap_or_else(|| format!("{}://{}", server.scheme(), public_address(&server.host, address)));
    let (host, databases) = host(settings.clone(), public_url.clone(), &chosen)?;
    let exports = trace::export::start(&settings.telemetry, &module::service_name(&chosen), &host.metrics)?;
    let mut shop = wiring::build(&host, chosen.clone(), format!("{}://{}", server.scheme(), local_address(address)))?;
    let shutting_down = CancellationToken::new();
    shop.parts.services.extend(databases);

    let config = Arc::new(ActiveConfig::new(loaded, std::mem::take(&mut shop.parts.reloadable))?);
    if !tls.reloader.is_empty() {
        shop.parts.worker("certificates", move |stop| tls.reloader.reload_periodically(stop));
    }
    if settings.vault.url.is_some() {
        let (every, config) = (Duration::from_secs(settings.vault.refresh_seconds), config.clone());
        let signals = std::mem::take(&mut shop.parts.auth_failure_signals);
        shop.parts.worker("secrets", move |stop| refresh::refresh_secrets_periodically(config, every, signals, stop));
    }
    add_event_services(&host, &mut shop.parts)?;
    add_operator_endpoints(&host, &mut shop, config, &exports, &shutting_down);
    let operator = Operator::new(&settings.actuator)?;
    metrics::process(&host.metrics)?;
    if let Some(bus) = &host.bus {
        bus.register_metrics(&host.metrics)?;
    }
    if let Some((servers, view)) = &shop.registries {
        fetch_instances(servers, view).await;
    }
    let protocol = match tls.inbound {
        Some(config) => Protocols::Tls(config),
        None if shop.gateway.is_some() && settings.gateway.http2 => Protocols::Http1OrH2c,
        None => Protocols::Plain,
    };
    let edge = Edge {
        authenticator: shop.authenticator,
        operator,
        exchanges: shop.exchanges,
        body_limit: server.body_limit,
        timeout: Duration::from_secs(server.request_seconds),
        origins: server.origins.clone(),
        gateway: shop.gateway,
        shutting_down: shutting_down.clone(),
    };
    let shutdown_limit = Duration::from_secs(server.shutdown_seconds);
    let http = listen(listener, protocol, shop.parts.endpoints, Arc::new(edge), host.metrics, server.workers, shutdown_limit)?;
    let handle = http.handle();
    actix_web::rt::spawn(http);
    let services = shop.parts.services.start();
    // last, because clients call a registered instance at once
    let registrations = shop.registries.and_then(|(servers, _)| register(&settings, servers, &chosen, address));
    let modules: Vec<_> = chosen.iter().map(|module| module.name()).collect();
    tracing::info!(modules = modules.join(","), %address, "ready");
    Ok(Running {
        address,
        public_url,
        demo_users: shop.demo_users,
        modules,
        server: handle,
        services,
        registrations,
        exports,
        shutting_down,
        draining: host.draining,
        shutdown_delay: Duration::from_secs(server.shutdown_delay_seconds),
        shutdown_limit,
        exit_on_stdin_eof: server.exit_on_stdin_eof,
    })
}

/// Adds a service for each consumer, and the metrics of consumers and outboxes.
fn add_event_services(host: &Host, parts: &mut Parts) -> Result<(), StartError> {
    let gauges = Rc::new(bus::BusMetrics::new(&host.metrics)?);
    for outbox in parts.outboxes.clone() {
        let gauges = gauges.clone();
        parts.worker("outbox-gauges", move |stop| async move { gauges.watch_outbox(outbox, stop).await });
    }
    for consumer in std::mem::take(&mut parts.consumers) {
        let (bus, gauges, group) = (host.bus()?, gauges.clone(), consumer.group());
        let measured = bus.clone();
        parts.worker("bus-gauges", move |stop| async move { gauges.watch_group(measured, group, stop).await });
        parts.worker(group, move |stop| async move { bus.consume(consumer, stop).await });
    }
    Ok(())
}

/// Adds console, API documents and actuator. The actuator comes last: it lists the endpoints and checks of all others.
fn add_operator_endpoints(host: &Host, shop: &mut Shop, config: Arc<ActiveConfig>, exports: &Exports, shutting_down: &CancellationToken) {
    let (settings, chosen) = (&host.settings, &shop.modules);
    let endpoints = &mut shop.parts.endpoints;
    endpoints.extend(console::endpoints(exports, &shop.authenticator));
    endpoints.extend(docs::endpoints(&wiring::openapi(&documented(chosen), "/")));
    endpoints.extend(actuator::endpoints(Actuator {
        settings: config,
        modules: chosen.iter().map(|module| module.name()).collect(),
        checks: shop.parts.services.health_checks(),
        bus: host.bus.clone(),
        outboxes: shop.parts.outboxes.clone(),
        metrics: host.metrics.clone(),
        exchanges: shop.exchanges.clone(),
        folder: chosen.iter().any(|module| keeps_files(*module, settings)).then(|| settings.data.dir.clone()),
        shutting_down: shutting_down.clone(),
        served: endpoints.iter().map(|endpoint| endpoint.operation.clone()).collect(),
    }));
}

/// Fetches the known instances before the first request arrives, which would find none otherwise. Gives up soon if
/// the registry is down.
async fn fetch_instances(servers: &Servers, view: &RegistryView) {
    match tokio::time::timeout(FIRST_FETCH_LIMIT, eureka::fetch(servers, view, true)).await {
        Ok(Ok(())) => {}
        Ok(Err(cause)) => tracing::warn!(%cause, "the registry is down at the start; the process fetches from it again"),
        Err(_) => tracing::warn!("the registry does not respond at the start; the process fetches from it again"),
    }
}

/// Registers the modules of this process, except in the single-process shop: no other process looks for its modules.
fn register(settings: &Settings, servers: Arc<Servers>, chosen: &[Module], address: SocketAddr) -> Option<Registrations> {
    if settings.server.modules.is_empty() && chosen.len() == Module::ALL.len() {
        return None;
    }
    let registry = &settings.registry;
    let own = if address.ip().is_unspecified() { source_address(&servers).unwrap_or(address.ip()) } else { address.ip() };
    let named = match settings.server.host.as_str() {
        "0.0.0.0" | "::" | "[::]" => own.to_string(),
        name => name.to_string(),
    };
    let (host, ip) = (registry.host.clone().unwrap_or(named), own.to_string());
    let info = |module: &Module| InstanceInfo {
        app: module.application_name(),
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
    let instances = chosen.iter().filter(|module| **module != Module::Registry).map(|module| info(module).instance(now));
    Some(Registrations::start(&servers, instances.collect(), Duration::from_secs(registry.renew_seconds)))
}

/// The own address from which a registry is reached. Connecting a UDP socket sends nothing.
fn source_address(servers: &Servers) -> Option<std::net::IpAddr> {
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

/// What the modules get, and the service of the embedded stores, if the process has any.
fn host(settings: Arc<Settings>, public_url: String, chosen: &[Module]) -> Result<(Host, Option<Service>), StartError> {
    if chosen.iter().any(|module| keeps_files(*module, &settings)) {
        make_private(&settings.data.dir)?;
        files::reject_unfinished_restore(&settings.data.dir)?;
    }
    #[cfg(feature = "sqlite")]
    let databases = databases::open(&settings, chosen)?;
    #[cfg(not(feature = "sqlite"))]
    let databases = None;
    let bus = if chosen.iter().any(|module| module.has_events()) { Some(wiring::bus(&settings)?) } else { None };
    let host = Host { settings, public_url, bus, metrics: prometheus::Registry::new(), draining: CancellationToken::new() };
    Ok((host, databases))
}

/// Migrates every store of the chosen modules without serving. Returns the modules' names.
pub fn prepare(loaded: Loaded) -> Result<Vec<&'static str>, StartError> {
    let mut settings = loaded.settings;
    settings.mysql.migrate = true;
    settings.mongodb.migrate = true;
    let settings = Arc::new(settings);
    let chosen = wiring::select(&settings)?;
    let names = chosen.iter().map(|m| m.name()).collect();
    let (host, _databases) = host(settings, "http://127.0.0.1".into(), &chosen)?;
    wiring::build(&host, chosen, String::new())?;
    Ok(names)
}

impl Running {
    /// Serves until `signal` resolves, or the standard input ends if settings say so. Then stops in order.
    pub async fn until(self, signal: impl Future<Output = ()>) {
        tokio::select! { () = signal => {} () = self.stdin_eof() => {} }
        self.stop().await;
    }

    /// Resolves when the standard input ends, if settings say so; never otherwise.
    async fn stdin_eof(&self) {
        if !self.exit_on_stdin_eof {
            return std::future::pending().await;
        }
        let (closed, wait) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            let _ = closed.send(());
        });
        let _ = wait.await;
    }

    /// Deregisters, waits for the shutdown delay, finishes the requests in progress, then stops the services within the
    /// limit.
    ///
    /// The delay is for callers that have not yet fetched the deregistration, and for connections: a client that sends on
    /// a connection while the server closes it cannot know whether the request was processed. During the delay each
    /// response closes its connection, and callers close their idle ones, because their own limit (for our clients:
    /// [`crate::net::http::IDLE`]) is shorter.
    pub async fn stop(self) {
        tracing::info!("stopping");
        // a second signal ends the delay
        let second_signal = (!self.shutdown_delay.is_zero()).then(stop_signal);
        self.shutting_down.cancel();
        let delay_ends = tokio::time::Instant::now() + self.shutdown_delay;
        if let Some(registrations) = self.registrations {
            registrations.deregister(DEREGISTRATION_LIMIT).await;
        }
        if let Some(signal) = second_signal {
            tokio::select! { () = tokio::time::sleep_until(delay_ends) => {} () = signal => {} }
        }
        self.draining.cancel();
        self.server.stop(true).await;
        self.services.stop(self.shutdown_limit).await;
        self.exports.finish().await;
        tracing::info!("stopped");
    }
}

/// Resolves at SIGTERM or SIGINT. The handlers are installed by the call, not by the first poll: a signal during the
/// start is not lost.
pub fn stop_signal() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        match signals {
            (Ok(mut terminate), Ok(mut interrupt)) => {
                tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
            }
            (Err(cause), _) | (_, Err(cause)) => tracing::error!(%cause, "cannot install signal handlers"),
        }
    }
}

/// Modules in the OpenAPI document. The gateway is the front door of all modules, so it documents all.
fn documented(modules: &[Module]) -> Vec<Module> {
    if modules.contains(&Module::Gateway) { Module::ALL.to_vec() } else { modules.to_vec() }
}

/// Starts the log.
pub fn start_log(loaded: &Loaded) -> Result<(), StartError> {
    let json = match loaded.settings.log.format {
        LogFormat::Auto => None,
        LogFormat::Human => Some(false),
        LogFormat::Json => Some(true),
    };
    Ok(log::start(&loaded.settings.log.level, json)?)
}

/// Whether a module keeps files in the data folder. A process whose modules keep none runs on a read-only file system.
fn keeps_files(module: Module, settings: &Settings) -> bool {
    match module {
        Module::Gateway => false,
        Module::Registry => settings.registry.password.is_none(),
        _ => true,
    }
}

/// Creates the data folder, readable for its owner only: it holds customers' data and the issuer's keys.
fn make_private(dir: &std::path::Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    Ok(made.map_err(|cause| ServeError::DataFolder { path: dir.into(), cause })?)
}

/// The configured host name with the bound port.
fn public_address(host: &str, address: SocketAddr) -> String {
    match host {
        "0.0.0.0" | "::" => local_address(address),
        name => format!("{name}:{}", address.port()),
    }
}

/// An address at which this machine reaches the process.
fn local_address(address: SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("127.0.0.1:{}", address.port()) } else { address.to_string() }
}
