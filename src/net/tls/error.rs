//! Errors in the files and settings of TLS.

use crate::kernel::error::ComponentError;
#[cfg(feature = "tls")]
use std::{io, path::PathBuf};

/// Why TLS cannot be set up. File contents are never shown, as they may be a key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[cfg(not(feature = "tls"))]
    #[error("{key}: TLS is not compiled into this build; build with --features tls")]
    NotCompiledIn { key: &'static str },
    #[cfg(feature = "tls")]
    #[error("{key}: cannot read {}: {cause}", .path.display())]
    Read {
        key: &'static str,
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[cfg(feature = "tls")]
    #[error("{key}: {}: {cause}", .path.display())]
    Content {
        key: &'static str,
        path: PathBuf,
        #[source]
        cause: ContentError,
    },
    /// A certificate without its key, or a key without its certificate.
    #[cfg(feature = "tls")]
    #[error("{set} is set and {missing} is not; a {kind} needs its {other}")]
    MissingCounterpart {
        set: &'static str,
        missing: &'static str,
        /// `certificate` or `key`.
        kind: &'static str,
        other: &'static str,
    },
    /// Not exactly two files.
    #[cfg(feature = "tls")]
    #[error("expected a certificate and its key")]
    NotAPair,
    #[cfg(feature = "tls")]
    #[error("server.tls_cert is not set; client certificates need a server certificate")]
    NoServerCertificate,
    #[cfg(feature = "tls")]
    #[error("server.tls_client_ca is set and server.tls_client is \"none\"; set it to \"optional\" or \"required\"")]
    ClientCaUnused,
    #[cfg(feature = "tls")]
    #[error("server.tls_client_ca is not set; it names the authorities that sign client certificates")]
    NoClientCa,
    /// rustls rejects the authorities.
    #[cfg(feature = "tls")]
    #[error("{key}: {cause}")]
    Verifier {
        key: &'static str,
        #[source]
        cause: rustls::client::VerifierBuilderError,
    },
    /// The mail client rejects a file.
    #[cfg(all(feature = "tls", feature = "notification"))]
    #[error("{key}: {cause}")]
    MailFile {
        key: &'static str,
        #[source]
        cause: lettre::transport::smtp::Error,
    },
    /// The certificate for mail servers is not PEM.
    #[cfg(all(feature = "tls", feature = "notification"))]
    #[error("tls.cert: {0}")]
    MailCertificate(#[source] rustls::pki_types::pem::Error),
    /// The mail client accepts each file, but not their combination.
    #[cfg(all(feature = "tls", feature = "notification"))]
    #[error(transparent)]
    Mail(#[from] lettre::transport::smtp::Error),
}

impl ComponentError for TlsError {}

/// Why the content of a certificate or key file is invalid.
#[cfg(feature = "tls")]
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    #[error("expected certificates in PEM")]
    NoCertificates,
    /// Without the cause, which may quote a key.
    #[error("expected a private key in PEM, not encrypted")]
    NoKey,
    #[error("does not belong to the certificate in {} ({key})", .path.display())]
    KeyMismatch {
        path: PathBuf,
        /// The setting that names the certificate.
        key: &'static str,
    },
    #[error("unsupported key: expected RSA of 2048 bits or more, ECDSA P-256, P-384 or Ed25519")]
    UnusableKey,
    /// The leaf certificate.
    #[error("the certificate cannot be read: {0}")]
    MalformedCertificate(#[source] rustls::Error),
    #[error("a certificate in it cannot be read: {0}")]
    MalformedAuthority(#[source] rustls::Error),
    #[error("the certificate has expired")]
    Expired,
    #[error("the certificate is not valid yet")]
    NotValidYet,
}
