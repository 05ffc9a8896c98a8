//! The port: what it speaks, and what every request passes on its way to the edge.

use crate::edge::web;
use crate::edge::web::Edge;
use crate::kernel::error::{PartError, StartError};
use crate::net::tls::Inbound;
use crate::observe::metrics;
use actix_web::dev::Service;
use actix_web::{App, HttpServer};
use actix_web_prom::{ActixMetricsConfiguration, LabelsConfiguration, PrometheusMetricsBuilder};
use std::error::Error;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

/// Who connects and then says nothing is let go.
#[cfg(feature = "tls")]
const HANDSHAKE: Duration = Duration::from_secs(5);
/// TLS handshakes under way at once in each worker: those that hang must not keep others out before their time is up.
#[cfg(feature = "tls")]
const HANDSHAKES: usize = 4096;

/// Why the port cannot be served.
#[derive(Debug, thiserror::Error)]
enum ListenError {
    #[error("cannot listen: {0}")]
    Listen(#[source] io::Error),
    /// The middleware's error cannot leave the thread.
    #[error("metrics: {0}")]
    Metrics(#[source] Box<dyn Error + Send + Sync>),
}

impl PartError for ListenError {}

/// What the port understands.
pub enum Speaks {
    /// HTTP/1.1.
    Plain,
    /// That, and HTTP/2 from clients that begin with it.
    PlainOrH2c,
    /// TLS, with either in it.
    Tls(Inbound),
}

/// Serves these endpoints on this port, behind the edge.
pub fn listen(
    listener: TcpListener,
    speaks: Speaks,
    endpoints: Vec<crate::rpc::contract::Endpoint>,
    edge: Arc<Edge>,
    registry: prometheus::Registry,
    workers: usize,
    limit: Duration,
) -> Result<actix_web::dev::Server, StartError> {
    let labels = LabelsConfiguration::default().endpoint("uri");
    let names = ActixMetricsConfiguration::default()
        .labels(labels)
        .http_requests_total_name("http_server_requests_total")
        .http_requests_duration_seconds_name("http_server_requests_seconds");
    // a namespace of nothing: these are Spring's names
    let requests = PrometheusMetricsBuilder::new("")
        .registry(registry)
        .metrics_configuration(names)
        .buckets(&metrics::BUCKETS)
        .mask_unmatched_patterns("UNKNOWN")
        .build()
        .map_err(|cause| ListenError::Metrics(cause.to_string().into()))?;
    let endpoints: Arc<[_]> = endpoints.into();
    let mut server = HttpServer::new(move || {
        let (endpoints, edge, first) = (endpoints.clone(), edge.clone(), edge.clone());
        App::new()
            .wrap(requests.clone())
            .wrap_fn(move |mut request, next| {
                web::before(&mut request, &first);
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
    let listening = match speaks {
        Speaks::Plain => server.listen(listener),
        Speaks::PlainOrH2c => server.listen_auto_h2c(listener),
        #[cfg(feature = "tls")]
        Speaks::Tls(config) => {
            server.tls_handshake_timeout(HANDSHAKE).max_connection_rate(HANDSHAKES).listen_rustls_0_23(listener, *config)
        }
        #[cfg(not(feature = "tls"))]
        Speaks::Tls(never) => match never {},
    };
    Ok(listening.map_err(ListenError::Listen)?.run())
}
