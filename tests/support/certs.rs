//! Certificates made for one run by the `openssl` program: no private key lies in the project.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};
use tempfile::TempDir;
use tradepost::config::{ClientCertificates, Settings};

/// An authority, with what it has signed beside it.
pub struct Authority {
    dir: TempDir,
}

/// The one whose certificates every shop of a run shows where `TRADEPOST_TEST_TLS` is set.
pub static SHARED: LazyLock<Authority> = LazyLock::new(|| {
    let authority = Authority::new();
    authority.issue("server", "DNS:localhost,IP:127.0.0.1");
    authority.issue("client", "DNS:client");
    authority
});

/// Whether every shop under test is to speak TLS, and to ask for client certificates.
pub fn everywhere() -> bool {
    std::env::var("TRADEPOST_TEST_TLS").is_ok_and(|set| !set.is_empty())
}

impl Authority {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Self { dir };
        let usage = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=keyCertSign"];
        authority.openssl(
            &[&["req", "-x509", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=authority"], NEW, &usage]
                .concat(),
        );
        authority
    }

    /// Its certificate.
    pub fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// A certificate for these names, good for two days, and its key.
    pub fn issue(&self, name: &str, names: &str) -> (PathBuf, PathBuf) {
        self.issue_for(name, names, "2")
    }

    /// One that has expired when the second is over in which it is made.
    pub fn issue_expired(&self, name: &str, names: &str) -> (PathBuf, PathBuf) {
        self.issue_for(name, names, "0")
    }

    fn issue_for(&self, name: &str, names: &str, days: &str) -> (PathBuf, PathBuf) {
        let file = |ending: &str| format!("{name}.{ending}");
        let (key, request, extensions, chain) = (file("key"), file("csr"), file("ext"), file("pem"));
        let subject = format!("/CN={name}");
        self.openssl(&[&["req", "-nodes", "-keyout", &key, "-out", &request, "-subj", &subject], NEW].concat());
        let text = format!("subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n");
        std::fs::write(self.path(&extensions), text).unwrap();
        let signing = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", days, "-extfile", &extensions];
        self.openssl(&[&["x509", "-req", "-in", &request, "-out", &chain], &signing[..]].concat());
        (self.path(&chain), self.path(&key))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn openssl(&self, args: &[&str]) {
        let output = Command::new("openssl").args(args).current_dir(self.dir.path()).output();
        let output = output.expect("these tests need the program openssl");
        assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A shop that shows `server`, lets in whom this authority vouches for, and shows `client` to others.
    pub fn apply(&self, settings: &mut Settings) {
        let some = |name: &str| Some(self.path(name));
        let server = &mut settings.server;
        (server.tls_cert, server.tls_key, server.tls_client_ca) = (some("server.pem"), some("server.key"), some("ca.pem"));
        server.tls_client = ClientCertificates::Required;
        let tls = &mut settings.tls;
        (tls.ca, tls.cert, tls.key) = (some("ca.pem"), some("client.pem"), some("client.key"));
    }
}

/// A new key: P-256, which is made in no time.
const NEW: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

/// The TLS of these settings in the environment's spelling.
pub fn environment(settings: &Settings) -> Vec<(String, String)> {
    let (server, tls) = (&settings.server, &settings.tls);
    let path = |key: &str, path: &Option<PathBuf>| path.as_ref().map(|path| (format!("TRADEPOST__{key}"), show(path)));
    let paths = [
        path("SERVER__TLS_CERT", &server.tls_cert),
        path("SERVER__TLS_KEY", &server.tls_key),
        path("SERVER__TLS_CLIENT_CA", &server.tls_client_ca),
        path("TLS__CA", &tls.ca),
        path("TLS__CERT", &tls.cert),
        path("TLS__KEY", &tls.key),
    ];
    let clients = serde_json::to_value(server.tls_client).unwrap();
    let clients = ("TRADEPOST__SERVER__TLS_CLIENT".to_string(), clients.as_str().unwrap().to_string());
    paths.into_iter().flatten().chain([clients]).collect()
}

fn show(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A client's TLS: trusts this authority alone, and shows this certificate.
pub fn client(ca: &Path, shown: Option<&(PathBuf, PathBuf)>) -> ClientConfig {
    let config = ClientConfig::builder().with_root_certificates(only(ca));
    let Some((chain, key)) = shown else { return config.with_no_client_auth() };
    let chain = CertificateDer::pem_file_iter(chain).unwrap().map(Result::unwrap).collect();
    config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
}

/// One that speaks this version alone.
pub fn restricted(ca: &Path, version: &'static SupportedProtocolVersion) -> ClientConfig {
    let roots = only(ca);
    ClientConfig::builder_with_protocol_versions(&[version]).with_root_certificates(roots).with_no_client_auth()
}

fn only(ca: &Path) -> RootCertStore {
    tradepost::platform::tls::install();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    roots
}

/// An HTTP client with it.
pub fn http(config: ClientConfig) -> awc::Client {
    let connector = awc::Connector::new().rustls_0_23(Arc::new(config));
    awc::Client::builder().connector(connector).timeout(std::time::Duration::from_secs(60)).finish()
}
