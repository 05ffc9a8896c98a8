//! What a copy consists of: `backup.json` beside its files.

use super::{BackupError, built, failed};
use crate::kernel::files;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Component, Path};

/// Its name in the copy.
pub const MANIFEST: &str = "backup.json";
/// The one form there is.
const FORM: u32 = 1;

/// What a copy consists of, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// How this file is to be read.
    pub form: u32,
    /// Of the program that made the copy.
    pub version: String,
    /// The same.
    pub commit: String,
    /// The moment that it shows, RFC 3339 in UTC.
    pub taken_at: String,
    /// Every file but this one.
    pub files: Vec<Entry>,
}

/// One file of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// From the copy's folder on.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// Of its content, in hexadecimal.
    pub sha256: String,
}

impl Manifest {
    pub(super) fn new(taken_at: String, files: Vec<Entry>) -> Self {
        let (version, commit) = built();
        Self { form: FORM, version, commit, taken_at, files }
    }

    /// That of a copy. Refused where it is none, or one of a later form, or names files outside of the copy.
    pub fn read(copy: &Path) -> Result<Self, BackupError> {
        let path = copy.join(MANIFEST);
        let text = std::fs::read_to_string(&path).map_err(|cause| BackupError::NoCopy { folder: copy.into(), cause })?;
        let manifest: Self = serde_json::from_str(&text).map_err(|cause| BackupError::Malformed { path: path.clone(), cause })?;
        if manifest.form != FORM {
            return Err(BackupError::LaterForm { path, form: manifest.form, version: manifest.version });
        }
        let inside = |entry: &&Entry| Path::new(&entry.path).components().all(|part| matches!(part, Component::Normal(_)));
        if let Some(outside) = manifest.files.iter().find(|entry| !inside(entry)) {
            return Err(BackupError::Outside { path, file: outside.path.clone() });
        }
        Ok(manifest)
    }

    pub(super) fn write(&self, copy: &Path) -> Result<(), BackupError> {
        let path = copy.join(MANIFEST);
        let text = serde_json::to_string_pretty(self)?;
        let written = files::create(&path).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.map_err(failed(&path))
    }

    /// Of all its files, in bytes.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|entry| entry.size).sum()
    }
}

impl Entry {
    /// A file as it is, and from here on will be after a power cut.
    pub(super) fn of(copy: &Path, name: &str) -> Result<Self, BackupError> {
        let path = copy.join(name);
        let mut file = File::open(&path).map_err(failed(&path))?;
        file.sync_all().map_err(failed(&path))?;
        let (size, sha256) = digest(&mut file, &mut std::io::sink()).map_err(failed(&path))?;
        Ok(Self { path: name.into(), size, sha256 })
    }
}

/// Hands all of a file on; answers its size and its digest in hexadecimal.
pub(super) fn digest(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<(u64, String)> {
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
