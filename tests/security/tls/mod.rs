//! TLS for servers and clients: which certificates are accepted, and the effect of a renewed and of a broken one. The
//! `openssl` program creates the certificates.

mod gateway;
mod handshakes;
mod renewal;
mod start;
mod trust;

use crate::support::certs::{Authority, client, http};
use crate::support::process::Process;
use crate::support::{Shape, Shop, on_system, wait_for};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tradepost::kernel::module::Module;
use tradepost::settings::ClientCertificates;

/// Names of this machine.
const HERE: &str = "DNS:localhost,IP:127.0.0.1";

/// Settings of a server certificate.
fn shown(pair: &(PathBuf, PathBuf)) -> [(&'static str, &str); 2] {
    [("TRADEPOST__SERVER__TLS_CERT", pair.0.to_str().unwrap()), ("TRADEPOST__SERVER__TLS_KEY", pair.1.to_str().unwrap())]
}

/// A small process that serves TLS.
fn registry(pair: &(PathBuf, PathBuf), more: &[(&str, &str)]) -> Process {
    let settings = [
        ("TRADEPOST__SERVER__MODULES", "registry"),
        ("TRADEPOST__SERVER__WORKERS", "1"),
        ("TRADEPOST__REGISTRY__PASSWORD", "secret"),
        ("TRADEPOST__IDENTITY__ISSUER", "http://127.0.0.1:9/realms/none"),
    ];
    Process::start(std::path::Path::new("/proc/nowhere"), &[&settings[..], &shown(pair)[..], more].concat())
}

/// Requests health at this address, with the name of the shop's certificate.
async fn answered(url: &str, config: rustls::ClientConfig) -> Result<String, String> {
    exchange(url, config).await.map_err(|cause| cause.to_string())
}

async fn exchange(url: &str, config: rustls::ClientConfig) -> std::io::Result<String> {
    let stream = tokio::net::TcpStream::connect(url.strip_prefix("https://").unwrap()).await?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect("shop.test".try_into().unwrap(), stream).await?;
    stream.write_all(b"GET /actuator/health/liveness HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    // A server that closes without close_notify has still answered.
    while stream.read_buf(&mut answer).await.or_else(|e| if e.kind() == ErrorKind::UnexpectedEof { Ok(0) } else { Err(e) })? > 0 {}
    Ok(String::from_utf8(answer).unwrap())
}

/// Covers every hop of an order: to the gateway, to order, to product and inventory, to the registry and the issuer.
#[test]
fn order_with_mutual_tls_on_every_hop_is_placed() {
    on_system(async {
        let authority = Authority::new();
        // All processes of the split shop have one key, so no certificate needs to name its address.
        authority.issue("server", "DNS:shop.test");
        let me = authority.issue("client", "DNS:client.test");
        let mut shop = Shop::start(Shape::Split, |settings| authority.apply(settings)).await;
        shop.client.stocked("tls", "2.50", 3).await;
        shop.client.order(&[("tls", 2)]).await.expect(201);
        assert_eq!(shop.client.quantity("tls").await, 1);

        let order = shop.member(Module::Order).unwrap();
        assert!(order.starts_with("https://"), "{order}");
        let at = |path: &str| format!("https://localhost:{}{path}", order.rsplit(':').next().unwrap());
        let health = at("/actuator/health/liveness");
        let wrong_name = http(client(&authority.ca(), Some(&me))).get(&health).send().await.unwrap_err().to_string();
        assert!(wrong_name.contains("not valid for name"), "{wrong_name}");
        // With the certificate's name, a rejection can only be due to the client certificate.
        assert!(answered(&order, client(&authority.ca(), Some(&me))).await.unwrap().starts_with("HTTP/1.1 200 "));
        let refused = answered(&order, client(&authority.ca(), None)).await.unwrap_err();
        assert!(refused.contains("CertificateRequired"), "{refused}");
        assert!(awc::Client::new().get(order.replace("https", "http")).send().await.is_err(), "without TLS");
        shop.assert_sound().await;
        shop.stop().await;
    });
}

/// A certificate permits the connection; the token determines the permissions.
#[test]
fn client_certificate_without_token_is_rejected() {
    on_system(async {
        let (authority, data) = (Authority::new(), tempfile::tempdir().unwrap());
        let (pair, me, ca) = (authority.issue("server", HERE), authority.issue("client", "DNS:client"), authority.ca());
        let required = [("TRADEPOST__SERVER__TLS_CLIENT", "required"), ("TRADEPOST__SERVER__TLS_CLIENT_CA", ca.to_str().unwrap())];
        let process = Process::start(data.path(), &[&required[..], &shown(&pair)].concat());
        let answer = http(client(&ca, Some(&me))).get(format!("{}/api/v1/orders", process.url)).send().await.unwrap();
        assert_eq!(answer.status(), 401);
    });
}

#[test]
fn client_certificates_are_accepted_or_rejected_by_setting() {
    on_system(async {
        let (authority, other) = (Authority::new(), Authority::new());
        let pair = authority.issue("server", HERE);
        let (good, foreign) = (authority.issue("good", "DNS:a"), other.issue("foreign", "DNS:a"));
        let expired = authority.issue_expired("expired", "DNS:a");
        for (clients, expected) in [
            (ClientCertificates::Required, [true, false, false, false]),
            (ClientCertificates::Optional, [true, true, false, false]),
            (ClientCertificates::None, [true, true, true, true]),
        ] {
            let mut more = vec![("TRADEPOST__SERVER__TLS_CLIENT", "none")];
            let (ca, word) = (authority.ca(), format!("{clients:?}").to_lowercase());
            if clients != ClientCertificates::None {
                more = vec![("TRADEPOST__SERVER__TLS_CLIENT", &word), ("TRADEPOST__SERVER__TLS_CLIENT_CA", ca.to_str().unwrap())];
            }
            let process = registry(&pair, &more);
            let ask = async |shown: Option<&(PathBuf, PathBuf)>| {
                let url = format!("{}/actuator/health/liveness", process.url);
                http(client(&ca, shown)).get(url).send().await.is_ok_and(|answer| answer.status().is_success())
            };
            // The expired certificate is valid for only one second.
            wait_for("the expected clients are accepted", || async {
                let found = [ask(Some(&good)).await, ask(None).await, ask(Some(&foreign)).await, ask(Some(&expired)).await];
                if found == expected {
                    Ok(())
                } else {
                    Err(format!("{clients:?}: a good one, none, another authority's, an expired one: {found:?}"))
                }
            })
            .await;
        }
    });
}
