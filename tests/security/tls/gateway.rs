//! A gateway with TLS on both sides: the headers that an upstream receives, and a WebSocket.

use super::HERE;
use crate::support::certs::{Authority, client, http, only};
use crate::support::process::Process;
use crate::support::{on_system, wait_for};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn head(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Accepts client certificates of this authority. Returns the request head; for a WebSocket it echoes
/// what follows.
async fn upstream(pair: &(PathBuf, PathBuf), authority: &Authority) -> u16 {
    let chain = vec![CertificateDer::from_pem_file(&pair.0).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&pair.1).unwrap();
    let clients = WebPkiClientVerifier::builder(only(&authority.ca()).into()).build().unwrap();
    let config = rustls::ServerConfig::builder().with_client_cert_verifier(clients).with_single_cert(chain, key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    actix_web::rt::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            actix_web::rt::spawn(async move {
                let head = head(&mut stream).await;
                if head.to_lowercase().contains("upgrade: websocket") {
                    stream.write_all(b"HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await.unwrap();
                    let mut piece = [0; 5];
                    stream.read_exact(&mut piece).await.unwrap();
                    stream.write_all(&piece).await.unwrap();
                } else {
                    let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{head}", head.len());
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
                stream.shutdown().await.unwrap();
            });
        }
    });
    port
}

/// A gateway with one route to this port, and the certificates to reach it.
fn gateway(dir: &Path, port: u16, shown: &(PathBuf, PathBuf), ca: &Path, own: &(PathBuf, PathBuf)) -> Process {
    let routes = dir.join("routes.yml");
    let route = format!("spring.cloud.gateway.routes:\n- id: up\n  uri: https://localhost:{port}\n  predicates: [Path=/up/**]\n");
    std::fs::write(&routes, route).unwrap();
    let settings = [
        ("TRADEPOST__SERVER__MODULES", "gateway"),
        ("TRADEPOST__IDENTITY__ISSUER", "http://127.0.0.1:9/realms/none"),
        ("TRADEPOST__GATEWAY__PUBLIC", "/up/**"),
        ("TRADEPOST__GATEWAY__ROUTES", routes.to_str().unwrap()),
        ("TRADEPOST__TLS__CA", ca.to_str().unwrap()),
        ("TRADEPOST__TLS__CERT", own.0.to_str().unwrap()),
        ("TRADEPOST__TLS__KEY", own.1.to_str().unwrap()),
    ];
    Process::start(dir, &[&settings[..], &super::shown(shown)].concat())
}

/// Servers, not only clients, load new certificates and new authorities.
#[test]
fn client_certificate_and_trusted_authorities_are_reloaded() {
    on_system(async {
        let (authority, former, dir) = (Authority::new(), Authority::new(), tempfile::tempdir().unwrap());
        let server = authority.issue("server", HERE);
        let port = upstream(&server, &authority).await;
        let (ca, own) = (former.ca(), former.issue("client", "DNS:client"));
        let gateway = gateway(dir.path(), port, &server, &ca, &own);
        let http = http(client(&authority.ca(), None));
        let ask = async || http.get(format!("{}/up/x", gateway.url)).send().await.unwrap().status().as_u16();
        assert_eq!(ask().await, 503, "another authority's server");
        let renewed = authority.issue("renewed", "DNS:client");
        for (from, to) in [(&authority.ca(), &ca), (&renewed.0, &own.0), (&renewed.1, &own.1)] {
            std::fs::copy(from, to).unwrap();
        }
        wait_for("the gateway trusts and is trusted", || async {
            match ask().await {
                200 => Ok(()),
                status => Err(status.to_string()),
            }
        })
        .await;
    });
}

#[test]
fn https_route_forwards_the_client_protocol() {
    on_system(async {
        let authority = Authority::new();
        let pair = authority.issue("server", HERE);
        let me = authority.issue("client", "DNS:client");
        let port = upstream(&pair, &authority).await;
        let (dir, ca) = (tempfile::tempdir().unwrap(), authority.ca());
        let gateway = gateway(dir.path(), port, &pair, &ca, &me);
        let front = gateway.url.rsplit(':').next().unwrap();

        let http = http(client(&ca, None));
        let mut answer = http.get(format!("https://localhost:{front}/up/x")).send().await.unwrap();
        let seen = String::from_utf8(answer.body().await.unwrap().to_vec()).unwrap().to_lowercase();
        for header in ["get /up/x http/1.1", "x-forwarded-proto: https", &format!("x-forwarded-port: {front}")] {
            assert!(seen.contains(header), "{header} in {seen}");
        }

        let connector = tokio_rustls::TlsConnector::from(Arc::new(client(&ca, None)));
        let stream = TcpStream::connect(format!("127.0.0.1:{front}")).await.unwrap();
        let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
        let ask = "GET /up/ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        stream.write_all(ask.as_bytes()).await.unwrap();
        let answer = head(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        stream.write_all(b"hello").await.unwrap();
        let mut back = [0; 5];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"hello");
    });
}
