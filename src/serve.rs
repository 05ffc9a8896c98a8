//! A process from its start to its end: listen, build, answer, drain, stop.

use crate::config::{Loaded, LogFormat, Settings};
use crate::platform::actuator::{self, Actuator};
use crate::platform::docs;
use crate::platform::host::{Host, StartError};
use crate::platform::telemetry;
use crate::platform::web::{self, Edge};
use crate::wiring;
use actix_web::dev::{ServerHandle, Service};
use actix_web::{App, HttpServer};
use actix_web_prom::PrometheusMetricsBuilder;
use std::net::{SocketAddr, TcpListener};
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
    draining: CancellationToken,
    stop: CancellationToken,
    workers: Vec<(&'static str, JoinHandle<()>)>,
    limit: Duration,
}

/// Reserves the address, builds the modules and starts to answer.
///
/// Must run inside an actix system, on which the workers stay. The port is bound before anything is
/// built, so that a free one can be asked for (port 0) and a taken one is told at once.
pub async fn start(loaded: Loaded) -> Result<Running, StartError> {
    let settings = Arc::new(loaded.settings.clone());
    let chosen = wiring::select(&settings)?;
    let server = &settings.server;
    let listener = TcpListener::bind((server.host.as_str(), server.port))
        .map_err(|e| StartError(format!("cannot listen on {}:{}: {e}; choose another with --port", server.host, server.port)))?;
    let address = listener.local_addr().map_err(|e| StartError(e.to_string()))?;
    let public_url = server.public_url.clone().unwrap_or_else(|| format!("http://{}", named(&server.host, address)));
    let host = host(settings.clone(), public_url.clone())?;
    let (bus, metrics, draining) = (host.bus.clone(), host.metrics.clone(), host.draining.clone());
    let shop = wiring::build(&host, chosen, format!("http://{}", reachable(address)))?;

    let names: Vec<_> = shop.modules.iter().map(|m| m.name()).collect();
    let mut endpoints = shop.parts.endpoints;
    endpoints.extend(docs::endpoints(&wiring::openapi(&shop.modules, "/")));
    endpoints.extend(actuator::endpoints(Actuator { loaded, modules: names.clone(), checks: shop.parts.checks, bus: bus.clone() }));
    let edge = Edge {
        authenticator: shop.authenticator,
        body_limit: server.body_limit,
        timeout: Duration::from_secs(server.request_seconds),
        origins: server.origins.clone(),
    };
    let limit = Duration::from_secs(server.shutdown_seconds);
    let http = listen(listener, endpoints, Arc::new(edge), metrics, server.workers, limit)?;
    let handle = http.handle();
    actix_web::rt::spawn(http);

    let stop = CancellationToken::new();
    let mut workers = Vec::new();
    for (name, worker) in shop.parts.workers {
        workers.push((name, actix_web::rt::spawn(worker(stop.clone()))));
    }
    for consumer in shop.parts.consumers {
        let (bus, stop) = (bus.clone(), stop.clone());
        let name = consumer.group();
        workers.push((name, actix_web::rt::spawn(async move { bus.consume(consumer, stop).await })));
    }
    tracing::info!(modules = names.join(","), %address, "ready");
    Ok(Running { address, public_url, demo_users: shop.demo_users, modules: names, server: handle, draining, stop, workers, limit })
}

fn host(settings: Arc<Settings>, public_url: String) -> Result<Host, StartError> {
    make_private(&settings.data.dir)?;
    let bus = wiring::bus(&settings)?;
    Ok(Host { settings, public_url, bus, metrics: prometheus::Registry::new(), draining: CancellationToken::new() })
}

/// Brings every store of the chosen modules up to date without serving; answers the modules' names.
pub fn prepare(loaded: Loaded) -> Result<Vec<&'static str>, StartError> {
    let settings = Arc::new(loaded.settings);
    let chosen = wiring::select(&settings)?;
    let names = chosen.iter().map(|m| m.name()).collect();
    wiring::build(&host(settings, "http://127.0.0.1".into())?, chosen, String::new())?;
    Ok(names)
}

fn listen(
    listener: TcpListener,
    endpoints: Vec<crate::platform::contract::Endpoint>,
    edge: Arc<Edge>,
    metrics: prometheus::Registry,
    workers: usize,
    limit: Duration,
) -> Result<actix_web::dev::Server, StartError> {
    let requests = PrometheusMetricsBuilder::new("tradepost")
        .registry(metrics)
        .endpoint("/actuator/prometheus")
        .mask_unmatched_patterns("UNKNOWN")
        .build()
        .map_err(|e| StartError(format!("metrics: {e}")))?;
    let endpoints: Arc<[_]> = endpoints.into();
    let mut server = HttpServer::new(move || {
        let (endpoints, edge) = (endpoints.clone(), edge.clone());
        App::new()
            .wrap(requests.clone())
            .wrap_fn(|mut request, next| {
                web::bound_method(&mut request);
                next.call(request)
            })
            .configure(move |app| web::configure(app, &endpoints, &edge))
    })
    .disable_signals()
    .keep_alive(Duration::from_secs(75))
    .client_request_timeout(Duration::from_secs(10))
    .shutdown_timeout(limit.as_secs());
    if workers > 0 {
        server = server.workers(workers);
    }
    Ok(server.listen(listener).map_err(|e| StartError(format!("cannot listen: {e}")))?.run())
}

impl Running {
    /// Runs until SIGTERM or SIGINT, then stops in order.
    pub async fn until_told(self) {
        use tokio::signal::unix::{SignalKind, signal};
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(mut terminate), Ok(mut interrupt)) => {
                tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
            }
            (Err(cause), _) | (_, Err(cause)) => tracing::error!(%cause, "signals cannot be heard"),
        }
        self.stop().await;
    }

    /// Stops accepting, finishes requests under way, then lets every worker finish, within the limit.
    pub async fn stop(self) {
        tracing::info!("stopping");
        self.draining.cancel();
        self.server.stop(true).await;
        self.stop.cancel();
        let deadline = tokio::time::Instant::now() + self.limit;
        for (name, worker) in self.workers {
            if tokio::time::timeout_at(deadline, worker).await.is_err() {
                tracing::warn!(worker = name, "did not finish in time; what it left is taken up at the next start");
            }
        }
        tracing::info!("stopped");
    }
}

/// Starts the log by settings.
pub fn start_log(loaded: &Loaded) -> Result<(), StartError> {
    let json = match loaded.settings.log.format {
        LogFormat::Auto => None,
        LogFormat::Human => Some(false),
        LogFormat::Json => Some(true),
    };
    telemetry::start(&loaded.settings.log.level, json).map_err(StartError)
}

/// The data folder is the shop's alone: it holds customers' data and the issuer's keys.
fn make_private(dir: &std::path::Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| StartError(format!("data.dir: cannot create {}: {e}; choose another with --data", dir.display())))
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
