//! Why nothing was copied or restored.

use super::MANIFEST;
use crate::kernel::error::StoreError;
use crate::kernel::module::SelectError;
use crate::settings::StoreUrlError;
use std::io;
use std::path::PathBuf;

/// Why a copy was not made, or not restored.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what the fields are")]
pub enum BackupError {
    /// The system's error.
    #[error("{}: {cause}", .path.display())]
    Io {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    /// A copy is not written over anything.
    #[error("{} is there already; a copy is written to a folder of its own", .folder.display())]
    Exists { folder: PathBuf },
    /// A path that ends in no name.
    #[error("{}: expected the name of a new folder", .path.display())]
    NoName { path: PathBuf },
    /// A store that is not in files.
    #[error("{module}.store is on a server, which has tools of its own for this (docs/operate.md); copy the others' files by --modules")]
    OnServer { module: String },
    /// No manifest.
    #[error("{}: {cause}; expected a folder that `tradepost backup` made", .folder.join(MANIFEST).display())]
    NoCopy {
        folder: PathBuf,
        #[source]
        cause: io::Error,
    },
    /// A manifest that cannot be read.
    #[error("{}: {cause}", .path.display())]
    Malformed {
        path: PathBuf,
        #[source]
        cause: serde_json::Error,
    },
    /// A manifest of another form.
    #[error("{}: form {form} is of a later version ({version}); restore it with that", .path.display())]
    LaterForm { path: PathBuf, form: u32, version: String },
    /// A manifest that names other files than the copy's.
    #[error("{}: `{file}` is not within the copy", .path.display())]
    Outside { path: PathBuf, file: String },
    /// A file that was changed since.
    #[error("{} is not what was copied: {size} bytes of SHA-256 {sha256}, and not {copied_size} of {copied_sha256}", .path.display())]
    Changed { path: PathBuf, size: u64, sha256: String, copied_size: u64, copied_sha256: String },
    /// The shop would not look for a database where it is restored.
    #[error("{module}.store is not {}, where {file} goes; restore without that setting, then move the file to where it says", .place.display())]
    StoreElsewhere { module: &'static str, place: PathBuf, file: String },
    /// A data folder that is in use.
    #[error("{} is there already: a copy is restored into a folder that holds no shop; move it away first", .path.display())]
    InTheWay { path: PathBuf },
    /// A store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The settings say nowhere where a store is.
    #[error(transparent)]
    Settings(#[from] StoreUrlError),
    /// The chosen modules.
    #[error(transparent)]
    Modules(#[from] SelectError),
    /// The manifest cannot be written: a defect of ours.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}
