//! WebSocket proxy: forwards the handshake, then tunnels bytes in both directions.

use super::upstream::UpstreamFailure;
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

type ReadHalf = Box<dyn AsyncRead + Unpin>;
type WriteHalf = Box<dyn AsyncWrite + Unpin>;

const MAX_HEADERS: usize = 64;
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// Whether the request is a WebSocket handshake.
pub(super) fn is_upgrade(request: &HttpRequest) -> bool {
    let has_token = |name: HeaderName, token: &str| {
        let mut values = request.headers().get_all(name).filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
        values.any(|v| v.trim().eq_ignore_ascii_case(token))
    };
    request.method() == Method::GET && has_token(header::UPGRADE, "websocket") && has_token(header::CONNECTION, "upgrade")
}

/// The upstream's response to the handshake, with its connection.
pub(super) struct Handshake {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Bytes that arrived together with the response head.
    early_bytes: Bytes,
    read_half: ReadHalf,
    write_half: WriteHalf,
}

/// Forwards the handshake with these headers; `base` is `http://host:port` or `https://host:port`.
pub(super) async fn handshake(
    base: &str,
    target: &str,
    headers: &HeaderMap,
    connect_timeout: Duration,
    timeout: Duration,
) -> Result<Handshake, UpstreamFailure> {
    let (scheme, authority) = base.split_once("://").unwrap_or(("http", base));
    let with_port = authority.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
    let (host, address) = match with_port {
        Some((host, _)) => (host, authority.to_string()),
        None => (authority, format!("{authority}:{}", if scheme == "https" { 443 } else { 80 })),
    };
    let connected = tokio::time::timeout(connect_timeout, open(scheme, host, &address)).await;
    let (mut read_half, mut write_half) =
        connected.map_err(|_| UpstreamFailure::not_sent("timed out"))?.map_err(UpstreamFailure::not_sent)?;
    let mut head = format!("GET {target} HTTP/1.1\r\n").into_bytes();
    let mut line = |name: &str, value: &[u8]| head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    if !headers.contains_key(header::HOST) {
        line("host", authority.as_bytes());
    }
    headers.iter().for_each(|(name, value)| line(name.as_str(), value.as_bytes()));
    line("connection", b"Upgrade");
    line("upgrade", b"websocket");
    head.extend(b"\r\n");
    let exchange_heads = async {
        write_half.write_all(&head).await.map_err(UpstreamFailure::connection_lost)?;
        write_half.flush().await.map_err(UpstreamFailure::connection_lost)?;
        let mut buffer = BytesMut::new();
        loop {
            if let Some((status, headers, used)) = parse_head(&buffer)? {
                return Ok((status, headers, buffer.split_off(used).freeze()));
            }
            let read = read_half.read_buf(&mut buffer).await.map_err(UpstreamFailure::connection_lost)?;
            if read == 0 || buffer.len() > MAX_HEAD_BYTES {
                return Err(UpstreamFailure::connection_lost("no response to the handshake"));
            }
        }
    };
    let (status, headers, early_bytes) = tokio::time::timeout(timeout, exchange_heads).await.map_err(|_| UpstreamFailure::TimedOut)??;
    Ok(Handshake { status, headers, early_bytes, read_half, write_half })
}

async fn open(scheme: &str, host: &str, address: &str) -> std::io::Result<(ReadHalf, WriteHalf)> {
    let stream = TcpStream::connect(address).await?;
    let _ = stream.set_nodelay(true);
    if scheme == "https" {
        return open_tls(stream, host).await;
    }
    let (read_half, write_half) = stream.into_split();
    Ok((Box::new(read_half), Box::new(write_half)))
}

#[cfg(feature = "tls")]
async fn open_tls(stream: TcpStream, host: &str) -> std::io::Result<(ReadHalf, WriteHalf)> {
    let (read_half, write_half) = tokio::io::split(crate::net::tls::connect(stream, host).await?);
    Ok((Box::new(read_half), Box::new(write_half)))
}

#[cfg(not(feature = "tls"))]
async fn open_tls(_: TcpStream, _: &str) -> std::io::Result<(ReadHalf, WriteHalf)> {
    Err(std::io::Error::other("this build has no https; build with --features tls"))
}

fn parse_head(buffer: &[u8]) -> Result<Option<(StatusCode, HeaderMap, usize)>, UpstreamFailure> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(used) = response.parse(buffer).map_err(UpstreamFailure::connection_lost)? else { return Ok(None) };
    let status = StatusCode::from_u16(response.code.unwrap_or_default()).map_err(UpstreamFailure::connection_lost)?;
    let mut headers = HeaderMap::new();
    for field in response.headers.iter() {
        if let (Ok(name), Ok(value)) = (field.name.parse::<HeaderName>(), HeaderValue::from_bytes(field.value)) {
            headers.append(name, value);
        }
    }
    Ok(Some((status, headers, used)))
}

impl Handshake {
    /// The response that opens the tunnel. The tunnel closes when either side closes it, or at shutdown.
    pub(super) fn into_tunnel(self, mut payload: Payload, headers: HeaderMap, draining: CancellationToken) -> HttpResponse {
        let Self { early_bytes, read_half, mut write_half, .. } = self;
        let closed = CancellationToken::new();
        let guard = closed.clone().drop_guard();
        actix_web::rt::spawn(async move {
            let pump = async {
                while let Some(Ok(bytes)) = payload.next().await {
                    // TLS buffers bytes until a flush
                    if write_half.write_all(&bytes).await.is_err() || write_half.flush().await.is_err() {
                        break;
                    }
                }
                let _ = write_half.shutdown().await;
            };
            tokio::select! { () = pump => {} () = closed.cancelled() => {} }
        });
        let first = stream::iter((!early_bytes.is_empty()).then_some(Ok::<_, std::io::Error>(early_bytes)));
        // the response owns the guard: when the client disconnects, the pump ends too
        let rest = stream::unfold((read_half, guard), |(mut read_half, guard)| async move {
            let mut buffer = BytesMut::with_capacity(16 * 1024);
            match read_half.read_buf(&mut buffer).await {
                Ok(0) => None,
                Ok(_) => Some((Ok(buffer.freeze()), (read_half, guard))),
                Err(cause) => Some((Err(cause), (read_half, guard))),
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
