//! Who this process is to those who ask it, and whom of them it lets in.

use super::TlsError;
use super::files::{Kept, add_roots, identity, pair};
use super::renewals::Renewals;
use crate::settings::{ClientCertificates, Server};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DistinguishedName, Error, RootCertStore, ServerConfig};
use std::sync::Arc;

/// The process's own certificate, where it has one.
pub(super) fn own(server: &Server) -> Result<Option<Arc<Kept<CertifiedKey>>>, TlsError> {
    let paths = pair(("server.tls_cert", &server.tls_cert), ("server.tls_key", &server.tls_key))?;
    if paths.is_none() && (server.tls_client != ClientCertificates::None || server.tls_client_ca.is_some()) {
        return Err(TlsError::NoServerCertificate);
    }
    paths.map(|paths| Kept::new(paths, identity)).transpose()
}

/// TLS 1.2 and 1.3; which of HTTP/2 and HTTP/1.1 is agreed on by ALPN, to which actix-web adds both.
pub(super) fn config(server: &Server, own: Arc<Kept<CertifiedKey>>, renewals: &mut Renewals) -> Result<Box<ServerConfig>, TlsError> {
    let clients = clients(server, renewals)?;
    renewals.0.push(own.clone());
    let mut config = ServerConfig::builder().with_client_cert_verifier(clients).with_cert_resolver(Arc::new(Own(own)));
    if server.tls_client != ClientCertificates::None {
        // in a session that is resumed nobody asks whether the client is still vouched for
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Box::new(config))
}

fn clients(server: &Server, renewals: &mut Renewals) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let required = server.tls_client == ClientCertificates::Required;
    match (server.tls_client, server.tls_client_ca.clone()) {
        (ClientCertificates::None, None) => Ok(WebPkiClientVerifier::no_client_auth()),
        (ClientCertificates::None, Some(_)) => Err(TlsError::ClientCaUnused),
        (_, None) => Err(TlsError::NoClientCa),
        (_, Some(path)) => {
            let kept = Kept::new(vec![("server.tls_client_ca", path)], move |files| {
                let mut roots = RootCertStore::empty();
                add_roots(&mut roots, files)?;
                let verifier = WebPkiClientVerifier::builder(roots.into());
                let verifier = if required { verifier } else { verifier.allow_unauthenticated() };
                verifier.build().map_err(|cause| TlsError::Verifier { key: "server.tls_client_ca", cause })
            })?;
            renewals.0.push(kept.clone());
            Ok(Arc::new(Clients { kept, required }))
        }
    }
}

#[derive(Debug)]
struct Own(Arc<Kept<CertifiedKey>>);

impl ResolvesServerCert for Own {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.get())
    }
}

/// Clients whose certificate one of the authorities has signed.
#[derive(Debug)]
struct Clients {
    kept: Arc<Kept<dyn ClientCertVerifier>>,
    required: bool,
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    // whose certificates are taken is no secret, but it changes: clients show what they have
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.kept.get().verify_client_cert(end_entity, intermediates, now);
        verified.inspect_err(|cause| tracing::debug!(%cause, "a client's certificate was refused"))
    }

    signatures_by!(kept);
}
