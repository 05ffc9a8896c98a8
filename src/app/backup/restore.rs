//! The way back: a copy that is still what it was becomes a data folder.

use super::manifest::digest;
use super::{BackupError, Entry, Manifest, database, failed, make_folder, sync};
use crate::kernel::files;
use crate::kernel::module::Module;
use crate::settings::Settings;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Puts a copy into the data folder, which must hold no shop. Every file is held against the manifest on its way; until
/// all of them are there, none is in its place. Refused where a store is set to be elsewhere: the shop would not look here.
pub fn restore(settings: &Settings, copy: &Path) -> Result<Manifest, BackupError> {
    let (manifest, data) = (Manifest::read(copy)?, settings.data.dir.as_path());
    for module in Module::ALL {
        let (name, place) = (format!("{}.db", module.name()), data.join(format!("{}.db", module.name())));
        let copied = manifest.files.iter().any(|entry| entry.path == name);
        if copied && database(settings, module)?.is_none_or(|path| path != place) {
            return Err(BackupError::StoreElsewhere { module: module.name(), place, file: name });
        }
    }
    if !data.is_dir() {
        make_folder(data)?;
    }
    if let Some(there) = in_the_way(data, &manifest)? {
        return Err(BackupError::InTheWay { path: there });
    }
    // within the folder, which may be a volume of its own
    let beside = data.join(format!("{}{}", files::RESTORING, uuid::Uuid::new_v4().simple()));
    make_folder(&beside)?;
    let filled = manifest.files.iter().try_for_each(|entry| bring(entry, copy, &beside)).and_then(|()| settle(&beside, data));
    if filled.is_err() {
        let _ = fs::remove_dir_all(&beside);
    }
    filled.map(|()| manifest)
}

/// What of a shop is in a folder.
fn in_the_way(data: &Path, manifest: &Manifest) -> Result<Option<PathBuf>, BackupError> {
    let tops: Vec<_> = manifest.files.iter().filter_map(|entry| Path::new(&entry.path).components().next()).collect();
    for entry in fs::read_dir(data).map_err(failed(data))? {
        let path = entry.map_err(failed(data))?.path();
        let database = path.extension().is_some_and(|e| e.to_string_lossy().starts_with("db"));
        let cut_off = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(files::RESTORING));
        if database || cut_off || tops.iter().any(|top| path.ends_with(top)) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// One file, if it is what the manifest says.
fn bring(entry: &Entry, copy: &Path, to: &Path) -> Result<(), BackupError> {
    let (from, to) = (copy.join(&entry.path), to.join(&entry.path));
    if let Some(folder) = to.parent().filter(|folder| !folder.is_dir()) {
        make_folder(folder)?;
    }
    let mut source = File::open(&from).map_err(failed(&from))?;
    let mut target = files::create(&to).map_err(failed(&to))?;
    let (size, sha256) = digest(&mut source, &mut target).map_err(failed(&from))?;
    if (size, &sha256) != (entry.size, &entry.sha256) {
        let (copied_size, copied_sha256) = (entry.size, entry.sha256.clone());
        return Err(BackupError::Changed { path: from, size, sha256, copied_size, copied_sha256 });
    }
    target.sync_all().map_err(failed(&to))
}

/// Puts all of it in its place. The folder that it comes from goes last: while it is there, no shop starts here.
fn settle(from: &Path, data: &Path) -> Result<(), BackupError> {
    for entry in fs::read_dir(from).map_err(failed(from))? {
        let entry = entry.map_err(failed(from))?;
        if entry.path().is_dir() {
            sync(&entry.path())?;
        }
        fs::rename(entry.path(), data.join(entry.file_name())).map_err(failed(data))?;
    }
    fs::remove_dir(from).map_err(failed(from))?;
    sync(data)
}
