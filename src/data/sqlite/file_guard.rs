//! Takes a database out of service when its file is lost or damaged.
//!
//! SQLite keeps writing to a file that was deleted, moved or replaced, without an error. A restart would not find those
//! writes. So the writer looks at the file before each transaction, and after it before it replies.

use super::corruption;
use crate::kernel::error::StoreError;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Device and inode of a file.
type FileId = (u64, u64);

pub(super) struct FileGuard {
    store: String,
    path: PathBuf,
    /// The database, its write-ahead log, and the index of that.
    files: Vec<(PathBuf, FileId)>,
    /// Set once: only a restart puts the database back into service.
    fault: OnceLock<StoreError>,
}

impl FileGuard {
    /// A connection to the database must be open, and must have read: from then on all three files exist.
    pub(super) fn new(store: &str, path: &Path) -> Result<Self, StoreError> {
        let file = |suffix: &str| {
            let mut path = path.as_os_str().to_os_string();
            path.push(suffix);
            let path = PathBuf::from(path);
            let id = file_id(&path).map_err(|cause| corruption::open_error(&path, &cause))?;
            Ok((path, id))
        };
        let files = ["", "-wal", "-shm"].map(file).into_iter().collect::<Result<_, StoreError>>()?;
        Ok(Self { store: store.into(), path: path.into(), files, fault: OnceLock::new() })
    }

    /// Whether the database is in service, and its files are still those that were opened.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.fault()?;
        match self.files.iter().find_map(|(path, id)| change(path, *id)) {
            None => Ok(()),
            Some(cause) => Err(self.out_of_service(StoreError::FileLost { store: self.store.clone(), cause })),
        }
    }

    /// Like `check`, without a look at the files.
    pub(super) fn fault(&self) -> Result<(), StoreError> {
        self.fault.get().map_or(Ok(()), |fault| Err(fault.clone()))
    }

    /// Runs work on the database. If the work fails at a damaged page, the database goes out of service.
    pub(super) fn observe<T, E: From<StoreError>>(&self, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let (result, damage) = corruption::observe(work);
        let damage = damage.map(|cause| self.damaged(&cause));
        match (result, damage) {
            (Err(_), Some(fault)) => Err(fault.into()),
            (result, _) => result,
        }
    }

    /// The error of a transaction that did not begin or commit.
    pub(super) fn failure(&self, cause: &diesel::result::Error) -> StoreError {
        let cause = cause.to_string();
        if corruption::is_corruption(&cause) {
            return self.damaged(&cause);
        }
        StoreError::Unavailable { store: self.store.clone(), cause }
    }

    fn damaged(&self, cause: &str) -> StoreError {
        self.out_of_service(StoreError::Corrupt { store: self.store.clone(), cause: format!("{}: {cause}", self.path.display()) })
    }

    fn out_of_service(&self, fault: StoreError) -> StoreError {
        let mut is_first = false;
        let fault = self.fault.get_or_init(|| {
            is_first = true;
            fault
        });
        if is_first {
            tracing::error!(cause = %fault, "a database is out of service");
        }
        fault.clone()
    }
}

fn file_id(path: &Path) -> io::Result<FileId> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// How the file at this path differs from the one that was opened.
fn change(path: &Path, opened: FileId) -> Option<String> {
    let path_text = path.display();
    match file_id(path) {
        Ok(id) if id == opened => None,
        Ok(_) => Some(format!("{path_text} was replaced by another file")),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Some(format!("{path_text} was moved or deleted")),
        Err(cause) => Some(format!("{path_text} cannot be found: {cause}")),
    }
}
