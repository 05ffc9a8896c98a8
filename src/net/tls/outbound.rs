//! Whom this process trusts, and who it is to those whom it asks. One configuration for all its clients.

use super::TlsError;
use super::files::{Kept, Watch, add_roots, identity, pair};
use super::provider;
use super::renewals::Renewals;
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

/// The configuration, and the settings that it was made of.
type Current = (Arc<ClientConfig>, Tls);

static CURRENT: RwLock<Option<Current>> = RwLock::new(None);

/// Makes these settings those of every client that is made from here on. `own` is what this process shows
/// to those who ask it.
pub(super) fn install(tls: &Tls, own: Option<Arc<Kept<CertifiedKey>>>, renewals: &mut Renewals) -> Result<(), TlsError> {
    let made = make(tls, own, renewals)?;
    *CURRENT.write() = Some((made, tls.clone()));
    Ok(())
}

/// Whether settings have been made those of the clients.
pub(super) fn is_installed() -> bool {
    CURRENT.read().is_some()
}

/// How every client of this process speaks TLS; before anything is set, as a browser does.
///
/// HTTP/1.1 is all it offers: awc would put every call to an instance on one HTTP/2 connection, and one that
/// breaks would then break all of them off at once, where with HTTP/1.1 it is one call.
pub fn config() -> Result<Arc<ClientConfig>, TlsError> {
    if let Some((config, _)) = &*CURRENT.read() {
        return Ok(config.clone());
    }
    provider::install();
    make(&Tls::default(), None, &mut Renewals::default())
}

fn make(tls: &Tls, own: Option<Arc<Kept<CertifiedKey>>>, renewals: &mut Renewals) -> Result<Arc<ClientConfig>, TlsError> {
    let authorities = tls.ca.iter().map(|path| ("tls.ca", path.clone())).collect();
    let roots = Kept::new(authorities, |files| {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        add_roots(&mut roots, files)?;
        WebPkiServerVerifier::builder(roots.into()).build().map_err(|cause| TlsError::Verifier { key: "tls.ca", cause })
    })?;
    let shown = pair(("tls.cert", &tls.cert), ("tls.key", &tls.key))?.map(|paths| Kept::new(paths, identity)).transpose()?;
    let builder = ClientConfig::builder().dangerous().with_custom_certificate_verifier(Arc::new(Trust { roots: roots.clone(), own }));
    let mut config = match &shown {
        Some(shown) => builder.with_client_cert_resolver(Arc::new(Shown(shown.clone()))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // whom we no longer trust must not be reached in an old session; connections are kept, so new ones are few
    config.resumption = Resumption::disabled();
    if tls.ca.is_some() {
        renewals.0.push(roots);
    }
    if let Some(shown) = shown {
        renewals.0.push(shown);
    }
    Ok(Arc::new(config))
}

/// Servers that an authority vouches for, by name; and this very process, or one with the same key.
///
/// Calls of a process to itself, health checks and the processes of a shop on one machine go by address, which
/// a certificate seldom names. Who proves to have our own private key may answer there.
#[derive(Debug)]
struct Trust {
    roots: Arc<Kept<WebPkiServerVerifier>>,
    own: Option<Arc<Kept<CertifiedKey>>>,
}

/// While it is being renewed one process has looked at the files already and another has not: what counted
/// before is still ours, and what we have not seen yet may be there by now.
fn is_one_of_ours(own: &Kept<CertifiedKey>, shown: &CertificateDer<'_>) -> bool {
    let is = |own: Arc<CertifiedKey>| own.end_entity_cert().is_ok_and(|own| own == shown);
    is(own.get()) || own.before().is_some_and(is) || {
        own.look();
        is(own.get())
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let own = self.own.as_ref().filter(|_| matches!(server_name, ServerName::IpAddress(_)));
        if own.is_some_and(|own| is_one_of_ours(own, end_entity)) {
            return Ok(ServerCertVerified::assertion());
        }
        self.roots.get().verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    signatures_by!(roots);
}

#[derive(Debug)]
struct Shown(Arc<Kept<CertifiedKey>>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.get())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn name(host: &str) -> io::Result<ServerName<'static>> {
    let host = host.trim_start_matches('[').trim_end_matches(']').to_string();
    ServerName::try_from(host).map_err(|cause| io::Error::new(io::ErrorKind::InvalidInput, cause))
}

/// TLS on a connection to this host.
pub async fn connect(stream: TcpStream, host: &str) -> io::Result<TlsStream<TcpStream>> {
    TlsConnector::from(config().map_err(io::Error::other)?).connect(name(host)?, stream).await
}

/// The same, for one who waits.
pub fn blocking(stream: std::net::TcpStream, host: &str) -> io::Result<impl Read + Write + use<>> {
    let connection = ClientConnection::new(config().map_err(io::Error::other)?, name(host)?).map_err(io::Error::other)?;
    Ok(StreamOwned::new(connection, stream))
}

/// The same settings for lettre, which has a configuration of its own. They are read once: a renewed
/// certificate is shown to mail servers after a restart.
#[cfg(feature = "notification")]
pub fn mail(host: &str) -> Result<lettre::transport::smtp::client::TlsParameters, TlsError> {
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
        // lettre 0.11 takes what it calls PEM for the DER of one certificate: those between it and its authority are not sent
        let chain = CertificateDer::from_pem_slice(&read("tls.cert", cert)?).map_err(TlsError::MailCertificate)?;
        let identity = Identity::from_pem(&chain, &read("tls.key", key)?).map_err(|cause| TlsError::MailFile { key: "tls.key", cause })?;
        parameters = parameters.identify_with(identity);
    }
    Ok(parameters.build()?)
}
