//! TLS of the HTTP listener and of all clients, with reload of certificates.
//!
//! Certificates are renewed while a process runs (cert-manager, a Vault agent). The process polls their files. Valid
//! files apply to every new connection; invalid ones are logged, and the previous version stays in use. Open
//! connections are not closed.
//!
//! A client certificate authenticates a connection. Authorization of calls is by token, with TLS as without.

/// Delegates the verification of handshake signatures to the current verifier.
#[cfg(feature = "tls")]
macro_rules! signatures_by {
    ($verifier:ident) => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &rustls::pki_types::CertificateDer<'_>,
            dss: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            self.$verifier.current().verify_tls12_signature(message, cert, dss)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &rustls::pki_types::CertificateDer<'_>,
            dss: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            self.$verifier.current().verify_tls13_signature(message, cert, dss)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            self.$verifier.current().supported_verify_schemes()
        }
    };
}

mod error;
#[cfg(feature = "tls")]
mod files;
#[cfg(feature = "tls")]
mod inbound;
#[cfg(feature = "tls")]
mod outbound;
#[cfg(feature = "tls")]
mod provider;
mod reload;
#[cfg(all(test, feature = "tls"))]
mod tests;

use crate::settings::Settings;

#[cfg(feature = "tls")]
pub use error::ContentError;
pub use error::TlsError;
#[cfg(all(feature = "tls", feature = "notification"))]
pub use outbound::mail_parameters;
#[cfg(feature = "tls")]
pub use outbound::{client_config, connect, connect_blocking};
#[cfg(feature = "tls")]
pub use provider::install;
pub use reload::CertificateReloader;

/// TLS configuration of the HTTP listener.
#[cfg(feature = "tls")]
pub type ServerTlsConfig = Box<rustls::ServerConfig>;
#[cfg(not(feature = "tls"))]
pub type ServerTlsConfig = std::convert::Infallible;

pub struct ProcessTls {
    /// `None` without a server certificate.
    pub inbound: Option<ServerTlsConfig>,
    pub reloader: CertificateReloader,
}

/// Loads the files named by `server.tls_*` and `tls.*`. Every client that this process builds from now on uses them.
/// Errors name the setting.
#[cfg(feature = "tls")]
pub fn start(settings: &Settings) -> Result<ProcessTls, TlsError> {
    install();
    let mut reloader = CertificateReloader::default();
    let certificate = inbound::certificate(&settings.server)?;
    outbound::activate(&settings.tls, certificate.clone(), &mut reloader)?;
    let inbound = certificate.map(|certificate| inbound::server_config(&settings.server, certificate, &mut reloader)).transpose()?;
    Ok(ProcessTls { inbound, reloader })
}

/// [`start`] for a process that loads some of its settings from a server. Does nothing once TLS has started.
pub fn start_if_needed(settings: &Settings) -> Result<(), TlsError> {
    #[cfg(feature = "tls")]
    if outbound::is_active() {
        return Ok(());
    }
    start(settings).map(drop)
}

/// Fails if a setting requires TLS, which is not compiled in.
#[cfg(not(feature = "tls"))]
pub fn start(settings: &Settings) -> Result<ProcessTls, TlsError> {
    let (server, tls) = (&settings.server, &settings.tls);
    let files = [
        ("server.tls_cert", &server.tls_cert),
        ("server.tls_key", &server.tls_key),
        ("server.tls_client_ca", &server.tls_client_ca),
        ("tls.ca", &tls.ca),
        ("tls.cert", &tls.cert),
        ("tls.key", &tls.key),
    ];
    match files.iter().find(|(_, path)| path.is_some()) {
        Some((key, _)) => Err(TlsError::NotCompiledIn { key }),
        None => Ok(ProcessTls { inbound: None, reloader: CertificateReloader::default() }),
    }
}
