//! What a backup copies: the databases and folders of the chosen modules.

use super::error::BackupError;
use crate::kernel::module as modules;
use crate::kernel::module::Module;
use crate::settings::Settings;
use std::path::PathBuf;

pub(super) struct Sources {
    /// File name in the backup, and path of the original.
    pub(super) databases: Vec<(String, PathBuf)>,
    /// Folders of secrets; each keeps its name in the backup.
    pub(super) folders: Vec<&'static str>,
    /// Printed after the backup: what it does not contain.
    pub(super) notes: Vec<String>,
}

/// Fails if a chosen module has its store on a server.
pub(super) fn find(settings: &Settings) -> Result<Sources, BackupError> {
    // a backup only reads files: whether peers are reachable does not matter
    let chosen = modules::select(&settings.server.modules, |_| true)?;
    let (mut databases, mut notes) = (Vec::new(), Vec::new());
    for module in &chosen {
        // identity's database exists only where the built-in issuer has run
        let path = database_path(settings, *module)?.filter(|path| *module != Module::Identity || path.is_file());
        databases.extend(path.map(|path| (format!("{}.db", module.name()), path)));
    }
    let all_with_events = Module::ALL.into_iter().filter(|module| module.has_events()).all(|module| chosen.contains(&module));
    match settings.bus.url.as_str() {
        // with only some of its producers and consumers, the bus would contradict the other databases
        "local://" if all_with_events => databases.push(("bus.db".into(), settings.data.dir.join("bus.db"))),
        "local://" => notes.push("bus.db is not included: it belongs to all modules with events".into()),
        _ => notes.push("events are on a server; its consumer groups will be ahead of this backup: see docs/operate.md".into()),
    }
    let folders = chosen.iter().map(|module| module.name()).filter(|name| settings.data.dir.join(name).is_dir()).collect();
    Ok(Sources { databases, folders, notes })
}

/// None for a module without a database; an error if the database is on a server.
pub(super) fn database_path(settings: &Settings, module: Module) -> Result<Option<PathBuf>, BackupError> {
    match settings.database_file(module)? {
        None if module.has_events() => Err(BackupError::StoreOnServer { module: module.name().into() }),
        path => Ok(path),
    }
}
