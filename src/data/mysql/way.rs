//! The way to a server: its URL, TLS, and what a refusal on that way means for who set them.

use super::connections::NoConnection;
use crate::kernel::error::PartError;
use crate::settings::{MySqlUrl, Tls};
use mysql_async::{Error, Opts, OptsBuilder, SslOpts, UrlError};
#[cfg(feature = "tls")]
use std::path::PathBuf;

/// Denied to a user: for a database, with a password, without one. MariaDB says the second of them, too, where it
/// takes nothing but TLS.
const ACCESS_DENIED: [u16; 3] = [1044, 1045, 1698];
/// MySQL's `require_secure_transport`.
const TLS_REQUIRED: u16 = 3159;

/// Why the settings of a MySQL store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MySqlUrlError {
    /// Its URL.
    #[error("{module}.store: {cause}; TLS is chosen by mysql.ssl_mode")]
    Url {
        /// The module.
        module: String,
        /// What the driver says.
        #[source]
        cause: UrlError,
    },
    /// TLS by the URL.
    #[error("{module}.store: take require_ssl out of the URL; mysql.ssl_mode = \"verify_identity\" chooses TLS")]
    TlsInUrl {
        /// The module.
        module: String,
    },
    /// TLS in a build without it.
    #[cfg(not(feature = "tls"))]
    #[error("mysql.ssl_mode: TLS is not compiled into this build (--features tls)")]
    NoTls,
    /// A certificate without a key.
    #[cfg(feature = "tls")]
    #[error("tls.key is missing: tls.cert needs its key")]
    NoKey,
    /// A key without a certificate.
    #[cfg(feature = "tls")]
    #[error("tls.cert is missing: tls.key needs its certificate")]
    NoCertificate,
    /// A file of `tls.*`.
    #[cfg(feature = "tls")]
    #[error("{key}: {}: {cause}; expected {expected} in PEM", .path.display())]
    File {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
        /// What it should have.
        expected: &'static str,
    },
    /// Another database, while the process runs.
    #[error("{module}.store names another database, which needs a restart; credentials alone are taken up at once")]
    OtherDatabase {
        /// The module.
        module: String,
    },
    /// Another kind of store, while the process runs.
    #[cfg(feature = "sqlite")]
    #[error("{module}.store names another kind of store, which needs a restart")]
    OtherStore {
        /// The module.
        module: String,
    },
}

impl PartError for MySqlUrlError {}

/// What `connect` needs to know of this server; otherwise what is wrong with which setting. `name` is the
/// module's.
pub(super) fn to(server: &MySqlUrl, name: &str) -> Result<Opts, MySqlUrlError> {
    let opts = Opts::from_url(server.url.expose()).map_err(|cause| MySqlUrlError::Url { module: name.into(), cause })?;
    if opts.ssl_opts().is_some() {
        return Err(MySqlUrlError::TlsInUrl { module: name.into() });
    }
    // a socket beside the port would be quicker and is not what was asked to be encrypted
    let (tls, socket) = (server.tls.as_ref().map(trust).transpose()?, server.tls.is_none() && opts.prefer_socket());
    // statements are cached above; a row that was found counts as changed, as on every backend
    Ok(OptsBuilder::from_opts(opts).ssl_opts(tls).prefer_socket(socket).stmt_cache_size(0).client_found_rows(true).into())
}

#[cfg(not(feature = "tls"))]
fn trust(_: &Tls) -> Result<SslOpts, MySqlUrlError> {
    Err(MySqlUrlError::NoTls)
}

#[cfg(feature = "tls")]
fn trust(tls: &Tls) -> Result<SslOpts, MySqlUrlError> {
    pem::trust(tls)
}

/// A refusal in words that name the setting; `encrypted`: whether TLS was asked for.
pub(super) fn refused(error: &Error, encrypted: bool) -> NoConnection {
    let hint = match error {
        // MariaDB's word for it where it takes nothing but TLS
        Error::Server(cause) if cause.code == 1045 && !encrypted => {
            "; if the server takes nothing but TLS, set mysql.ssl_mode = \"verify_identity\""
        }
        Error::Server(cause) if cause.code == TLS_REQUIRED => "; set mysql.ssl_mode = \"verify_identity\"",
        Error::Server(_) => "",
        Error::Driver(mysql_async::DriverError::NoClientSslFlagFromServer) => {
            "; give the server a certificate, or set mysql.ssl_mode = \"disabled\""
        }
        other => match unverified(other) {
            Some(hint) => hint,
            None => return NoConnection { cause: other.to_string(), later: true, denied: false },
        },
    };
    let denied = matches!(error, Error::Server(cause) if ACCESS_DENIED.contains(&cause.code));
    NoConnection { cause: format!("{error}{hint}"), later: false, denied }
}

#[cfg(not(feature = "tls"))]
fn unverified(_: &Error) -> Option<&'static str> {
    None
}

/// What to do about a failed handshake.
#[cfg(feature = "tls")]
fn unverified(error: &Error) -> Option<&'static str> {
    use rustls::{CertificateError, Error as Tls};
    let Error::Io(mysql_async::IoError::Io(cause)) = error else { return None };
    Some(match cause.get_ref()?.downcast_ref::<Tls>()? {
        Tls::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "; set tls.ca to the certificate of the authority that signed the server's"
        }
        Tls::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
            "; name the server in its URL as its certificate does"
        }
        Tls::InvalidCertificate(_) => "; the server needs another certificate",
        _ => "; the server has to offer TLS 1.3, or TLS 1.2 with ECDHE, and to take the certificate of tls.cert",
    })
}

#[cfg(feature = "tls")]
mod pem {
    use super::{MySqlUrlError, SslOpts, Tls};
    use mysql_async::ClientIdentity;
    use rsa::pkcs1::EncodeRsaPrivateKey;
    use rsa::pkcs8::DecodePrivateKey;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use std::path::Path;

    /// The public authorities, and those of `tls.ca`; ourselves, where there is a certificate.
    pub(super) fn trust(tls: &Tls) -> Result<SslOpts, MySqlUrlError> {
        crate::net::tls::install();
        let mut trusted = SslOpts::default();
        if let Some(path) = &tls.ca {
            trusted = trusted.with_root_certs(vec![certificates(path, "tls.ca")?.into()]);
        }
        Ok(match (&tls.cert, &tls.key) {
            (None, None) => trusted,
            (Some(cert), Some(key)) => {
                let (cert, key) = (certificates(cert, "tls.cert")?, private_key(key)?);
                trusted.with_client_identity(Some(ClientIdentity::new(cert.into(), key.into())))
            }
            (Some(_), None) => return Err(MySqlUrlError::NoKey),
            (None, Some(_)) => return Err(MySqlUrlError::NoCertificate),
        })
    }

    /// A file of certificates as it is, once it is known to be one.
    fn certificates(path: &Path, key: &'static str) -> Result<Vec<u8>, MySqlUrlError> {
        let wrong = |cause| MySqlUrlError::File { key, path: path.into(), cause, expected: "certificates" };
        let text = std::fs::read(path).map_err(|cause| wrong(cause.into()))?;
        let found = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>().map_err(|cause| wrong(cause.into()))?;
        if found.is_empty() { Err(wrong("it has none".into())) } else { Ok(text) }
    }

    /// In the one form that the driver reads: PKCS#1.
    fn private_key(path: &Path) -> Result<Vec<u8>, MySqlUrlError> {
        let wrong = |cause| MySqlUrlError::File { key: "tls.key", path: path.into(), cause, expected: "an RSA key" };
        match PrivateKeyDer::from_pem_file(path).map_err(|cause| wrong(cause.into()))? {
            PrivateKeyDer::Pkcs1(key) => Ok(key.secret_pkcs1_der().to_vec()),
            PrivateKeyDer::Pkcs8(key) => {
                let key = rsa::PrivateKey::from_pkcs8_der(key.secret_pkcs8_der()).map_err(|cause| wrong(cause.to_string().into()))?;
                Ok(key.to_pkcs1_der().map_err(|cause| wrong(cause.to_string().into()))?.as_bytes().to_vec())
            }
            _ => Err(wrong("MySQL's driver takes no other".into())),
        }
    }
}
