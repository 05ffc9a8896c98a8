//! Certificates and keys in files, and values built from them that are rebuilt when the files change.

use super::{ContentError, TlsError};
use parking_lot::{Mutex, RwLock};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Content of a file that a setting names.
#[derive(PartialEq)]
pub(super) struct SourceFile {
    key: &'static str,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl SourceFile {
    fn read(key: &'static str, path: &Path) -> Result<Self, TlsError> {
        let bytes = std::fs::read(path).map_err(|cause| TlsError::Read { key, path: path.into(), cause })?;
        Ok(Self { key, path: path.into(), bytes })
    }

    fn content_error(&self, cause: ContentError) -> TlsError {
        TlsError::Content { key: self.key, path: self.path.clone(), cause }
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        match all {
            Ok(all) if !all.is_empty() => Ok(all),
            _ => Err(self.content_error(ContentError::NoCertificates)),
        }
    }
}

type Build<T> = Box<dyn Fn(&[SourceFile]) -> Result<Arc<T>, TlsError> + Send + Sync>;

struct Versions<T: ?Sized> {
    current: Arc<T>,
    previous: Option<Arc<T>>,
}

struct LastRead {
    /// The files that the current version was built from.
    files: Vec<SourceFile>,
    /// Why the files on disk are rejected.
    error: Option<String>,
}

/// A value built from files, and rebuilt when they change.
pub(super) struct ReloadableFiles<T: ?Sized> {
    paths: Vec<(&'static str, PathBuf)>,
    build: Build<T>,
    versions: RwLock<Versions<T>>,
    last_read: Mutex<LastRead>,
}

impl<T: ?Sized> ReloadableFiles<T> {
    /// `paths`: setting keys with the files that they name.
    pub(super) fn new(
        paths: Vec<(&'static str, PathBuf)>,
        build: impl Fn(&[SourceFile]) -> Result<Arc<T>, TlsError> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, TlsError> {
        let files = read(&paths)?;
        let versions = RwLock::new(Versions { current: build(&files)?, previous: None });
        Ok(Arc::new(Self { paths, build: Box::new(build), versions, last_read: Mutex::new(LastRead { files, error: None }) }))
    }

    pub(super) fn current(&self) -> Arc<T> {
        self.versions.read().current.clone()
    }

    /// The version before the last reload. Another process with the same files may still use it.
    pub(super) fn previous(&self) -> Option<Arc<T>> {
        self.versions.read().previous.clone()
    }
}

impl<T: ?Sized> std::fmt::Debug for ReloadableFiles<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.paths).finish()
    }
}

pub(super) trait Reload {
    fn reload_if_changed(&self);
}

impl<T: ?Sized> Reload for ReloadableFiles<T> {
    fn reload_if_changed(&self) {
        let mut last_read = self.last_read.lock();
        let read = read(&self.paths);
        // rejected files are tried again even if unchanged: a certificate can become valid with time
        if last_read.error.is_none() && read.as_ref().is_ok_and(|files| *files == last_read.files) {
            return;
        }
        match read.and_then(|files| Ok(((self.build)(&files)?, files))) {
            Ok((new, files)) => {
                let mut versions = self.versions.write();
                versions.previous = Some(std::mem::replace(&mut versions.current, new));
                *last_read = LastRead { files, error: None };
                tracing::info!(files = ?self.paths, "certificates reloaded");
            }
            Err(cause) => {
                let cause = cause.to_string();
                // once, not at each poll
                if last_read.error.as_ref() != Some(&cause) {
                    tracing::warn!(cause, "changed certificate files rejected; the previous version stays in use");
                    last_read.error = Some(cause);
                }
            }
        }
    }
}

fn read(paths: &[(&'static str, PathBuf)]) -> Result<Vec<SourceFile>, TlsError> {
    paths.iter().map(|(key, path)| SourceFile::read(key, path)).collect()
}

/// Builds a certificate chain with its private key from two files.
pub(super) fn certified_key(files: &[SourceFile]) -> Result<Arc<CertifiedKey>, TlsError> {
    let [chain, key] = files else { return Err(TlsError::NotAPair) };
    let certificates = chain.certificates()?;
    let first = certificates.first().ok_or_else(|| chain.content_error(ContentError::NoCertificates))?;
    check_validity_period(first).map_err(|cause| chain.content_error(cause))?;
    // the cause is dropped: it may quote a key
    let private = PrivateKeyDer::from_pem_slice(&key.bytes).map_err(|_| key.content_error(ContentError::NoKey))?;
    match CertifiedKey::from_der(certificates.clone(), private, &default_provider()) {
        Ok(certified) => Ok(Arc::new(certified)),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(key.content_error(ContentError::KeyMismatch { path: chain.path.clone(), key: chain.key }))
        }
        Err(_) => Err(key.content_error(ContentError::UnusableKey)),
    }
}

/// webpki checks the validity period before the issuer. With an empty root store a valid certificate therefore
/// fails with `UnknownIssuer`, and an expired one with `Expired`.
fn check_validity_period(certificate: &CertificateDer<'_>) -> Result<(), ContentError> {
    let parsed = ParsedCertificate::try_from(certificate).map_err(ContentError::MalformedCertificate)?;
    let algorithms = default_provider().signature_verification_algorithms.all;
    let no_roots = RootCertStore::empty();
    match rustls::client::verify_server_cert_signed_by_trust_anchor(&parsed, &no_roots, &[], UnixTime::now(), algorithms) {
        Err(Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })) => Err(ContentError::Expired),
        Err(Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. })) => {
            Err(ContentError::NotValidYet)
        }
        _ => Ok(()),
    }
}

pub(super) fn add_roots(roots: &mut RootCertStore, files: &[SourceFile]) -> Result<(), TlsError> {
    for file in files {
        for certificate in file.certificates()? {
            roots.add(certificate).map_err(|cause| file.content_error(ContentError::MalformedAuthority(cause)))?;
        }
    }
    Ok(())
}

/// The paths of a certificate and its key, or `None` if neither is set.
pub(super) fn certificate_and_key_paths(
    cert: (&'static str, &Option<PathBuf>),
    key: (&'static str, &Option<PathBuf>),
) -> Result<Option<Vec<(&'static str, PathBuf)>>, TlsError> {
    match (cert.1, key.1) {
        (None, None) => Ok(None),
        (Some(chain), Some(private)) => Ok(Some(vec![(cert.0, chain.clone()), (key.0, private.clone())])),
        (Some(_), None) => Err(TlsError::MissingCounterpart { set: cert.0, missing: key.0, kind: "certificate", other: "key" }),
        (None, Some(_)) => Err(TlsError::MissingCounterpart { set: key.0, missing: cert.0, kind: "key", other: "certificate" }),
    }
}
