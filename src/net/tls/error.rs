//! What is wrong with the files and settings of TLS.

use crate::kernel::error::PartError;
#[cfg(feature = "tls")]
use std::{io, path::PathBuf};

/// Why TLS cannot be set up. What is in a file is never shown: it may be a key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// TLS in a build without it.
    #[cfg(not(feature = "tls"))]
    #[error("{key}: TLS is not compiled into this build; build with --features tls")]
    NotCompiledIn {
        /// The setting that asks for it.
        key: &'static str,
    },
    /// A file that cannot be read.
    #[cfg(feature = "tls")]
    #[error("{key}: cannot read {}: {cause}", .path.display())]
    Read {
        /// The setting that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        cause: io::Error,
    },
    /// A file with something else in it than expected.
    #[cfg(feature = "tls")]
    #[error("{key}: {}: {cause}", .path.display())]
    Content {
        /// The setting that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: ContentError,
    },
    /// A certificate without its key, or a key without its certificate.
    #[cfg(feature = "tls")]
    #[error("{set} is set and {missing} is not; a {kind} is of no use without its {other}")]
    Half {
        /// The setting that is there.
        set: &'static str,
        /// The setting that is not.
        missing: &'static str,
        /// `certificate` or `key`.
        kind: &'static str,
        /// The other of these.
        other: &'static str,
    },
    /// Another number of files than a certificate and its key.
    #[cfg(feature = "tls")]
    #[error("expected a certificate and its key")]
    NoPair,
    /// Client certificates in a process that has none itself.
    #[cfg(feature = "tls")]
    #[error("server.tls_cert is not set; clients can show certificates only where the process has one itself")]
    NoServerCertificate,
    /// Authorities, and no client is asked for a certificate.
    #[cfg(feature = "tls")]
    #[error("server.tls_client_ca is set and server.tls_client is \"none\"; set it to \"optional\" or \"required\"")]
    ClientCaUnused,
    /// Client certificates without authorities that sign them.
    #[cfg(feature = "tls")]
    #[error("server.tls_client_ca is not set; it says whose certificates clients may show")]
    NoClientCa,
    /// Authorities that no verifier can be made of.
    #[cfg(feature = "tls")]
    #[error("{key}: {cause}")]
    Verifier {
        /// The setting that names them.
        key: &'static str,
        /// What rustls says.
        #[source]
        cause: rustls::client::VerifierBuilderError,
    },
    /// A file that the mail client does not take.
    #[cfg(all(feature = "tls", feature = "notification"))]
    #[error("{key}: {cause}")]
    MailFile {
        /// The setting that names it.
        key: &'static str,
        /// What the client says.
        #[source]
        cause: lettre::transport::smtp::Error,
    },
    /// The certificate for mail servers is not PEM.
    #[cfg(all(feature = "tls", feature = "notification"))]
    #[error("tls.cert: {0}")]
    MailCertificate(#[source] rustls::pki_types::pem::Error),
    /// The mail client takes the files one by one, and not together.
    #[cfg(all(feature = "tls", feature = "notification"))]
    #[error(transparent)]
    Mail(#[from] lettre::transport::smtp::Error),
}

impl PartError for TlsError {}

/// What is wrong with a file of certificates or with a key.
#[cfg(feature = "tls")]
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// No certificates.
    #[error("expected certificates in PEM")]
    NoCertificates,
    /// No readable private key. The content is not shown, since it may be a key.
    #[error("expected a private key in PEM, not encrypted")]
    NoKey,
    /// The key of another certificate.
    #[error("does not belong to the certificate in {} ({key})", .path.display())]
    OtherKey {
        /// The certificate's file.
        path: PathBuf,
        /// The setting that names that.
        key: &'static str,
    },
    /// A key of a kind that is not supported.
    #[error("not a key that can be used: expected RSA of 2048 bits or more, ECDSA P-256, P-384 or Ed25519")]
    UnusableKey,
    /// The first certificate.
    #[error("the certificate cannot be read: {0}")]
    Unreadable(#[source] rustls::Error),
    /// One of the authorities.
    #[error("a certificate in it cannot be read: {0}")]
    UnreadableAuthority(#[source] rustls::Error),
    /// Its time is over.
    #[error("the certificate has expired")]
    Expired,
    /// Its time is to come.
    #[error("the certificate is not valid yet")]
    NotValidYet,
}
