//! The manifest of a backup: `backup.json` beside the copied files.

use super::error::BackupError;
use crate::kernel::{build, files};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Component, Path};

pub const MANIFEST: &str = "backup.json";
const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the manifest's format.
    #[serde(rename = "form")]
    pub format: u32,
    /// Version of the program that made the backup.
    pub version: String,
    /// Commit of the program that made the backup.
    pub commit: String,
    /// The moment of the snapshot, RFC 3339 in UTC.
    pub taken_at: String,
    /// Every file except the manifest.
    pub files: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Relative to the backup's folder.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// In hexadecimal.
    pub sha256: String,
}

impl Manifest {
    pub(super) fn new(taken_at: String, files: Vec<Entry>) -> Self {
        Self { format: FORMAT, version: build::VERSION.into(), commit: build::COMMIT.into(), taken_at, files }
    }

    /// Rejects a manifest of a later format and one with paths outside of the backup.
    pub fn read(backup: &Path) -> Result<Self, BackupError> {
        let path = backup.join(MANIFEST);
        let text = std::fs::read_to_string(&path).map_err(|cause| BackupError::NoManifest { manifest: path.clone(), cause })?;
        let manifest: Self = serde_json::from_str(&text).map_err(|cause| BackupError::MalformedManifest { path: path.clone(), cause })?;
        if manifest.format != FORMAT {
            return Err(BackupError::LaterFormat { path, format: manifest.format, version: manifest.version });
        }
        let is_inside = |entry: &&Entry| Path::new(&entry.path).components().all(|part| matches!(part, Component::Normal(_)));
        if let Some(outside) = manifest.files.iter().find(|entry| !is_inside(entry)) {
            return Err(BackupError::PathOutside { path, file: outside.path.clone() });
        }
        Ok(manifest)
    }

    pub(super) fn write(&self, backup: &Path) -> Result<(), BackupError> {
        let path = backup.join(MANIFEST);
        let text = serde_json::to_string_pretty(self)?;
        let written = files::create_private(&path).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.map_err(BackupError::io(&path))
    }

    /// Total of all files, in bytes.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|entry| entry.size).sum()
    }
}

impl Entry {
    /// Also syncs the file, so that it survives a power cut.
    pub(super) fn of(backup: &Path, name: &str) -> Result<Self, BackupError> {
        let path = backup.join(name);
        let mut file = File::open(&path).map_err(BackupError::io(&path))?;
        file.sync_all().map_err(BackupError::io(&path))?;
        let (size, sha256) = copy_with_digest(&mut file, &mut std::io::sink()).map_err(BackupError::io(&path))?;
        Ok(Self { path: name.into(), size, sha256 })
    }
}

/// Returns the size in bytes and the SHA-256 in hexadecimal.
pub(super) fn copy_with_digest(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<(u64, String)> {
    let (mut digest, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 16]);
    loop {
        let n = from.read(&mut buffer)?;
        let part = buffer.get(..n).unwrap_or_default();
        if part.is_empty() {
            break;
        }
        digest.update(part);
        to.write_all(part)?;
        size += n as u64;
    }
    Ok((size, hex::encode(digest.finalize())))
}
