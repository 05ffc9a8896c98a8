//! Connections without TLS, with an old version, or without any data.

use super::{HERE, registry};
use crate::support::certs::{Authority, client, http, restricted};
use crate::support::{on_system, wait_for};
use rustls::ProtocolVersion;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// More than the handshakes that an actix worker permits at once by default.
const SILENT: usize = 300;

async fn connect(url: &str) -> TcpStream {
    TcpStream::connect(url.strip_prefix("https://").unwrap()).await.unwrap()
}

/// Sends these bytes and returns everything that the server sends until it closes.
async fn reply_bytes(url: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(url).await;
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut answer)).await;
    // A reset also closes the connection.
    let _ = read.expect("the connection stays open");
    answer
}

/// A ClientHello with this as its highest version.
fn hello(version: [u8; 2]) -> Vec<u8> {
    let mut body = version.to_vec();
    body.extend([7; 32]); // random
    body.push(0); // no session
    body.extend([0, 4, 0xc0, 0x2b, 0xc0, 0x09]); // ECDHE-ECDSA with AES-GCM, and with CBC as old versions had it
    body.extend([1, 0]); // no compression
    body.extend([0, 16]); // extensions: curve P-256, points, signatures with ECDSA and SHA-256
    body.extend([0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3]);
    let length = |n: usize| [(n >> 8) as u8, n as u8];
    let mut message = vec![1, 0];
    message.extend(length(body.len()));
    message.extend(body);
    [&[22, 3, 1], &length(message.len())[..], &message].concat()
}

#[test]
fn old_tls_versions_are_rejected() {
    on_system(async {
        let authority = Authority::new();
        let process = registry(&authority.issue("server", HERE), &[]);
        let alert = |answer: &[u8]| (answer.first().copied(), answer.last().copied());
        for old in [[3, 0], [3, 1], [3, 2]] {
            // The alert is `protocol_version`.
            assert_eq!(alert(&reply_bytes(&process.url, &hello(old)).await), (Some(21), Some(70)), "{old:?}");
        }
        for (version, agreed) in [(&rustls::version::TLS12, ProtocolVersion::TLSv1_2), (&rustls::version::TLS13, ProtocolVersion::TLSv1_3)]
        {
            for protocol in ["h2", "http/1.1"] {
                let mut config = restricted(&authority.ca(), version);
                config.alpn_protocols = vec![protocol.into()];
                let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
                let stream = connector.connect("localhost".try_into().unwrap(), connect(&process.url).await).await.unwrap();
                let (_, session) = stream.get_ref();
                assert_eq!((session.protocol_version(), session.alpn_protocol()), (Some(agreed), Some(protocol.as_bytes())));
            }
        }
    });
}

#[test]
fn connection_without_tls_is_closed_without_an_answer() {
    on_system(async {
        let process = registry(&Authority::new().issue("server", HERE), &[]);
        for bytes in [&b"GET /actuator/health HTTP/1.1\r\nhost: x\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[0; 64]] {
            let answer = reply_bytes(&process.url, bytes).await;
            // The server sends nothing, or only a fatal alert.
            assert!(answer.is_empty() || (answer.len() == 7 && answer[0] == 21 && answer[5] == 2), "{answer:?}");
        }
    });
}

#[test]
fn silent_connections_block_no_client_and_are_dropped() {
    on_system(async {
        let authority = Authority::new();
        let process = registry(&authority.issue("server", HERE), &[]);
        let all_silent = RefCell::new(Vec::new());
        // Retry if the first connection was closed before the last was open.
        wait_for("a client is answered while all silent connections are open", || async {
            let mut silent = Vec::new();
            for _ in 0..SILENT {
                silent.push(connect(&process.url).await);
            }
            let http = http(client(&authority.ca(), None));
            let answer = http.get(format!("{}/actuator/health/liveness", process.url)).send().await.map_err(|e| e.to_string())?;
            assert_eq!(answer.status(), 200);
            let waits = |stream: &&TcpStream| stream.try_read(&mut [0; 8]).is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
            let waiting = silent.iter().filter(waits).count();
            *all_silent.borrow_mut() = silent;
            if waiting == SILENT { Ok(()) } else { Err(format!("{waiting} of {SILENT} are")) }
        })
        .await;
        for mut stream in all_silent.into_inner() {
            let read = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut [0; 8])).await.expect("the connection stays open");
            assert!(read.map_or(true, |read| read == 0));
        }
    });
}
