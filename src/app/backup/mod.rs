//! `tradepost backup` and `tradepost restore`: a copy of everything that a shop keeps in files, taken beside it while it
//! runs, and the way back.
//!
//! The copy is what a crash of all processes at one moment would have left; from that a shop recovers at its start. It
//! is a data folder like any other, with a manifest beside its files. What a store on a server holds is not in it:
//! docs/operate.md says how those are copied.

mod error;
mod manifest;
mod restore;

pub use error::BackupError;
pub use manifest::{Entry, MANIFEST, Manifest};
pub use restore::restore;

use crate::data::sqlite::copy;
use crate::data::sqlite::copy::Copy;
use crate::kernel::module as modules;
use crate::kernel::module::Module;
use crate::kernel::{build, clock, files};
use crate::settings::{DocumentsUrl, Settings, StoreUrl};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What was copied.
pub struct Taken {
    /// As it stands in the copy.
    pub manifest: Manifest,
    /// How long writers were kept out.
    pub pause: Duration,
    /// What whoever restores it must know.
    pub notes: Vec<String>,
}

/// What there is to copy.
struct Inventory {
    /// Databases: what they are called in the copy, and where they are.
    databases: Vec<(String, PathBuf)>,
    /// Folders of secrets: what they are called in both.
    folders: Vec<&'static str>,
    notes: Vec<String>,
}

/// Copies what the modules of these settings keep into a new folder. Nothing is left of a copy that fails.
pub fn take(settings: &Settings, to: &Path) -> Result<Taken, BackupError> {
    let inventory = look(settings)?;
    if to.symlink_metadata().is_ok() {
        return Err(BackupError::Exists { folder: to.into() });
    }
    let beside = beside(to)?;
    make_folder(&beside)?;
    let taken = fill(&inventory, &settings.data.dir, &beside).and_then(|taken| {
        sync(&beside)?;
        fs::rename(&beside, to).map_err(failed(to))?;
        sync(&parent(to))?;
        Ok(taken)
    });
    if taken.is_err() {
        let _ = fs::remove_dir_all(&beside);
    }
    taken
}

/// Everything in files that belongs to the chosen modules; refused where one of them has its store on a server.
fn look(settings: &Settings) -> Result<Inventory, BackupError> {
    // where peers are is nothing to whoever copies files
    let chosen = modules::select(&settings.server.modules, |_| true)?;
    let (mut databases, mut notes) = (Vec::new(), Vec::new());
    for module in &chosen {
        // a database of the issuer is there where it has run here
        let path = database(settings, *module)?.filter(|path| *module != Module::Identity || path.is_file());
        databases.extend(path.map(|path| (format!("{}.db", module.name()), path)));
    }
    let all_of_its = Module::ALL.into_iter().filter(|module| module.has_events()).all(|module| chosen.contains(&module));
    match settings.bus.url.as_str() {
        // with a part of its readers and writers it would contradict the rest
        "local://" if all_of_its => databases.push(("bus.db".into(), settings.data.dir.join("bus.db"))),
        "local://" => notes.push("bus.db is not in it: that belongs to all modules with events".into()),
        _ => notes.push("events are on a server, whose groups will be ahead of this copy: see docs/operate.md".into()),
    }
    let folders = chosen.iter().map(|module| module.name()).filter(|name| settings.data.dir.join(name).is_dir()).collect();
    Ok(Inventory { databases, folders, notes })
}

/// Where a module has its database; none where it has none, refused where that is on a server.
fn database(settings: &Settings, module: Module) -> Result<Option<PathBuf>, BackupError> {
    Ok(match module {
        Module::Registry | Module::ConfigServer | Module::Gateway => None,
        Module::Identity => Some(settings.data.dir.join("identity.db")),
        Module::Product => Some(documents(settings)?),
        // rows, as whatever module will come has them, too
        _ => Some(rows(settings, module.name())?),
    })
}

fn rows(settings: &Settings, module: &str) -> Result<PathBuf, BackupError> {
    match settings.store(module)? {
        StoreUrl::Sqlite(path) => Ok(path),
        #[cfg(feature = "mysql")]
        StoreUrl::MySql(_) => Err(BackupError::OnServer { module: module.into() }),
    }
}

fn documents(settings: &Settings) -> Result<PathBuf, BackupError> {
    match settings.documents("product")? {
        DocumentsUrl::Sqlite(path) => Ok(path),
        #[cfg(feature = "mongodb")]
        DocumentsUrl::MongoDb(_) => Err(BackupError::OnServer { module: "product".into() }),
    }
}

fn fill(inventory: &Inventory, data: &Path, to: &Path) -> Result<Taken, BackupError> {
    let open = |(name, path): &(String, PathBuf)| Copy::open(path, &to.join(name));
    let mut copies = inventory.databases.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let pause = copy::at_once(&mut copies)?;
    let taken_at = clock::rfc3339(clock::now_ms());
    // a secret is made once and put in its place whole: it needs no moment
    let mut names: Vec<String> = inventory.databases.iter().map(|(name, _)| name.clone()).collect();
    for folder in &inventory.folders {
        names.extend(copy_folder(folder, data, to)?);
    }
    for copy in copies {
        copy.write()?;
    }
    let files = names.iter().map(|name| Entry::of(to, name)).collect::<Result<Vec<_>, _>>()?;
    let manifest = Manifest::new(taken_at, files);
    manifest.write(to)?;
    Ok(Taken { manifest, pause, notes: inventory.notes.clone() })
}

/// The files of a folder of secrets, but none that are only being made.
fn copy_folder(folder: &str, data: &Path, to: &Path) -> Result<Vec<String>, BackupError> {
    let from = data.join(folder);
    make_folder(&to.join(folder))?;
    let mut names = Vec::new();
    for entry in fs::read_dir(&from).map_err(failed(&from))? {
        let entry = entry.map_err(failed(&from))?;
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

/// For its owner alone, whoever may read the original.
fn copy_file(from: &Path, to: &Path) -> Result<(), BackupError> {
    let mut source = File::open(from).map_err(failed(from))?;
    let mut target = files::create(to).map_err(failed(to))?;
    std::io::copy(&mut source, &mut target).and_then(|_| target.sync_all()).map_err(failed(to))
}

fn make_folder(path: &Path) -> Result<(), BackupError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).create(path).map_err(failed(path))
}

/// What is in a folder by name stays so after a power cut.
fn sync(path: &Path) -> Result<(), BackupError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(failed(path))
}

/// A name that nobody uses, in the same folder: what stands there is no copy yet.
fn beside(path: &Path) -> Result<PathBuf, BackupError> {
    let name = path.file_name().ok_or_else(|| BackupError::NoName { path: path.into() })?;
    let unique = uuid::Uuid::new_v4().simple();
    Ok(parent(path).join(format!(".{}.{unique}", name.to_string_lossy())))
}

fn parent(path: &Path) -> PathBuf {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> BackupError {
    move |cause| BackupError::Io { path: path.into(), cause }
}

/// Version and commit that wrote a copy, for people.
fn built() -> (String, String) {
    (build::VERSION.into(), build::COMMIT.into())
}
