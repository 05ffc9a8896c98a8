//! Files that hold secrets: a folder for its owner alone. Whoever reads the issuer's key can be anybody,
//! whoever reads the registry's password can have traffic sent to him.

use crate::kernel::error::PartError;
use std::error::Error;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// How the folder begins in which a restore keeps what is not yet in its place.
pub const RESTORING: &str = ".restore.";

/// Why a file of the shop cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system's error.
    #[error("{}: {cause}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// A restore that did not end.
    #[error("{}: a restore was cut off here, or is going on; wait for it, or empty {} and restore again", .left.display(), .data.display())]
    Restoring {
        /// What it left.
        left: PathBuf,
        /// The data folder.
        data: PathBuf,
    },
    /// Others may read or write a secret.
    #[error(
        "{0} {what} by others than its owner (mode {mode:o}), so it cannot be trusted; remove it and a new one is made, or, if nobody else had access, run: chmod {wanted} {0}",
        .path.display()
    )]
    Exposed {
        /// The file or folder.
        path: PathBuf,
        /// What they may do.
        what: &'static str,
        /// Its mode.
        mode: u32,
        /// The mode that it should have.
        wanted: &'static str,
    },
    /// A file without the secret that should be in it.
    #[error("{} is empty; remove it and a new one is made", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// What should be in a new file could not be made.
    #[error("{0}")]
    Content(#[source] Box<dyn Error + Send + Sync>),
}

impl FileError {
    /// For `map_err`: the system's error with the file that it is about.
    pub fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        move |cause| FileError::Io { path: path.into(), cause }
    }
}

impl PartError for FileError {}

/// Refuses a data folder in which a restore was cut off: a shop would make anew what is missing.
pub fn whole(data: &Path) -> Result<(), FileError> {
    let entries = fs::read_dir(data).map_err(FileError::io(data))?;
    let left = entries.flatten().map(|entry| entry.path()).find(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        name.is_some_and(|name| name.starts_with(RESTORING))
    });
    match left {
        Some(left) => Err(FileError::Restoring { left, data: data.into() }),
        None => Ok(()),
    }
}

/// A folder that only its owner may enter, with files that only their owner may read.
pub struct Folder(PathBuf);

impl Folder {
    /// Opens the folder, and makes it where it is not there.
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
                // who may write here may put a key of their own in the place of ours
                keep_out(&path, 0o022, "may be written to", "700")?;
            }
            Err(cause) => return Err(FileError::Io { path, cause }),
        }
        Ok(Folder(path))
    }

    /// A file's text; `None` where there is no such file. Refused where others could have read it.
    pub fn read(&self, name: &str) -> Result<Option<String>, FileError> {
        let path = self.0.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => {
                keep_out(&path, 0o077, "may be read or written", "600")?;
                Ok(Some(text))
            }
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(FileError::Io { path, cause }),
        }
    }

    /// A file's text; where there is no such file, `make`'s, kept from now on. Processes that come at the
    /// same time get the same: the first to put its own there wins, whole or not at all.
    pub fn get_or_make<E>(&self, name: &str, make: impl FnOnce() -> Result<String, E>) -> Result<String, FileError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        if let Some(kept) = self.read(name)? {
            return Ok(kept);
        }
        let (path, text) = (self.0.join(name), make().map_err(|cause| FileError::Content(cause.into()))?);
        let beside = self.0.join(format!(".{name}.{}", uuid::Uuid::new_v4().simple()));
        let written = create(&beside)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            })
            // unlike renaming, linking takes nobody's place
            .and_then(|()| fs::hard_link(&beside, &path));
        // what cannot be removed is in nobody's way: its name is never used again
        let _ = fs::remove_file(&beside);
        match written {
            Ok(()) => Ok(text),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => self.read(name)?.ok_or(FileError::Io { path, cause: e }),
            Err(cause) => Err(FileError::Io { path, cause }),
        }
    }
}

/// A new file that only its owner may read. Made with its mode: between a creation and a later chmod others could open it.
pub fn create(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(unix)]
fn keep_out(path: &Path, others: u32, what: &'static str, wanted: &'static str) -> Result<(), FileError> {
    let metadata = fs::metadata(path).map_err(FileError::io(path))?;
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
    if mode & others == 0 {
        return Ok(());
    }
    Err(FileError::Exposed { path: path.into(), what, mode, wanted })
}

#[cfg(not(unix))]
fn keep_out(_: &Path, _: u32, _: &'static str, _: &'static str) -> Result<(), FileError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_make_at_once_is_one_for_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secrets");
        let made: Vec<_> = std::thread::scope(|scope| {
            let one = |n: usize| {
                let path = path.clone();
                move || Folder::open(path)?.get_or_make("key", || Ok::<_, FileError>(format!("made by {n}")))
            };
            let all: Vec<_> = (0..8).map(|n| scope.spawn(one(n))).collect();
            all.into_iter().map(|one| one.join().unwrap().unwrap()).collect()
        });
        let kept = Folder::open(path.clone()).unwrap().read("key").unwrap().unwrap();
        assert!(made.iter().all(|text| *text == kept), "{made:?}");
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "nothing is left beside it");
    }
}
