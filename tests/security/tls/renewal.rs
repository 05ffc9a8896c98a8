//! Certificates that are renewed while a process runs.

use super::{HERE, registry, shown};
use crate::support::certs::{Authority, client, http};
use crate::support::ports::free_port;
use crate::support::process::tradepost;
use crate::support::{on_system, wait_for, wait_until};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use tokio::net::TcpStream;

/// A process with a readable log.
struct Logged {
    child: Child,
    log: PathBuf,
}

impl Logged {
    fn log_contains(&self, text: &str) -> Result<(), String> {
        let log = std::fs::read_to_string(&self.log).unwrap();
        if log.contains(text) { Ok(()) } else { Err(log) }
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(port: u16, dir: &Path, pair: &(PathBuf, PathBuf)) -> Logged {
    let log = dir.join("log");
    let child = tradepost(&["serve", "--modules", "registry", "--port", &port.to_string(), "--data", dir.to_str().unwrap()])
        .env("TRADEPOST__IDENTITY__ISSUER", "http://127.0.0.1:9/realms/none")
        .envs(shown(pair))
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    Logged { child, log }
}

/// The certificate that the server presents on a new connection.
async fn presented(address: &str, authority: &Authority) -> Vec<u8> {
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client(&authority.ca(), None)));
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// Replaces the files one after the other, as cert-manager does.
#[test]
fn renewed_certificate_is_served_without_restart_and_a_broken_one_is_ignored() {
    on_system(async {
        let authority = Authority::new();
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let (address, used) = (format!("127.0.0.1:{port}"), authority.issue("used", HERE));
        let process = start(port, dir.path(), &used);
        wait_until("the process is ready", || process.log_contains("\"ready\"")).await;
        let first = presented(&address, &authority).await;

        // Constant load, both on persistent connections and with a new connection per request.
        let (going, done, failed) = (Rc::new(Cell::new(true)), Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let load = (0..4).map(|n| {
            let (going, done, failed, ca, url) =
                (going.clone(), done.clone(), failed.clone(), authority.ca(), format!("https://{address}/actuator/health/liveness"));
            actix_web::rt::spawn(async move {
                let kept = http(client(&ca, None));
                while going.get() {
                    let http = if n % 2 == 0 { kept.clone() } else { http(client(&ca, None)) };
                    let count = match http.get(&url).send().await {
                        Ok(answer) if answer.status().is_success() => &done,
                        _ => &failed,
                    };
                    count.set(count.get() + 1);
                }
            })
        });
        let load: Vec<_> = load.collect();

        let renewed = authority.issue("renewed", HERE);
        std::fs::copy(&renewed.0, &used.0).unwrap();
        std::fs::copy(&renewed.1, &used.1).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let mut second = first.clone();
        while second == first {
            assert!(std::time::Instant::now() < deadline, "the renewed certificate is not served");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            second = presented(&address, &authority).await;
        }

        std::fs::write(&used.1, "-----BEGIN NOTHING-----\n").unwrap();
        wait_until("the process warns of the broken key", || process.log_contains("expected a private key in PEM")).await;
        assert_eq!(presented(&address, &authority).await, second, "the previous certificate stays");

        going.set(false);
        futures_util::future::join_all(load).await;
        assert!(done.get() > 0);
        assert_eq!(failed.get(), 0, "of {} requests", done.get());
    });
}

/// An authority is removed from the list: a client that it signed must not resume its session.
#[test]
fn client_of_a_removed_authority_is_rejected() {
    on_system(async {
        let (authority, next) = (Authority::new(), Authority::new());
        let (pair, me) = (authority.issue("server", HERE), authority.issue("client", "DNS:client"));
        let listed = authority.ca().with_file_name("listed.pem");
        std::fs::copy(authority.ca(), &listed).unwrap();
        let clients = [("TRADEPOST__SERVER__TLS_CLIENT", "required"), ("TRADEPOST__SERVER__TLS_CLIENT_CA", listed.to_str().unwrap())];
        let process = registry(&pair, &clients);
        // This client keeps its sessions across connections.
        let config = client(&authority.ca(), Some(&me));
        let ask = async || http(config.clone()).get(format!("{}/actuator/health/liveness", process.url)).send().await.is_ok();
        assert!(ask().await && ask().await);
        std::fs::copy(next.ca(), &listed).unwrap();
        wait_for("the client is rejected", || async { if ask().await { Err("the client is accepted".into()) } else { Ok(()) } }).await;
    });
}
