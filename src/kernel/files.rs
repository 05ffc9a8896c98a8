//! Files that hold secrets, readable by their owner only: the issuer's key allows forging tokens, the registry's
//! password allows redirecting traffic.

use crate::kernel::error::ComponentError;
use std::error::Error;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Name prefix of the temporary folder of a restore.
pub const RESTORE_PREFIX: &str = ".restore.";

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{}: {cause}", .path.display())]
    Io {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("{}: a restore was cut off here, or is still running; wait for it, or empty {} and restore again", .temporary.display(), .data.display())]
    UnfinishedRestore { temporary: PathBuf, data: PathBuf },
    /// The mode lets other users read or write a secret.
    #[error(
        "{0} {access} by others than its owner (mode {mode:o}), so it cannot be trusted; remove it and a new one is made, or, if no other user has had access, run: chmod {required_mode} {0}",
        .path.display()
    )]
    Exposed {
        path: PathBuf,
        /// Access that others have, with its verb.
        access: &'static str,
        mode: u32,
        required_mode: &'static str,
    },
    #[error("{} is empty; remove it and a new one is made", .path.display())]
    Empty { path: PathBuf },
    /// The content of a new file could not be generated.
    #[error("{0}")]
    Content(#[source] Box<dyn Error + Send + Sync>),
}

impl FileError {
    /// For `map_err`: adds the path to an I/O error.
    pub fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        move |cause| FileError::Io { path: path.into(), cause }
    }
}

impl ComponentError for FileError {}

/// Rejects a data folder with an unfinished restore: a start would create the missing stores empty.
pub fn reject_unfinished_restore(data: &Path) -> Result<(), FileError> {
    let entries = fs::read_dir(data).map_err(FileError::io(data))?;
    let temporary = entries.flatten().map(|entry| entry.path()).find(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        name.is_some_and(|name| name.starts_with(RESTORE_PREFIX))
    });
    match temporary {
        Some(temporary) => Err(FileError::UnfinishedRestore { temporary, data: data.into() }),
        None => Ok(()),
    }
}

/// A folder with mode 700 and files with mode 600.
pub struct SecretFolder(PathBuf);

impl SecretFolder {
    /// Opens the folder, or creates it.
    pub fn open(path: PathBuf) -> Result<Self, FileError> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(FileError::io(parent))?;
        }
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        match builder.create(&path) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                // write access allows replacing a key
                check_mode(&path, 0o022, "may be written to", "700")?;
            }
            Err(cause) => return Err(FileError::Io { path, cause }),
        }
        Ok(SecretFolder(path))
    }

    /// Returns a file's text, or `None` if the file does not exist. Rejects a file that other users can access.
    pub fn read(&self, name: &str) -> Result<Option<String>, FileError> {
        let path = self.0.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => {
                check_mode(&path, 0o077, "may be read or written", "600")?;
                Ok(Some(text))
            }
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(FileError::Io { path, cause }),
        }
    }

    /// Returns a file's text, or creates the file with the text of `make`. Atomic: if several processes create it at the
    /// same time, the first one wins and all return its text.
    pub fn get_or_create<E>(&self, name: &str, make: impl FnOnce() -> Result<String, E>) -> Result<String, FileError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        if let Some(text) = self.read(name)? {
            return Ok(text);
        }
        let (path, text) = (self.0.join(name), make().map_err(|cause| FileError::Content(cause.into()))?);
        let temporary = self.0.join(format!(".{name}.{}", uuid::Uuid::new_v4().simple()));
        let written = create_private(&temporary)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            })
            // linking, unlike renaming, does not replace an existing file
            .and_then(|()| fs::hard_link(&temporary, &path));
        // a leftover is harmless: its name is never used again
        let _ = fs::remove_file(&temporary);
        match written {
            Ok(()) => Ok(text),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => self.read(name)?.ok_or(FileError::Io { path, cause: e }),
            Err(cause) => Err(FileError::Io { path, cause }),
        }
    }
}

/// Creates a file with mode 600. The mode is set on creation: before a later chmod, other users could open the file.
pub fn create_private(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(unix)]
fn check_mode(path: &Path, forbidden_bits: u32, access: &'static str, required_mode: &'static str) -> Result<(), FileError> {
    let metadata = fs::metadata(path).map_err(FileError::io(path))?;
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
    if mode & forbidden_bits == 0 {
        return Ok(());
    }
    Err(FileError::Exposed { path: path.into(), access, mode, required_mode })
}

#[cfg(not(unix))]
fn check_mode(_: &Path, _: u32, _: &'static str, _: &'static str) -> Result<(), FileError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn get_or_create_concurrent_calls_return_same_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secrets");
        let texts: Vec<_> = std::thread::scope(|scope| {
            let create = |n: usize| {
                let path = path.clone();
                move || SecretFolder::open(path)?.get_or_create("key", || Ok::<_, FileError>(format!("made by {n}")))
            };
            let threads: Vec<_> = (0..8).map(|n| scope.spawn(create(n))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect()
        });
        let stored = SecretFolder::open(path.clone()).unwrap().read("key").unwrap().unwrap();
        assert!(texts.iter().all(|text| *text == stored), "{texts:?}");
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "the temporary files are removed");
    }
}
