//! TLS of the HTTP listener: the server certificate, and the verification of client certificates.

use super::TlsError;
use super::files::{ReloadableFiles, add_roots, certificate_and_key_paths, certified_key};
use super::reload::CertificateReloader;
use crate::settings::{ClientCertificates, Server};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DistinguishedName, Error, RootCertStore, ServerConfig};
use std::sync::Arc;

pub(super) fn certificate(server: &Server) -> Result<Option<Arc<ReloadableFiles<CertifiedKey>>>, TlsError> {
    let paths = certificate_and_key_paths(("server.tls_cert", &server.tls_cert), ("server.tls_key", &server.tls_key))?;
    if paths.is_none() && (server.tls_client != ClientCertificates::None || server.tls_client_ca.is_some()) {
        return Err(TlsError::NoServerCertificate);
    }
    paths.map(|paths| ReloadableFiles::new(paths, certified_key)).transpose()
}

/// TLS 1.2 and 1.3. ALPN selects HTTP/2 or HTTP/1.1; actix-web adds both.
pub(super) fn server_config(
    server: &Server,
    certificate: Arc<ReloadableFiles<CertifiedKey>>,
    reloader: &mut CertificateReloader,
) -> Result<Box<ServerConfig>, TlsError> {
    let verifier = client_verifier(server, reloader)?;
    reloader.add(certificate.clone());
    let mut config =
        ServerConfig::builder().with_client_cert_verifier(verifier).with_cert_resolver(Arc::new(ServerCertificateResolver(certificate)));
    if server.tls_client != ClientCertificates::None {
        // rustls does not verify the client certificate again when a session is resumed
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Box::new(config))
}

fn client_verifier(server: &Server, reloader: &mut CertificateReloader) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let required = server.tls_client == ClientCertificates::Required;
    match (server.tls_client, server.tls_client_ca.clone()) {
        (ClientCertificates::None, None) => Ok(WebPkiClientVerifier::no_client_auth()),
        (ClientCertificates::None, Some(_)) => Err(TlsError::ClientCaUnused),
        (_, None) => Err(TlsError::NoClientCa),
        (_, Some(path)) => {
            let verifiers = ReloadableFiles::new(vec![("server.tls_client_ca", path)], move |files| {
                let mut roots = RootCertStore::empty();
                add_roots(&mut roots, files)?;
                let verifier = WebPkiClientVerifier::builder(roots.into());
                let verifier = if required { verifier } else { verifier.allow_unauthenticated() };
                verifier.build().map_err(|cause| TlsError::Verifier { key: "server.tls_client_ca", cause })
            })?;
            reloader.add(verifiers.clone());
            Ok(Arc::new(ClientVerifier { verifiers, required }))
        }
    }
}

#[derive(Debug)]
struct ServerCertificateResolver(Arc<ReloadableFiles<CertifiedKey>>);

impl ResolvesServerCert for ServerCertificateResolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current())
    }
}

/// Accepts clients whose certificate one of the authorities has signed.
#[derive(Debug)]
struct ClientVerifier {
    verifiers: Arc<ReloadableFiles<dyn ClientCertVerifier>>,
    required: bool,
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    // no hints: a borrowed list cannot follow a reload; without hints, clients send the certificate that they have
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.verifiers.current().verify_client_cert(end_entity, intermediates, now);
        verified.inspect_err(|cause| tracing::debug!(%cause, "client certificate rejected"))
    }

    signatures_by!(verifiers);
}
