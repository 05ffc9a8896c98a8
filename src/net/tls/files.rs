//! Certificates and keys in files, and what is made of them as long as it lasts.

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

/// A file that a setting names, as it was read.
#[derive(PartialEq)]
pub(super) struct File {
    key: &'static str,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl File {
    fn read(key: &'static str, path: &Path) -> Result<Self, TlsError> {
        let bytes = std::fs::read(path).map_err(|cause| TlsError::Read { key, path: path.into(), cause })?;
        Ok(Self { key, path: path.into(), bytes })
    }

    fn wrong(&self, cause: ContentError) -> TlsError {
        TlsError::Content { key: self.key, path: self.path.clone(), cause }
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        match all {
            Ok(all) if !all.is_empty() => Ok(all),
            _ => Err(self.wrong(ContentError::NoCertificates)),
        }
    }
}

type Make<T> = Box<dyn Fn(&[File]) -> Result<Arc<T>, TlsError> + Send + Sync>;

/// What counts, and what counted before it.
struct Made<T: ?Sized> {
    now: Arc<T>,
    before: Option<Arc<T>>,
}

/// What the last look saw.
struct Seen {
    /// What the certificates were made of.
    files: Vec<File>,
    /// Why nothing could be made of what is there now.
    trouble: Option<String>,
}

/// What was made of files; made anew when they have changed.
pub(super) struct Kept<T: ?Sized> {
    paths: Vec<(&'static str, PathBuf)>,
    make: Make<T>,
    made: RwLock<Made<T>>,
    seen: Mutex<Seen>,
}

impl<T: ?Sized> Kept<T> {
    /// Of the files that these settings name.
    pub(super) fn new(
        paths: Vec<(&'static str, PathBuf)>,
        make: impl Fn(&[File]) -> Result<Arc<T>, TlsError> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, TlsError> {
        let files = read(&paths)?;
        let made = RwLock::new(Made { now: make(&files)?, before: None });
        Ok(Arc::new(Self { paths, make: Box::new(make), made, seen: Mutex::new(Seen { files, trouble: None }) }))
    }

    /// What counts now.
    pub(super) fn get(&self) -> Arc<T> {
        self.made.read().now.clone()
    }

    /// What counted before it: another process may not have looked yet.
    pub(super) fn before(&self) -> Option<Arc<T>> {
        self.made.read().before.clone()
    }
}

impl<T: ?Sized> std::fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.paths).finish()
    }
}

/// Something that files may change.
pub(super) trait Watch {
    /// Takes up what has changed.
    fn look(&self);
}

impl<T: ?Sized> Watch for Kept<T> {
    fn look(&self) {
        let mut seen = self.seen.lock();
        let now = read(&self.paths);
        // what is not good may become so by itself: a certificate whose time comes
        if seen.trouble.is_none() && now.as_ref().is_ok_and(|files| *files == seen.files) {
            return;
        }
        match now.and_then(|files| Ok(((self.make)(&files)?, files))) {
            Ok((new, files)) => {
                let mut made = self.made.write();
                made.before = Some(std::mem::replace(&mut made.now, new));
                *seen = Seen { files, trouble: None };
                tracing::info!(files = ?self.paths, "certificates were read again");
            }
            Err(cause) => {
                let cause = cause.to_string();
                // once, and not at each look
                if seen.trouble.as_ref() != Some(&cause) {
                    tracing::warn!(cause, "what has changed is not good; what was read before stays in use");
                    seen.trouble = Some(cause);
                }
            }
        }
    }
}

fn read(paths: &[(&'static str, PathBuf)]) -> Result<Vec<File>, TlsError> {
    paths.iter().map(|(key, path)| File::read(key, path)).collect()
}

/// A certificate chain and the key to it, of two files.
pub(super) fn identity(files: &[File]) -> Result<Arc<CertifiedKey>, TlsError> {
    let [chain, key] = files else { return Err(TlsError::NoPair) };
    let certificates = chain.certificates()?;
    let first = certificates.first().ok_or_else(|| chain.wrong(ContentError::NoCertificates))?;
    in_force(first).map_err(|cause| chain.wrong(cause))?;
    // not said what is in its place: it might be a key after all
    let private = PrivateKeyDer::from_pem_slice(&key.bytes).map_err(|_| key.wrong(ContentError::NoKey))?;
    match CertifiedKey::from_der(certificates.clone(), private, &default_provider()) {
        Ok(pair) => Ok(Arc::new(pair)),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(key.wrong(ContentError::OtherKey { path: chain.path.clone(), key: chain.key }))
        }
        Err(_) => Err(key.wrong(ContentError::UnusableKey)),
    }
}

/// Whether it can be read and its time is now. webpki looks at the time first, and whom it is from after that:
/// without anybody to trust, that it is unknown is the good answer.
fn in_force(certificate: &CertificateDer<'_>) -> Result<(), ContentError> {
    let parsed = ParsedCertificate::try_from(certificate).map_err(ContentError::Unreadable)?;
    let algorithms = default_provider().signature_verification_algorithms.all;
    let nobody = RootCertStore::empty();
    match rustls::client::verify_server_cert_signed_by_trust_anchor(&parsed, &nobody, &[], UnixTime::now(), algorithms) {
        Err(Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })) => Err(ContentError::Expired),
        Err(Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. })) => {
            Err(ContentError::NotValidYet)
        }
        _ => Ok(()),
    }
}

/// Adds the authorities in these files.
pub(super) fn add_roots(roots: &mut RootCertStore, files: &[File]) -> Result<(), TlsError> {
    for file in files {
        for certificate in file.certificates()? {
            roots.add(certificate).map_err(|cause| file.wrong(ContentError::UnreadableAuthority(cause)))?;
        }
    }
    Ok(())
}

/// The paths of a certificate and of its key; none where neither is set.
pub(super) fn pair(
    cert: (&'static str, &Option<PathBuf>),
    key: (&'static str, &Option<PathBuf>),
) -> Result<Option<Vec<(&'static str, PathBuf)>>, TlsError> {
    match (cert.1, key.1) {
        (None, None) => Ok(None),
        (Some(chain), Some(private)) => Ok(Some(vec![(cert.0, chain.clone()), (key.0, private.clone())])),
        (Some(_), None) => Err(TlsError::Half { set: cert.0, missing: key.0, kind: "certificate", other: "key" }),
        (None, Some(_)) => Err(TlsError::Half { set: key.0, missing: cert.0, kind: "key", other: "certificate" }),
    }
}
