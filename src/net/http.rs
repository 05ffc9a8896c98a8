//! HTTP clients, one per thread.

use awc::error::{ConnectError, SendRequestError};
use std::time::Duration;

thread_local! {
    // awc's client is not `Send`: one per worker thread, each with its own connection pool
    static HTTP: awc::Client = client();
}

fn client() -> awc::Client {
    build(Duration::from_secs(5), Some(Duration::from_secs(30)))
}

/// How long an idle connection is kept. Servers keep idle connections for longer, also during shutdown
/// (`server.shutdown_delay_seconds`), so that no request is sent on a connection that the server is closing.
pub const IDLE: Duration = Duration::from_secs(10);

/// Builds a client for this thread. `connect` limits the TCP connect and, separately, the TLS handshake;
/// `response` limits the time to the response head. Without `response` the client forwards requests unchanged and
/// adds no default headers.
pub fn build(connect: Duration, response: Option<Duration>) -> awc::Client {
    #[cfg(feature = "tls")]
    crate::net::tls::install();
    // no limit: each peer's bulkhead limits its calls, and a shared limit would let one hanging peer use up all
    // connections
    let connector = awc::Connector::new().limit(0).timeout(connect).handshake_timeout(connect).conn_keep_alive(IDLE);
    #[cfg(feature = "tls")]
    let connector = match crate::net::tls::client_config() {
        Ok(config) => connector.rustls_0_23(config),
        Err(cause) => {
            tracing::error!(%cause, "cannot build the TLS configuration; only the public certificate authorities are trusted");
            connector
        }
    };
    let builder = awc::Client::builder().connector(connector).disable_redirects();
    match response {
        Some(limit) => builder.timeout(limit),
        None => builder.disable_timeout().no_default_headers(),
    }
    .finish()
}

/// Whether a request failed before any of it was sent.
pub fn is_unsent(cause: &SendRequestError) -> bool {
    // `Disconnected` can also mean that the server closed the connection before the response: it may have processed the request
    matches!(cause, SendRequestError::Connect(connect) if !matches!(connect, ConnectError::Disconnected))
}

pub fn http() -> awc::Client {
    HTTP.with(Clone::clone)
}
