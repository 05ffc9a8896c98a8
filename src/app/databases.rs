//! The SQLite files of this process, checked against each other before a module opens one.

use crate::data::sqlite::database_set::{Database, DatabaseSet};
use crate::kernel::error::StartError;
use crate::kernel::module::Module;
use crate::runtime::Service;
use crate::settings::Settings;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A copy of one file that is older than this is recognised, also if no process was started since the copy.
const ADVANCE_INTERVAL: Duration = Duration::from_secs(600);

/// Checks the files of these modules, and creates the missing ones. Returns the service that raises their generations; none
/// if the process has no such file.
pub fn open(settings: &Settings, chosen: &[Module]) -> Result<Option<Service>, StartError> {
    let (databases, siblings) = files(settings, chosen)?;
    if databases.is_empty() {
        return Ok(None);
    }
    let set = Arc::new(DatabaseSet::open(&databases, &siblings, settings.data.accept_loss)?);
    if settings.data.accept_loss {
        tracing::warn!("data.accept_loss is set: each start with it accepts lost data; remove it");
    }
    Ok(Some(Service::running("database-generations", move |stop| advance_periodically(set, stop))))
}

/// The databases that this process opens, and the paths of the shop's other ones.
fn files(settings: &Settings, chosen: &[Module]) -> Result<(Vec<Database>, Vec<PathBuf>), StartError> {
    let (mut databases, mut siblings) = (Vec::new(), Vec::new());
    if settings.bus.url == "local://" {
        let path = settings.data.dir.join("bus.db");
        match chosen.iter().any(|module| module.has_events()) {
            true => databases.push(Database { module: "bus", path }),
            false => siblings.push(path),
        }
    }
    for module in Module::ALL {
        let is_opened = chosen.contains(&module) && (module != Module::Identity || settings.identity.issuer.is_none());
        if is_opened {
            databases.extend(settings.database_file(module)?.map(|path| Database { module: module.name(), path }));
        } else {
            // the store of another process's module may be one that this build does not know
            siblings.extend(settings.database_file(module).ok().flatten());
        }
    }
    Ok((databases, siblings))
}

/// Raises the generations from time to time until `stop` is cancelled, and once more then.
async fn advance_periodically(set: Arc<DatabaseSet>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        tokio::select! {
            () = tokio::time::sleep(ADVANCE_INTERVAL) => {}
            () = stop.cancelled() => {}
        }
        let set = set.clone();
        match tokio::task::spawn_blocking(move || set.advance()).await {
            Ok(Ok(())) => {}
            Ok(Err(cause)) => tracing::warn!(%cause, "the databases' generations were not raised"),
            Err(cause) => tracing::error!(%cause, "the databases' generations were not raised"),
        }
    }
}
