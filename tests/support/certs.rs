//! Certificates for one test run, created by `.ci/services/certificates.sh`, which needs `openssl`.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock};
use tempfile::TempDir;
use tradepost::settings::{ClientCertificates, Settings};

/// A certificate authority and the folder with the certificates it issued.
pub struct Authority {
    dir: PathBuf,
    _made: Option<TempDir>,
}

/// The authority in the folder that `TRADEPOST_TEST_TLS` names. If the variable is set, every shop under test uses
/// mutual TLS with its certificates.
pub static SHARED: LazyLock<Option<Authority>> = LazyLock::new(|| {
    let dir = std::env::var_os("TRADEPOST_TEST_TLS").filter(|dir| !dir.is_empty())?;
    Some(Authority { dir: dir.into(), _made: None })
});

impl Authority {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Self { dir: dir.path().into(), _made: Some(dir) };
        authority.run("authority", &[]);
        authority
    }

    pub fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// Issues a certificate for these names, valid for two days. Returns the paths of certificate and key.
    pub fn issue(&self, name: &str, names: &str) -> (PathBuf, PathBuf) {
        self.run("issue", &[name, names, "2"]);
        self.pair(name)
    }

    /// Issues a certificate that expires within the second of its creation.
    pub fn issue_expired(&self, name: &str, names: &str) -> (PathBuf, PathBuf) {
        self.run("issue", &[name, names, "0"]);
        self.pair(name)
    }

    /// Paths of a certificate issued earlier and of its key.
    pub fn pair(&self, name: &str) -> (PathBuf, PathBuf) {
        (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn run(&self, command: &str, args: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/services/certificates.sh");
        let output = Command::new(script).arg(command).arg(&self.dir).args(args).output().unwrap();
        assert!(output.status.success(), "{command} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Configures mutual TLS: the `server` certificate, required client certificates of this authority, and the `client`
    /// certificate for outgoing calls.
    pub fn apply(&self, settings: &mut Settings) {
        let some = |name: &str| Some(self.path(name));
        let server = &mut settings.server;
        (server.tls_cert, server.tls_key, server.tls_client_ca) = (some("server.pem"), some("server.key"), some("ca.pem"));
        server.tls_client = ClientCertificates::Required;
        let tls = &mut settings.tls;
        (tls.ca, tls.cert, tls.key) = (some("ca.pem"), some("client.pem"), some("client.key"));
    }
}

/// The TLS settings as environment variables.
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

/// Client configuration that trusts only this authority and presents this certificate.
pub fn client(ca: &Path, presented: Option<&(PathBuf, PathBuf)>) -> ClientConfig {
    let config = ClientConfig::builder().with_root_certificates(only(ca));
    let Some((chain, key)) = presented else { return config.with_no_client_auth() };
    let chain = CertificateDer::pem_file_iter(chain).unwrap().map(Result::unwrap).collect();
    config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
}

/// Client configuration limited to one TLS version.
pub fn restricted(ca: &Path, version: &'static SupportedProtocolVersion) -> ClientConfig {
    let roots = only(ca);
    ClientConfig::builder_with_protocol_versions(&[version]).with_root_certificates(roots).with_no_client_auth()
}

/// A root store with this authority only.
pub fn only(ca: &Path) -> RootCertStore {
    tradepost::net::tls::install();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    roots
}

pub fn http(config: ClientConfig) -> awc::Client {
    let connector = awc::Connector::new().rustls_0_23(Arc::new(config));
    awc::Client::builder().connector(connector).timeout(std::time::Duration::from_secs(60)).finish()
}
