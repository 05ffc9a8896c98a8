//! The HTTP listener: protocols, TLS handshake limits, and request metrics.

use crate::edge::web;
use crate::edge::web::Edge;
use crate::kernel::error::{ComponentError, StartError};
use crate::net::tls::ServerTlsConfig;
use crate::observe::metrics;
use actix_web::dev::Service;
use actix_web::{App, HttpServer};
use actix_web_prom::{ActixMetricsConfiguration, LabelsConfiguration, PrometheusMetricsBuilder};
use std::error::Error;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

/// Drop connections that do not finish the TLS handshake in time.
#[cfg(feature = "tls")]
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Concurrent TLS handshakes per worker. High, so that stalled handshakes do not block others until they time out.
#[cfg(feature = "tls")]
const MAX_HANDSHAKES: usize = 4096;

#[derive(Debug, thiserror::Error)]
enum ListenError {
    #[error("cannot listen: {0}")]
    Listen(#[source] io::Error),
    /// As text: the middleware's error is not `Send`.
    #[error("metrics: {0}")]
    Metrics(#[source] Box<dyn Error + Send + Sync>),
}

impl ComponentError for ListenError {}

/// Protocols of the listener.
pub enum Protocols {
    /// HTTP/1.1.
    Plain,
    /// HTTP/1.1, and HTTP/2 with prior knowledge (h2c).
    Http1OrH2c,
    /// TLS with HTTP/1.1 or HTTP/2.
    Tls(ServerTlsConfig),
}

/// Starts the HTTP server for these endpoints, behind the edge.
pub fn listen(
    listener: TcpListener,
    protocols: Protocols,
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
    // No namespace: the names are Spring's.
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
                web::prepare_request(&mut request, &first);
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
    let listening = match protocols {
        Protocols::Plain => server.listen(listener),
        Protocols::Http1OrH2c => server.listen_auto_h2c(listener),
        #[cfg(feature = "tls")]
        Protocols::Tls(config) => {
            server.tls_handshake_timeout(HANDSHAKE_TIMEOUT).max_connection_rate(MAX_HANDSHAKES).listen_rustls_0_23(listener, *config)
        }
        #[cfg(not(feature = "tls"))]
        Protocols::Tls(never) => match never {},
    };
    Ok(listening.map_err(ListenError::Listen)?.run())
}
