//! The HTTP client of each thread.

use awc::error::{ConnectError, SendRequestError};
use std::time::Duration;

thread_local! {
    // awc's client is bound to its thread: one a worker, with its own pool of connections
    static HTTP: awc::Client = client();
}

fn client() -> awc::Client {
    build(Duration::from_secs(5), Some(Duration::from_secs(30)))
}

/// How long a connection that nobody uses is kept for the next request. Servers keep theirs for longer, also when they stop
/// (`server.linger_seconds`): then no request is sent on one that is just being closed.
pub const IDLE: Duration = Duration::from_secs(10);

/// A client for this thread: so long to connect, and as long again for a TLS handshake; so long until an answer
/// begins. Without a limit of its own for answers it hands requests on as they are, and adds no headers.
pub fn build(connect: Duration, answer: Option<Duration>) -> awc::Client {
    #[cfg(feature = "tls")]
    crate::net::tls::install();
    // how many calls there may be is each peer's bulkhead's business: one that hangs must not use up the
    // connections of all
    let connector = awc::Connector::new().limit(0).timeout(connect).handshake_timeout(connect).conn_keep_alive(IDLE);
    #[cfg(feature = "tls")]
    let connector = match crate::net::tls::config() {
        Ok(config) => connector.rustls_0_23(config),
        Err(cause) => {
            tracing::error!(%cause, "the public authorities are all that is trusted");
            connector
        }
    };
    let builder = awc::Client::builder().connector(connector).disable_redirects();
    match answer {
        Some(limit) => builder.timeout(limit),
        None => builder.disable_timeout().no_default_headers(),
    }
    .finish()
}

/// Whether a request failed before any of it was sent.
pub fn unsent(cause: &SendRequestError) -> bool {
    // awc says `Disconnected`, too, of a connection that ended before the answer: that request may have been served
    matches!(cause, SendRequestError::Connect(connect) if !matches!(connect, ConnectError::Disconnected))
}

/// This thread's HTTP client.
pub fn http() -> awc::Client {
    HTTP.with(Clone::clone)
}
