//! The way to a server: its URL, TLS, and what a refusal on that way means for who set them.

use super::connections::NoConnection;
use crate::config::{MySqlUrl, Tls};
use mysql_async::{Error, Opts, OptsBuilder, SslOpts};

/// What `connect` needs to know of this server; otherwise what is wrong with which setting. `name` is the
/// module's.
pub(super) fn to(server: &MySqlUrl, name: &str) -> Result<Opts, String> {
    let opts = Opts::from_url(server.url.expose()).map_err(|cause| format!("{name}.store: {cause}; TLS is chosen by mysql.ssl_mode"))?;
    if opts.ssl_opts().is_some() {
        return Err(format!("{name}.store: take require_ssl out of the URL; mysql.ssl_mode = \"verify_identity\" chooses TLS"));
    }
    // a socket beside the port would be quicker and is not what was asked to be encrypted
    let (tls, socket) = (server.tls.as_ref().map(trust).transpose()?, server.tls.is_none() && opts.prefer_socket());
    // statements are cached above; a row that was found counts as changed, as on every backend
    Ok(OptsBuilder::from_opts(opts).ssl_opts(tls).prefer_socket(socket).stmt_cache_size(0).client_found_rows(true).into())
}

#[cfg(not(feature = "tls"))]
fn trust(_: &Tls) -> Result<SslOpts, String> {
    Err("mysql.ssl_mode: TLS is not compiled into this build (--features tls)".into())
}

#[cfg(feature = "tls")]
fn trust(tls: &Tls) -> Result<SslOpts, String> {
    pem::trust(tls)
}

/// A refusal in words that name the setting; `encrypted`: whether TLS was asked for.
pub(super) fn refused(error: &Error, encrypted: bool) -> NoConnection {
    let hint = match error {
        // MariaDB's word for it where it takes nothing but TLS
        Error::Server(cause) if cause.code == 1045 && !encrypted => {
            "; if the server takes nothing but TLS, set mysql.ssl_mode = \"verify_identity\""
        }
        Error::Server(cause) if cause.message.contains("insecure transport") => "; set mysql.ssl_mode = \"verify_identity\"",
        Error::Server(_) => "",
        Error::Driver(mysql_async::DriverError::NoClientSslFlagFromServer) => {
            "; give the server a certificate, or set mysql.ssl_mode = \"disabled\""
        }
        other => match unverified(other) {
            Some(hint) => hint,
            None => return NoConnection { cause: other.to_string(), later: true },
        },
    };
    NoConnection { cause: format!("{error}{hint}"), later: false }
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
    use super::{SslOpts, Tls};
    use mysql_async::ClientIdentity;
    use rsa::pkcs1::EncodeRsaPrivateKey;
    use rsa::pkcs8::DecodePrivateKey;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use std::path::Path;

    /// The public authorities, and those of `tls.ca`; ourselves, where there is a certificate.
    pub(super) fn trust(tls: &Tls) -> Result<SslOpts, String> {
        crate::platform::tls::install();
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
            (Some(_), None) => return Err("tls.key is missing: tls.cert needs its key".into()),
            (None, Some(_)) => return Err("tls.cert is missing: tls.key needs its certificate".into()),
        })
    }

    /// A file of certificates as it is, once it is known to be one.
    fn certificates(path: &Path, key: &str) -> Result<Vec<u8>, String> {
        let wrong = |cause: &dyn std::fmt::Display| format!("{key}: {}: {cause}; expected certificates in PEM", path.display());
        let text = std::fs::read(path).map_err(|cause| wrong(&cause))?;
        let found = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>().map_err(|cause| wrong(&cause))?;
        if found.is_empty() { Err(wrong(&"it has none")) } else { Ok(text) }
    }

    /// In the one form that the driver reads: PKCS#1.
    fn private_key(path: &Path) -> Result<Vec<u8>, String> {
        let wrong = |cause: &dyn std::fmt::Display| format!("tls.key: {}: {cause}; expected an RSA key in PEM", path.display());
        match PrivateKeyDer::from_pem_file(path).map_err(|cause| wrong(&cause))? {
            PrivateKeyDer::Pkcs1(key) => Ok(key.secret_pkcs1_der().to_vec()),
            PrivateKeyDer::Pkcs8(key) => {
                let key = rsa::PrivateKey::from_pkcs8_der(key.secret_pkcs8_der()).map_err(|cause| wrong(&cause))?;
                Ok(key.to_pkcs1_der().map_err(|cause| wrong(&cause))?.as_bytes().to_vec())
            }
            _ => Err(wrong(&"MySQL's driver takes no other")),
        }
    }
}
