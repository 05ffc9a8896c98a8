//! WebSocket: the handshake is handed on, then bytes flow both ways as they come.

use super::upstream::Failure;
use actix_web::HttpRequest;
use actix_web::HttpResponse;
use actix_web::body::BodyStream;
use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::web::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

type Reads = Box<dyn AsyncRead + Unpin>;
type Writes = Box<dyn AsyncWrite + Unpin>;

const MOST_HEADERS: usize = 64;
const LARGEST_HEAD: usize = 32 * 1024;

/// Whether this request asks for it.
pub(super) fn wanted(request: &HttpRequest) -> bool {
    let asks = |name: HeaderName, word: &str| {
        let mut values = request.headers().get_all(name).filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
        values.any(|v| v.trim().eq_ignore_ascii_case(word))
    };
    request.method() == Method::GET && asks(header::UPGRADE, "websocket") && asks(header::CONNECTION, "upgrade")
}

/// What the upstream said to the handshake.
pub(super) struct Handshake {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    early: Bytes,
    reads: Reads,
    writes: Writes,
}

/// Hands the handshake on, headers as given; `base` is `http://host:port` or `https://host:port`.
pub(super) async fn handshake(
    base: &str,
    target: &str,
    headers: &HeaderMap,
    connect: Duration,
    limit: Duration,
) -> Result<Handshake, Failure> {
    let (scheme, authority) = base.split_once("://").unwrap_or(("http", base));
    let named = authority.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
    let (host, address) = match named {
        Some((host, _)) => (host, authority.to_string()),
        None => (authority, format!("{authority}:{}", if scheme == "https" { 443 } else { 80 })),
    };
    let connected = tokio::time::timeout(connect, open(scheme, host, &address)).await;
    let (mut reads, mut writes) = connected.map_err(|_| Failure::unreached("took too long"))?.map_err(Failure::unreached)?;
    let mut head = format!("GET {target} HTTP/1.1\r\n").into_bytes();
    let mut line = |name: &str, value: &[u8]| head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    if !headers.contains_key(header::HOST) {
        line("host", authority.as_bytes());
    }
    headers.iter().for_each(|(name, value)| line(name.as_str(), value.as_bytes()));
    line("connection", b"Upgrade");
    line("upgrade", b"websocket");
    head.extend(b"\r\n");
    let exchange = async {
        writes.write_all(&head).await.map_err(Failure::broken)?;
        writes.flush().await.map_err(Failure::broken)?;
        let mut buffer = BytesMut::new();
        loop {
            if let Some((status, headers, used)) = parse(&buffer)? {
                return Ok((status, headers, buffer.split_off(used).freeze()));
            }
            let read = reads.read_buf(&mut buffer).await.map_err(Failure::broken)?;
            if read == 0 || buffer.len() > LARGEST_HEAD {
                return Err(Failure::broken("no answer to the handshake"));
            }
        }
    };
    let (status, headers, early) = tokio::time::timeout(limit, exchange).await.map_err(|_| Failure::LazyRef)??;
    Ok(Handshake { status, headers, early, reads, writes })
}

async fn open(scheme: &str, host: &str, address: &str) -> std::io::Result<(Reads, Writes)> {
    let stream = TcpStream::connect(address).await?;
    let _ = stream.set_nodelay(true);
    if scheme == "https" {
        return secured(stream, host).await;
    }
    let (reads, writes) = stream.into_split();
    Ok((Box::new(reads), Box::new(writes)))
}

#[cfg(feature = "tls")]
async fn secured(stream: TcpStream, host: &str) -> std::io::Result<(Reads, Writes)> {
    let (reads, writes) = tokio::io::split(crate::net::tls::connect(stream, host).await?);
    Ok((Box::new(reads), Box::new(writes)))
}

#[cfg(not(feature = "tls"))]
async fn secured(_: TcpStream, _: &str) -> std::io::Result<(Reads, Writes)> {
    Err(std::io::Error::other("this build has no https; build with --features tls"))
}

fn parse(buffer: &[u8]) -> Result<Option<(StatusCode, HeaderMap, usize)>, Failure> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(used) = response.parse(buffer).map_err(Failure::broken)? else { return Ok(None) };
    let status = StatusCode::from_u16(response.code.unwrap_or_default()).map_err(Failure::broken)?;
    let mut headers = HeaderMap::new();
    for field in response.headers.iter() {
        if let (Ok(name), Ok(value)) = (field.name.parse::<HeaderName>(), HeaderValue::from_bytes(field.value)) {
            headers.append(name, value);
        }
    }
    Ok(Some((status, headers, used)))
}

impl Handshake {
    /// The answer that opens the tunnel. It closes when either side does, or the process begins to stop.
    pub(super) fn tunnel(self, mut payload: Payload, headers: HeaderMap, draining: CancellationToken) -> HttpResponse {
        let Self { early, reads, mut writes, .. } = self;
        let closed = CancellationToken::new();
        let guard = closed.clone().drop_guard();
        actix_web::rt::spawn(async move {
            let pump = async {
                while let Some(Ok(bytes)) = payload.next().await {
                    // TLS keeps what the socket has no room for, until it is told to send it
                    if writes.write_all(&bytes).await.is_err() || writes.flush().await.is_err() {
                        break;
                    }
                }
                let _ = writes.shutdown().await;
            };
            tokio::select! { () = pump => {} () = closed.cancelled() => {} }
        });
        let first = stream::iter((!early.is_empty()).then_some(Ok::<_, std::io::Error>(early)));
        // the guard goes with the answer: when the client is gone, its pump ends, too
        let rest = stream::unfold((reads, guard), |(mut reads, guard)| async move {
            let mut buffer = BytesMut::with_capacity(16 * 1024);
            match reads.read_buf(&mut buffer).await {
                Ok(0) => None,
                Ok(_) => Some((Ok(buffer.freeze()), (reads, guard))),
                Err(cause) => Some((Err(cause), (reads, guard))),
            }
        });
        let mut response = HttpResponse::SwitchingProtocols();
        response.upgrade("websocket");
        headers.iter().for_each(|header| {
            response.append_header(header);
        });
        response.body(BodyStream::new(Box::pin(first.chain(rest).take_until(draining.cancelled_owned()))))
    }
}
