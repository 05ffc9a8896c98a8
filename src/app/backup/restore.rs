//! Restores a backup into a data folder, after verifying its checksums.

use super::directory;
use super::error::BackupError;
use super::manifest::{Entry, Manifest, copy_with_digest};
use super::sources::database_path;
use crate::kernel::files;
use crate::kernel::module::Module;
use crate::settings::Settings;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Copies a backup into the data folder, which must not contain a shop. Each file is verified against the manifest; the
/// files are moved into place only once all of them are copied. Fails if the settings name another place for a store:
/// the shop would not open the restored file.
pub fn restore(settings: &Settings, backup: &Path) -> Result<Manifest, BackupError> {
    let (manifest, data) = (Manifest::read(backup)?, settings.data.dir.as_path());
    for module in Module::ALL {
        let file = format!("{}.db", module.name());
        let restored = data.join(&file);
        let is_included = manifest.files.iter().any(|entry| entry.path == file);
        if is_included && database_path(settings, module)?.is_none_or(|path| path != restored) {
            return Err(BackupError::StoreElsewhere { module: module.name(), restored, file });
        }
    }
    if !data.is_dir() {
        directory::create(data)?;
    }
    if let Some(path) = existing_shop_file(data, &manifest)? {
        return Err(BackupError::DataFolderInUse { path });
    }
    // inside the data folder: that may be a volume of its own, and a rename works only within one
    let temporary = data.join(format!("{}{}", files::RESTORE_PREFIX, uuid::Uuid::new_v4().simple()));
    directory::create(&temporary)?;
    let copied = manifest.files.iter().try_for_each(|entry| copy_verified(entry, backup, &temporary));
    let restored = copied.and_then(|()| move_into_place(&temporary, data));
    if restored.is_err() {
        let _ = fs::remove_dir_all(&temporary);
    }
    restored.map(|()| manifest)
}

/// A database, an interrupted restore, or a file or folder that the backup contains as well.
fn existing_shop_file(data: &Path, manifest: &Manifest) -> Result<Option<PathBuf>, BackupError> {
    let top_level: Vec<_> = manifest.files.iter().filter_map(|entry| Path::new(&entry.path).components().next()).collect();
    for entry in fs::read_dir(data).map_err(BackupError::io(data))? {
        let path = entry.map_err(BackupError::io(data))?.path();
        let is_database = path.extension().is_some_and(|e| e.to_string_lossy().starts_with("db"));
        let is_interrupted_restore = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(files::RESTORE_PREFIX));
        if is_database || is_interrupted_restore || top_level.iter().any(|name| path.ends_with(name)) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn copy_verified(entry: &Entry, backup: &Path, to: &Path) -> Result<(), BackupError> {
    let (from, to) = (backup.join(&entry.path), to.join(&entry.path));
    if let Some(folder) = to.parent().filter(|folder| !folder.is_dir()) {
        directory::create(folder)?;
    }
    let mut source = File::open(&from).map_err(BackupError::io(&from))?;
    let mut target = files::create_private(&to).map_err(BackupError::io(&to))?;
    let (size, sha256) = copy_with_digest(&mut source, &mut target).map_err(BackupError::io(&from))?;
    if (size, &sha256) != (entry.size, &entry.sha256) {
        let (expected_size, expected_sha256) = (entry.size, entry.sha256.clone());
        return Err(BackupError::ChecksumMismatch { path: from, size, sha256, expected_size, expected_sha256 });
    }
    target.sync_all().map_err(BackupError::io(&to))
}

/// Removes the temporary folder last: while it exists, no shop starts on this data folder.
fn move_into_place(from: &Path, data: &Path) -> Result<(), BackupError> {
    for entry in fs::read_dir(from).map_err(BackupError::io(from))? {
        let entry = entry.map_err(BackupError::io(from))?;
        if entry.path().is_dir() {
            directory::sync(&entry.path())?;
        }
        fs::rename(entry.path(), data.join(entry.file_name())).map_err(BackupError::io(data))?;
    }
    fs::remove_dir(from).map_err(BackupError::io(from))?;
    directory::sync(data)
}
