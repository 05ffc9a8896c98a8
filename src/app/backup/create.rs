//! Creates a backup.

use super::directory;
use super::error::BackupError;
use super::manifest::{Entry, Manifest};
use super::sources::{self, Sources};
use crate::data::sqlite::copy;
use crate::data::sqlite::copy::Copy;
use crate::kernel::clock;
use crate::settings::Settings;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub struct Backup {
    pub manifest: Manifest,
    /// How long writers were blocked.
    pub pause: Duration,
    /// What the operator must know for a restore.
    pub notes: Vec<String>,
}

/// Copies the files of the selected modules into a new folder. A failed backup leaves nothing behind.
pub fn create(settings: &Settings, to: &Path) -> Result<Backup, BackupError> {
    let sources = sources::find(settings)?;
    if to.symlink_metadata().is_ok() {
        return Err(BackupError::TargetExists { folder: to.into() });
    }
    let temporary = directory::temporary_sibling(to)?;
    directory::create(&temporary)?;
    let backup = fill(&sources, &settings.data.dir, &temporary).and_then(|backup| {
        directory::sync(&temporary)?;
        fs::rename(&temporary, to).map_err(BackupError::io(to))?;
        directory::sync(&directory::parent(to))?;
        Ok(backup)
    });
    if backup.is_err() {
        let _ = fs::remove_dir_all(&temporary);
    }
    backup
}

fn fill(sources: &Sources, data: &Path, to: &Path) -> Result<Backup, BackupError> {
    let open = |(name, path): &(String, PathBuf)| Copy::open(path, &to.join(name));
    let mut copies = sources.databases.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let pause = copy::begin_together(&mut copies)?;
    let taken_at = clock::rfc3339(clock::now_ms());
    // secrets are written once and renamed into place: copying them needs no lock
    let mut names: Vec<String> = sources.databases.iter().map(|(name, _)| name.clone()).collect();
    for folder in &sources.folders {
        names.extend(directory::copy(folder, data, to)?);
    }
    for copy in copies {
        copy.write()?;
    }
    let files = names.iter().map(|name| Entry::of(to, name)).collect::<Result<Vec<_>, _>>()?;
    let manifest = Manifest::new(taken_at, files);
    manifest.write(to)?;
    Ok(Backup { manifest, pause, notes: sources.notes.clone() })
}
