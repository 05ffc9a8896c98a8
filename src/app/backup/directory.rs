//! Folders of a backup: created for the owner alone, synced to disk, copied.

use super::error::BackupError;
use crate::kernel::files;
use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

pub(super) fn create(path: &Path) -> Result<(), BackupError> {
    fs::DirBuilder::new().mode(0o700).create(path).map_err(BackupError::io(path))
}

/// Makes the folder's entries durable: they survive a power cut.
pub(super) fn sync(path: &Path) -> Result<(), BackupError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(BackupError::io(path))
}

/// An unused name in the same folder, for a backup that is not complete yet.
pub(super) fn temporary_sibling(path: &Path) -> Result<PathBuf, BackupError> {
    let name = path.file_name().ok_or_else(|| BackupError::NoName { path: path.into() })?;
    let unique = uuid::Uuid::new_v4().simple();
    Ok(parent(path).join(format!(".{}.{unique}", name.to_string_lossy())))
}

pub(super) fn parent(path: &Path) -> PathBuf {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Copies a folder of secrets without its hidden files: those are incomplete. Returns the copied files' relative paths.
pub(super) fn copy(folder: &str, data: &Path, to: &Path) -> Result<Vec<String>, BackupError> {
    let from = data.join(folder);
    create(&to.join(folder))?;
    let mut names = Vec::new();
    for entry in fs::read_dir(&from).map_err(BackupError::io(&from))? {
        let entry = entry.map_err(BackupError::io(&from))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || !entry.path().is_file() {
            continue;
        }
        let name = format!("{folder}/{name}");
        copy_file(&entry.path(), &to.join(&name))?;
        names.push(name);
    }
    sync(&to.join(folder))?;
    names.sort();
    Ok(names)
}

/// The copy is readable by its owner alone, whatever the original's permissions.
fn copy_file(from: &Path, to: &Path) -> Result<(), BackupError> {
    let mut source = File::open(from).map_err(BackupError::io(from))?;
    let mut target = files::create_private(to).map_err(BackupError::io(to))?;
    std::io::copy(&mut source, &mut target).and_then(|_| target.sync_all()).map_err(BackupError::io(to))
}
