//! TLS, in and out: who this process is, whom it trusts, and that both are read again when their files change.
//!
//! Certificates are renewed while a process runs (cert-manager, a Vault agent). Their files are looked at
//! every [`LOOK`]; what is good counts for every connection from then on, what is not is warned of and the one
//! before stays. Connections that are open are left alone.
//!
//! A client certificate says who may connect; who may call is said by tokens, with TLS as without.

/// Signatures in handshakes, as the verifier judges them that counts now.
#[cfg(feature = "tls")]
macro_rules! signatures_by {
    ($verifier:ident) => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &rustls::pki_types::CertificateDer<'_>,
            dss: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            self.$verifier.get().verify_tls12_signature(message, cert, dss)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &rustls::pki_types::CertificateDer<'_>,
            dss: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            self.$verifier.get().verify_tls13_signature(message, cert, dss)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            self.$verifier.get().supported_verify_schemes()
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
mod renewals;
#[cfg(all(test, feature = "tls"))]
mod tests;

use crate::settings::Settings;

#[cfg(feature = "tls")]
pub use error::ContentError;
pub use error::TlsError;
#[cfg(all(feature = "tls", feature = "notification"))]
pub use outbound::mail;
#[cfg(feature = "tls")]
pub use outbound::{blocking, config, connect};
#[cfg(feature = "tls")]
pub use provider::install;
pub use renewals::Renewals;

/// How a process is asked over TLS.
#[cfg(feature = "tls")]
pub type Inbound = Box<rustls::ServerConfig>;
/// How a process is asked over TLS: in this build, not at all.
#[cfg(not(feature = "tls"))]
pub type Inbound = std::convert::Infallible;

/// A process's TLS, both ways.
pub struct Both {
    /// How it is asked; none where it has no certificate.
    pub inbound: Option<Inbound>,
    /// What is to be looked at while it runs.
    pub renewals: Renewals,
}

/// Reads what these settings name, in `server.tls_*` and `tls.*`. From here on every client of this process
/// trusts and shows what they say. What is wrong is said with its key.
#[cfg(feature = "tls")]
pub fn start(settings: &Settings) -> Result<Both, TlsError> {
    install();
    let mut renewals = Renewals::default();
    let own = inbound::own(&settings.server)?;
    outbound::install(&settings.tls, own.clone(), &mut renewals)?;
    let inbound = own.map(|own| inbound::config(&settings.server, own, &mut renewals)).transpose()?;
    Ok(Both { inbound, renewals })
}

/// The same for a process that has yet to ask for some of its settings; where it is past its start, nothing.
pub fn before_start(settings: &Settings) -> Result<(), TlsError> {
    #[cfg(feature = "tls")]
    if outbound::is_installed() {
        return Ok(());
    }
    start(settings).map(drop)
}

/// Says which setting asks for what is not compiled in.
#[cfg(not(feature = "tls"))]
pub fn start(settings: &Settings) -> Result<Both, TlsError> {
    let (server, tls) = (&settings.server, &settings.tls);
    let asked = [
        ("server.tls_cert", &server.tls_cert),
        ("server.tls_key", &server.tls_key),
        ("server.tls_client_ca", &server.tls_client_ca),
        ("tls.ca", &tls.ca),
        ("tls.cert", &tls.cert),
        ("tls.key", &tls.key),
    ];
    match asked.iter().find(|(_, path)| path.is_some()) {
        Some((key, _)) => Err(TlsError::NotCompiledIn { key }),
        None => Ok(Both { inbound: None, renewals: Renewals::default() }),
    }
}
