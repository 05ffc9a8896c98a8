//! TLS of this process's clients: verification of servers, and the client certificate. All clients share one
//! configuration.

use super::TlsError;
use super::files::{Reload, ReloadableFiles, add_roots, certificate_and_key_paths, certified_key};
use super::provider;
use super::reload::CertificateReloader;
use crate::settings::Tls;
use parking_lot::RwLock;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, Error, RootCertStore, SignatureScheme, StreamOwned};
use std::io::{self, Read, Write};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The configuration, and the settings that it was built from.
type ActiveConfig = (Arc<ClientConfig>, Tls);

static CURRENT: RwLock<Option<ActiveConfig>> = RwLock::new(None);

/// Every client built from now on uses these settings. `own_certificate` is this process's server certificate.
pub(super) fn activate(
    tls: &Tls,
    own_certificate: Option<Arc<ReloadableFiles<CertifiedKey>>>,
    reloader: &mut CertificateReloader,
) -> Result<(), TlsError> {
    let config = build_config(tls, own_certificate, reloader)?;
    *CURRENT.write() = Some((config, tls.clone()));
    Ok(())
}

pub(super) fn is_active() -> bool {
    CURRENT.read().is_some()
}

/// The TLS configuration of every client of this process. Before `start`: public authorities only, and no
/// client certificate.
///
/// ALPN offers only HTTP/1.1: awc would send all calls to an instance over one HTTP/2 connection, and a broken
/// connection would abort all of them. With HTTP/1.1 it aborts one call.
pub fn client_config() -> Result<Arc<ClientConfig>, TlsError> {
    if let Some((config, _)) = &*CURRENT.read() {
        return Ok(config.clone());
    }
    provider::install();
    build_config(&Tls::default(), None, &mut CertificateReloader::default())
}

fn build_config(
    tls: &Tls,
    own_certificate: Option<Arc<ReloadableFiles<CertifiedKey>>>,
    reloader: &mut CertificateReloader,
) -> Result<Arc<ClientConfig>, TlsError> {
    let authorities = tls.ca.iter().map(|path| ("tls.ca", path.clone())).collect();
    let roots = ReloadableFiles::new(authorities, |files| {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        add_roots(&mut roots, files)?;
        WebPkiServerVerifier::builder(roots.into()).build().map_err(|cause| TlsError::Verifier { key: "tls.ca", cause })
    })?;
    let client_certificate = certificate_and_key_paths(("tls.cert", &tls.cert), ("tls.key", &tls.key))?
        .map(|paths| ReloadableFiles::new(paths, certified_key))
        .transpose()?;
    let builder = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ServerVerifier { roots: roots.clone(), own_certificate }));
    let mut config = match &client_certificate {
        Some(certificate) => builder.with_client_cert_resolver(Arc::new(ClientCertificateResolver(certificate.clone()))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // rustls does not verify the server again when a session is resumed. Connections are kept alive, so full
    // handshakes are rare.
    config.resumption = Resumption::disabled();
    if tls.ca.is_some() {
        reloader.add(roots);
    }
    if let Some(certificate) = client_certificate {
        reloader.add(certificate);
    }
    Ok(Arc::new(config))
}

/// Accepts servers whose certificate an authority has signed for their name, and this process's own certificate.
///
/// A process calls itself, health checks and other processes on the same machine by IP address, which certificates
/// seldom contain. At an IP address, a server with this process's own certificate is therefore accepted: it has
/// proved that it holds the private key.
#[derive(Debug)]
struct ServerVerifier {
    roots: Arc<ReloadableFiles<WebPkiServerVerifier>>,
    own_certificate: Option<Arc<ReloadableFiles<CertifiedKey>>>,
}

/// During a renewal, processes with the same files reload at different times: the peer may still use the previous
/// certificate, or already use one that this process has not loaded yet.
fn is_own_certificate(own: &ReloadableFiles<CertifiedKey>, presented: &CertificateDer<'_>) -> bool {
    let matches = |own: Arc<CertifiedKey>| own.end_entity_cert().is_ok_and(|own| own == presented);
    matches(own.current()) || own.previous().is_some_and(matches) || {
        own.reload_if_changed();
        matches(own.current())
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let own = self.own_certificate.as_ref().filter(|_| matches!(server_name, ServerName::IpAddress(_)));
        if own.is_some_and(|own| is_own_certificate(own, end_entity)) {
            return Ok(ServerCertVerified::assertion());
        }
        self.roots.current().verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    signatures_by!(roots);
}

#[derive(Debug)]
struct ClientCertificateResolver(Arc<ReloadableFiles<CertifiedKey>>);

impl ResolvesClientCert for ClientCertificateResolver {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    let host = host.trim_start_matches('[').trim_end_matches(']').to_string();
    ServerName::try_from(host).map_err(|cause| io::Error::new(io::ErrorKind::InvalidInput, cause))
}

/// Performs the TLS handshake with `host` on a TCP connection.
pub async fn connect(stream: TcpStream, host: &str) -> io::Result<TlsStream<TcpStream>> {
    TlsConnector::from(client_config().map_err(io::Error::other)?).connect(server_name(host)?, stream).await
}

/// Blocking [`connect`].
pub fn connect_blocking(stream: std::net::TcpStream, host: &str) -> io::Result<impl Read + Write + use<>> {
    let connection = ClientConnection::new(client_config().map_err(io::Error::other)?, server_name(host)?).map_err(io::Error::other)?;
    Ok(StreamOwned::new(connection, stream))
}

/// The same settings for lettre, which has its own TLS configuration. The files are read once: mail servers get a
/// renewed certificate after a restart.
#[cfg(feature = "notification")]
pub fn mail_parameters(host: &str) -> Result<lettre::transport::smtp::client::TlsParameters, TlsError> {
    use lettre::transport::smtp::client::{Certificate, Identity, TlsParameters};
    use rustls::pki_types::pem::PemObject;
    let tls = CURRENT.read().as_ref().map(|(_, tls)| tls.clone()).unwrap_or_default();
    let read = |key, path: &std::path::Path| std::fs::read(path).map_err(|cause| TlsError::Read { key, path: path.into(), cause });
    let mut parameters = TlsParameters::builder(host.into());
    if let Some(path) = &tls.ca {
        let authorities = Certificate::from_pem(&read("tls.ca", path)?);
        parameters = parameters.add_root_certificate(authorities.map_err(|cause| TlsError::MailFile { key: "tls.ca", cause })?);
    }
    if let (Some(cert), Some(key)) = (&tls.cert, &tls.key) {
        // lettre 0.11 expects DER of a single certificate here, although it calls it PEM: intermediates are not sent
        let chain = CertificateDer::from_pem_slice(&read("tls.cert", cert)?).map_err(TlsError::MailCertificate)?;
        let identity = Identity::from_pem(&chain, &read("tls.key", key)?).map_err(|cause| TlsError::MailFile { key: "tls.key", cause })?;
        parameters = parameters.identify_with(identity);
    }
    Ok(parameters.build()?)
}
