//! Connection options (URL, TLS), and mapping of connect errors to settings.

use super::error::ConnectError;
use crate::kernel::error::ComponentError;
use crate::settings::{MySqlUrl, Tls};
use mysql_async::{Error, Opts, OptsBuilder, SslOpts, UrlError};
#[cfg(feature = "tls")]
use std::path::PathBuf;

/// Access denied: to a database, with a password, without one. MariaDB also sends the second if it requires TLS.
const ACCESS_DENIED: [u16; 3] = [1044, 1045, 1698];
/// MySQL's `require_secure_transport`.
const TLS_REQUIRED: u16 = 3159;

/// Why the settings of a MySQL store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MySqlUrlError {
    #[error("{module}.store: {cause}; TLS is chosen by mysql.ssl_mode")]
    Url {
        module: String,
        #[source]
        cause: UrlError,
    },
    /// TLS options in the URL.
    #[error("{module}.store: take require_ssl out of the URL; mysql.ssl_mode = \"verify_identity\" chooses TLS")]
    TlsInUrl { module: String },
    #[cfg(not(feature = "tls"))]
    #[error("mysql.ssl_mode: TLS is not compiled into this build (--features tls)")]
    NoTls,
    #[cfg(feature = "tls")]
    #[error("tls.key is missing: tls.cert needs its key")]
    NoKey,
    #[cfg(feature = "tls")]
    #[error("tls.cert is missing: tls.key needs its certificate")]
    NoCertificate,
    /// A file of the settings `tls.*`.
    #[cfg(feature = "tls")]
    #[error("{key}: {}: {cause}; expected {expected} in PEM", .path.display())]
    File {
        key: &'static str,
        path: PathBuf,
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
        expected: &'static str,
    },
    /// New settings name another database while the process runs.
    #[error("{module}.store names another database, which needs a restart; only credentials can change without one")]
    OtherDatabase { module: String },
    /// New settings name another backend while the process runs.
    #[cfg(feature = "sqlite")]
    #[error("{module}.store names another kind of store, which needs a restart")]
    OtherStore { module: String },
}

impl ComponentError for MySqlUrlError {}

/// The driver's options for this server. `name` is the module's.
pub(super) fn connect_options(server: &MySqlUrl, name: &str) -> Result<Opts, MySqlUrlError> {
    let opts = Opts::from_url(server.url.expose()).map_err(|cause| MySqlUrlError::Url { module: name.into(), cause })?;
    if opts.ssl_opts().is_some() {
        return Err(MySqlUrlError::TlsInUrl { module: name.into() });
    }
    let tls = server.tls.as_ref().map(trust).transpose()?;
    let socket = tls.is_none() && asks_for_socket(server.url.expose());
    // diesel caches statements itself; updates count matched rows, as on the other backends
    Ok(OptsBuilder::from_opts(opts).ssl_opts(tls).prefer_socket(socket).stmt_cache_size(0).client_found_rows(true).into())
}

/// Whether the URL has `prefer_socket=true`. By default the driver asks a server on loopback for its socket and connects
/// to that file: behind a published or forwarded port this is another server.
fn asks_for_socket(url: &str) -> bool {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    form_urlencoded::parse(query.as_bytes()).any(|(key, value)| key == "prefer_socket" && value == "true")
}

#[cfg(not(feature = "tls"))]
fn trust(_: &Tls) -> Result<SslOpts, MySqlUrlError> {
    Err(MySqlUrlError::NoTls)
}

#[cfg(feature = "tls")]
fn trust(tls: &Tls) -> Result<SslOpts, MySqlUrlError> {
    pem::trust(tls)
}

/// Adds advice that names the setting to a connect error. `encrypted`: the client uses TLS.
pub(super) fn refused(error: &Error, encrypted: bool) -> ConnectError {
    let hint = match error {
        // MariaDB's code if it requires TLS
        Error::Server(cause) if cause.code == 1045 && !encrypted => {
            "; if the server requires TLS, set mysql.ssl_mode = \"verify_identity\""
        }
        Error::Server(cause) if cause.code == TLS_REQUIRED => "; set mysql.ssl_mode = \"verify_identity\"",
        Error::Server(_) => "",
        Error::Driver(mysql_async::DriverError::NoClientSslFlagFromServer) => {
            "; give the server a certificate, or set mysql.ssl_mode = \"disabled\""
        }
        other => match unverified(other) {
            Some(hint) => hint,
            None => return ConnectError { cause: other.to_string(), retryable: true, denied: false },
        },
    };
    let denied = matches!(error, Error::Server(cause) if ACCESS_DENIED.contains(&cause.code));
    ConnectError { cause: format!("{error}{hint}"), retryable: false, denied }
}

#[cfg(not(feature = "tls"))]
fn unverified(_: &Error) -> Option<&'static str> {
    None
}

/// Advice for a failed handshake.
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
        _ => "; the server must offer TLS 1.3, or TLS 1.2 with ECDHE, and accept the certificate of tls.cert",
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

    /// Trusts the public authorities and those of `tls.ca`; uses the client certificate if there is one.
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

    /// Content of a file, after a check that it holds certificates.
    fn certificates(path: &Path, key: &'static str) -> Result<Vec<u8>, MySqlUrlError> {
        let wrong = |cause| MySqlUrlError::File { key, path: path.into(), cause, expected: "certificates" };
        let text = std::fs::read(path).map_err(|cause| wrong(cause.into()))?;
        let found = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>().map_err(|cause| wrong(cause.into()))?;
        if found.is_empty() { Err(wrong("it has none".into())) } else { Ok(text) }
    }

    /// Converts the key to PKCS#1, the only form that the driver reads.
    fn private_key(path: &Path) -> Result<Vec<u8>, MySqlUrlError> {
        let wrong = |cause| MySqlUrlError::File { key: "tls.key", path: path.into(), cause, expected: "an RSA key" };
        match PrivateKeyDer::from_pem_file(path).map_err(|cause| wrong(cause.into()))? {
            PrivateKeyDer::Pkcs1(key) => Ok(key.secret_pkcs1_der().to_vec()),
            PrivateKeyDer::Pkcs8(key) => {
                let key = rsa::PrivateKey::from_pkcs8_der(key.secret_pkcs8_der()).map_err(|cause| wrong(cause.to_string().into()))?;
                Ok(key.to_pkcs1_der().map_err(|cause| wrong(cause.to_string().into()))?.as_bytes().to_vec())
            }
            _ => Err(wrong("MySQL's driver supports no other".into())),
        }
    }
}
