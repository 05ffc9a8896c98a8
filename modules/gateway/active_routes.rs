//! The table in use, and how it changes: by the file, by the actuator.

use super::definition::RouteDefinition;
use super::document::{self, RouteDocument};
use super::error::{ComponentError, DocumentError, TableError};
use super::routes::builtin_routes;
use super::table::RouteTable;
use crate::kernel::error::PartError;
use crate::rpc::resilience::registry::Breakers;
use crate::settings;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;

/// How often the file is looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Why the routes in use stay as they are.
#[derive(Debug, thiserror::Error)]
pub(super) enum ActiveRoutesError {
    #[error(transparent)]
    File(#[from] RouteFileError),
    /// The file's routes do not go together with those that were added.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A route of our own is wrong: a defect.
    #[error(transparent)]
    BuiltIn(#[from] ComponentError),
    /// A route that the actuator did not add cannot be removed by it.
    #[error("no route `{id}` was added here")]
    NotAdded { id: String },
}

impl PartError for ActiveRoutesError {}

/// A route file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("gateway.routes: {}: {reason}", path.display())]
pub(super) struct RouteFileError {
    path: PathBuf,
    #[source]
    reason: RouteFileReason,
}

/// Why a route file cannot be used.
#[derive(Debug, thiserror::Error)]
enum RouteFileReason {
    #[error(transparent)]
    Unreadable(#[from] std::io::Error),
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error(transparent)]
    Table(#[from] TableError),
}

struct RouteSources {
    document: RouteDocument,
    added: BTreeMap<String, RouteDefinition>,
}

/// The routes in use.
pub(super) struct ActiveRoutes {
    file: Mutex<Option<PathBuf>>,
    dashboard: Option<String>,
    breakers: Breakers,
    sources: Mutex<RouteSources>,
    table: RwLock<Arc<RouteTable>>,
}

impl ActiveRoutes {
    /// As settings say; a bad file is told at once. The registry's page is routed to where it is not shown here.
    pub(super) fn new(settings: &settings::Gateway, registry_is_local: bool, breakers: Breakers) -> Result<Self, ActiveRoutesError> {
        let routes = Self {
            file: Mutex::new(settings.routes.clone()),
            dashboard: (!registry_is_local).then(|| settings.dashboard.clone()),
            breakers,
            sources: Mutex::new(RouteSources { document: RouteDocument::default(), added: BTreeMap::new() }),
            table: RwLock::default(),
        };
        routes.reload()?;
        Ok(routes)
    }

    /// The table of this moment; a request keeps the one it began with.
    pub(super) fn table(&self) -> Arc<RouteTable> {
        self.table.read().clone()
    }

    /// Whether the file asks for the discovery locator.
    pub(super) fn discovery_locator(&self) -> bool {
        self.sources.lock().document.discovery_locator
    }

    fn file(&self) -> Option<PathBuf> {
        self.file.lock().clone()
    }

    /// Takes the routes from another file, or from none; where that is not good, all stays as it was.
    pub(super) fn set_file(&self, file: Option<PathBuf>) -> Result<(), ActiveRoutesError> {
        self.read(file.as_deref())?;
        *self.file.lock() = file;
        Ok(())
    }

    /// Reads the routes again. Where they are not good, those in use stay.
    pub(super) fn reload(&self) -> Result<usize, ActiveRoutesError> {
        self.read(self.file().as_deref())
    }

    fn read(&self, file: Option<&Path>) -> Result<usize, ActiveRoutesError> {
        let document = match file {
            None => builtin_routes(self.dashboard.as_deref())?,
            Some(path) => load_file(path).map_err(|reason| RouteFileError { path: path.into(), reason })?,
        };
        self.change(|sources| {
            sources.document = document;
            Ok(())
        })
    }

    /// Adds a route, or puts another in its place where it was added this way before.
    pub(super) fn add(&self, definition: RouteDefinition) -> Result<usize, ActiveRoutesError> {
        self.change(|sources| {
            sources.added.insert(definition.id.clone(), definition);
            Ok(())
        })
    }

    /// Takes away a route that was added.
    pub(super) fn remove(&self, id: &str) -> Result<usize, ActiveRoutesError> {
        self.change(|sources| sources.added.remove(id).map(|_| ()).ok_or_else(|| ActiveRoutesError::NotAdded { id: id.into() }))
    }

    fn change(&self, change: impl FnOnce(&mut RouteSources) -> Result<(), ActiveRoutesError>) -> Result<usize, ActiveRoutesError> {
        let mut sources = self.sources.lock();
        let mut next = RouteSources { document: sources.document.clone(), added: sources.added.clone() };
        change(&mut next)?;
        let mut table = RouteTable::build(&next.document, &next.added)?;
        table.guards = self.breakers.routed(&table.breaker_rules());
        let count = table.routes.len();
        *sources = next;
        *self.table.write() = Arc::new(table);
        Ok(count)
    }

    /// Reads the file again whenever it has changed, whichever it is.
    pub(super) async fn watch_file(&self, stop: CancellationToken) {
        let fingerprint = || {
            let file = self.file();
            let changed: Option<(SystemTime, u64)> =
                file.as_ref().and_then(|path| std::fs::metadata(path).ok()).and_then(|m| Some((m.modified().ok()?, m.len())));
            (file, changed)
        };
        let mut seen = fingerprint();
        loop {
            tokio::select! {
                () = tokio::time::sleep(POLL_INTERVAL) => {}
                () = stop.cancelled() => return,
            }
            let now = fingerprint();
            if now == seen {
                continue;
            }
            seen = now;
            match self.reload() {
                Ok(routes) => tracing::info!(routes, "routes read again"),
                Err(cause) => tracing::error!(%cause, "routes not read: those in use stay"),
            }
        }
    }
}

/// The routes of a file, which make a table by themselves.
fn load_file(path: &Path) -> Result<RouteDocument, RouteFileReason> {
    let document = document::parse(&std::fs::read_to_string(path)?)?;
    RouteTable::build(&document, &BTreeMap::new())?;
    Ok(document)
}
