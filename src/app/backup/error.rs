//! Errors of backup and restore.

use crate::kernel::error::StoreError;
use crate::kernel::module::SelectError;
use crate::settings::StoreUrlError;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{}: {cause}", .path.display())]
    Io {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("{} already exists; a backup is written to a new folder", .folder.display())]
    TargetExists { folder: PathBuf },
    #[error("{}: expected the name of a new folder", .path.display())]
    NoName { path: PathBuf },
    #[error("{module}.store is on a server: back it up with the server's tools (docs/operate.md), and the other modules with --modules")]
    StoreOnServer { module: String },
    #[error("{}: {cause}; expected a folder that `tradepost backup` made", .manifest.display())]
    NoManifest {
        manifest: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("{}: {cause}", .path.display())]
    MalformedManifest {
        path: PathBuf,
        #[source]
        cause: serde_json::Error,
    },
    #[error("{}: format {format} is of a later version ({version}); restore it with that version", .path.display())]
    LaterFormat { path: PathBuf, format: u32, version: String },
    #[error("{}: `{file}` is outside of the backup", .path.display())]
    PathOutside { path: PathBuf, file: String },
    #[error("{} does not match the manifest: {size} bytes with SHA-256 {sha256}, expected {expected_size} bytes with SHA-256 {expected_sha256}", .path.display())]
    ChecksumMismatch { path: PathBuf, size: u64, sha256: String, expected_size: u64, expected_sha256: String },
    /// The settings name another database than the one that a restore would write.
    #[error("{file} would be restored to {}, but {module}.store names another place; restore without that setting, then move the file", .restored.display())]
    StoreElsewhere { module: &'static str, restored: PathBuf, file: String },
    #[error("{} already exists: a backup is restored into a folder without a shop; move it away first", .path.display())]
    DataFolderInUse { path: PathBuf },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Settings(#[from] StoreUrlError),
    #[error(transparent)]
    Modules(#[from] SelectError),
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}

impl BackupError {
    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        move |cause| Self::Io { path: path.into(), cause }
    }
}
