//! Files that hold secrets: a folder for its owner alone. Whoever reads the issuer's key can be anybody,
//! whoever reads the registry's password can have traffic sent to him.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// How the folder begins in which a restore keeps what is not yet in its place.
pub const RESTORING: &str = ".restore.";

/// Refuses a data folder in which a restore was cut off: a shop would make anew what is missing.
pub fn whole(data: &Path) -> Result<(), String> {
    let entries = fs::read_dir(data).map_err(|e| format!("{}: {e}", data.display()))?;
    let left = entries.flatten().map(|entry| entry.path()).find(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        name.is_some_and(|name| name.starts_with(RESTORING))
    });
    match left {
        Some(left) => Err(format!(
            "{}: a restore was cut off here, or is going on; wait for it, or empty {} and restore again",
            left.display(),
            data.display()
        )),
        None => Ok(()),
    }
}

/// A folder that only its owner may enter, with files that only their owner may read.
pub struct Folder(PathBuf);

impl Folder {
    /// Opens the folder, and makes it where it is not there.
    pub fn open(path: PathBuf) -> Result<Self, String> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|e| format!("{}: {e}", parent.display()))?;
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
            Err(e) => return Err(format!("{}: {e}", path.display())),
        }
        Ok(Folder(path))
    }

    /// A file's text; `None` where there is no such file. Refused where others could have read it.
    pub fn read(&self, name: &str) -> Result<Option<String>, String> {
        let path = self.0.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => {
                keep_out(&path, 0o077, "may be read or written", "600")?;
                Ok(Some(text))
            }
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(format!("{}: {e}", path.display())),
        }
    }

    /// A file's text; where there is no such file, `make`'s, kept from now on. Processes that come at the
    /// same time get the same: the first to put its own there wins, whole or not at all.
    pub fn get_or_make(&self, name: &str, make: impl FnOnce() -> Result<String, String>) -> Result<String, String> {
        if let Some(kept) = self.read(name)? {
            return Ok(kept);
        }
        let (path, text) = (self.0.join(name), make()?);
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
            Err(e) if e.kind() == ErrorKind::AlreadyExists => self.read(name)?.ok_or_else(|| format!("{}: {e}", path.display())),
            Err(e) => Err(format!("{}: {e}", path.display())),
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
fn keep_out(path: &Path, others: u32, what: &str, wanted: &str) -> Result<(), String> {
    let metadata = fs::metadata(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
    if mode & others == 0 {
        return Ok(());
    }
    let shown = path.display();
    Err(format!(
        "{shown} {what} by others than its owner (mode {mode:o}), so it cannot be trusted; remove it and a new one is made, or, if nobody else had access, run: chmod {wanted} {shown}"
    ))
}

#[cfg(not(unix))]
fn keep_out(_: &Path, _: u32, _: &str, _: &str) -> Result<(), String> {
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
                move || Folder::open(path)?.get_or_make("key", || Ok(format!("made by {n}")))
            };
            let all: Vec<_> = (0..8).map(|n| scope.spawn(one(n))).collect();
            all.into_iter().map(|one| one.join().unwrap().unwrap()).collect()
        });
        let kept = Folder::open(path.clone()).unwrap().read("key").unwrap().unwrap();
        assert!(made.iter().all(|text| *text == kept), "{made:?}");
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "nothing is left beside it");
    }
}
