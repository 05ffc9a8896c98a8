//! Which servers our clients trust: `healthcheck` uses the same client as the services, the gateway and all others.

use super::{HERE, registry, shown};
use crate::support::certs::Authority;
use crate::support::process::{Process, tradepost};
use crate::support::{on_system, wait_until};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::path::Path;
use std::sync::Arc;

/// Returns whether it got an answer, and its output.
fn healthcheck(url: &str, settings: &[(&str, &Path)]) -> (bool, String) {
    let output = tradepost(&["healthcheck", "--url", url]).envs(settings.iter().copied()).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

const CA: &str = "TRADEPOST__TLS__CA";

#[test]
fn server_certificate_needs_a_trusted_authority_and_name() {
    let (authority, other) = (Authority::new(), Authority::new());
    let process = registry(&authority.issue("server", HERE), &[]);
    let elsewhere = registry(&authority.issue("elsewhere", "DNS:elsewhere.test"), &[]);
    let (good, wrong) = (authority.ca(), other.ca());

    let (answered, said) = healthcheck(&process.url, &[(CA, &good)]);
    assert!(answered, "{said}");
    for (what, url, settings) in [
        ("another authority's", &process.url, &[(CA, wrong.as_path())][..]),
        ("default authorities", &process.url, &[]),
        ("another's name", &elsewhere.url, &[(CA, &good)]),
    ] {
        let (answered, said) = healthcheck(url, settings);
        assert!(!answered && said.contains("certificate"), "{what}: {said}");
    }
}

/// A process accepts its own certificate by address: probes need no name in it.
#[test]
fn health_check_of_the_own_certificate_needs_no_name() {
    let authority = Authority::new();
    let pair = authority.issue("server", "DNS:shop.test");
    let another = authority.issue("another", "DNS:shop.test");
    let ca = authority.ca();
    let required = [("TRADEPOST__SERVER__TLS_CLIENT", "required"), ("TRADEPOST__SERVER__TLS_CLIENT_CA", ca.to_str().unwrap())];
    let process = registry(&pair, &required);
    let own = |pair: &(std::path::PathBuf, std::path::PathBuf)| {
        healthcheck(
            &process.url,
            &[
                ("TRADEPOST__SERVER__TLS_CERT", &pair.0),
                ("TRADEPOST__SERVER__TLS_KEY", &pair.1),
                ("TRADEPOST__TLS__CERT", &pair.0),
                ("TRADEPOST__TLS__KEY", &pair.1),
            ],
        )
    };
    let (answered, said) = own(&pair);
    assert!(answered, "{said}");
    assert!(!own(&another).0, "another key is not the process's own");
}

/// Settings are fetched first, with the same trust.
#[test]
fn settings_from_a_config_server_use_the_trusted_authority() {
    let (authority, other, dir) = (Authority::new(), Authority::new(), tempfile::tempdir().unwrap());
    std::fs::write(dir.path().join("application.yml"), "tradepost.no.such: 1\n").unwrap();
    let pair = authority.issue("server", HERE);
    let settings = [
        ("TRADEPOST__SERVER__MODULES", "config-server"),
        ("TRADEPOST__IDENTITY__ISSUER", "http://127.0.0.1:9/realms/none"),
        ("TRADEPOST__CONFIG_SERVER__FOLDER", dir.path().to_str().unwrap()),
        ("TRADEPOST__CONFIG_SERVER__PASSWORD", "pw"),
    ];
    let server = Process::start(dir.path(), &[&settings[..], &shown(&pair)].concat());
    let url = server.url.replace("https://", "https://tradepost:pw@");
    let serve = |ca: &Path| {
        let mut command = tradepost(&["serve", "--modules", "registry", "--port", "0", "--data", "/proc/nowhere"]);
        command.env("TRADEPOST__CONFIG__SERVER", &url).env("TRADEPOST__CONFIG__RETRY_SECONDS", "0").env(CA, ca);
        String::from_utf8_lossy(&command.output().unwrap().stderr).into_owned()
    };
    let read = serve(&authority.ca());
    assert!(read.contains("unknown setting `no.such` in config server https://127.0.0.1:"), "{read}");
    let refused = serve(&other.ca());
    assert!(refused.contains("config.server: https://") && refused.contains("certificate"), "{refused}");
}

#[test]
fn expired_certificate_is_rejected() {
    on_system(async {
        let authority = Authority::new();
        let pair = authority.issue_expired("expired", HERE);
        let chain = vec![CertificateDer::from_pem_file(&pair.0).unwrap()];
        tradepost::net::tls::install();
        let key = PrivateKeyDer::from_pem_file(&pair.1).unwrap();
        let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        // This server completes the handshake and sends nothing.
        let config = Arc::new(config);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut connection = rustls::ServerConnection::new(config.clone()).unwrap();
                let _ = connection.complete_io(&mut stream);
            }
        });
        let ca = authority.ca();
        wait_until("the certificate has expired", || {
            let (_, said) = healthcheck(&url, &[(CA, &ca)]);
            if said.contains("expired") { Ok(()) } else { Err(said) }
        })
        .await;
    });
}
