//! The active route table; the routes file and the actuator change it.

use super::definition::RouteDefinition;
use super::document::{self, RouteDocument};
use super::error::{ComponentError, DocumentError, TableError};
use super::routes::builtin_routes;
use super::table::RouteTable;
use crate::rpc::resilience::registry::BreakerRegistry;
use crate::settings;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;

const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// A change that leaves the active routes unchanged.
#[derive(Debug, thiserror::Error)]
pub(super) enum ActiveRoutesError {
    #[error(transparent)]
    File(#[from] RouteFileError),
    /// The file's routes conflict with added routes.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A built-in route is invalid: a bug.
    #[error(transparent)]
    BuiltIn(#[from] ComponentError),
    /// The actuator can only remove routes that it added.
    #[error("no route `{id}` was added here")]
    NotAdded { id: String },
}

impl crate::kernel::error::ComponentError for ActiveRoutesError {}

#[derive(Debug, thiserror::Error)]
#[error("gateway.routes: {}: {reason}", path.display())]
pub(super) struct RouteFileError {
    path: PathBuf,
    #[source]
    reason: RouteFileErrorReason,
}

#[derive(Debug, thiserror::Error)]
enum RouteFileErrorReason {
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

pub(super) struct ActiveRoutes {
    file: Mutex<Option<PathBuf>>,
    dashboard: Option<String>,
    breakers: BreakerRegistry,
    sources: Mutex<RouteSources>,
    table: RwLock<Arc<RouteTable>>,
}

impl ActiveRoutes {
    /// Fails on an invalid file. Without a registry in this process, a built-in route leads to the registry's page.
    pub(super) fn new(settings: &settings::Gateway, registry_is_local: bool, breakers: BreakerRegistry) -> Result<Self, ActiveRoutesError> {
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

    /// The current table; a request keeps its table until its end.
    pub(super) fn table(&self) -> Arc<RouteTable> {
        self.table.read().clone()
    }

    /// Whether the file enables the discovery locator.
    pub(super) fn discovery_locator(&self) -> bool {
        self.sources.lock().document.discovery_locator
    }

    fn file(&self) -> Option<PathBuf> {
        self.file.lock().clone()
    }

    /// Switches to another file, or to the built-in routes. On an error nothing changes.
    pub(super) fn set_file(&self, file: Option<PathBuf>) -> Result<(), ActiveRoutesError> {
        self.load(file.as_deref())?;
        *self.file.lock() = file;
        Ok(())
    }

    /// Reloads the routes. On an error the active routes stay. Returns the number of routes.
    pub(super) fn reload(&self) -> Result<usize, ActiveRoutesError> {
        self.load(self.file().as_deref())
    }

    fn load(&self, file: Option<&Path>) -> Result<usize, ActiveRoutesError> {
        let document = match file {
            None => builtin_routes(self.dashboard.as_deref())?,
            Some(path) => load_file(path).map_err(|reason| RouteFileError { path: path.into(), reason })?,
        };
        self.update(|sources| {
            sources.document = document;
            Ok(())
        })
    }

    /// Adds a route, or replaces an added one.
    pub(super) fn add(&self, definition: RouteDefinition) -> Result<usize, ActiveRoutesError> {
        self.update(|sources| {
            sources.added.insert(definition.id.clone(), definition);
            Ok(())
        })
    }

    /// Removes an added route.
    pub(super) fn remove(&self, id: &str) -> Result<usize, ActiveRoutesError> {
        self.update(|sources| sources.added.remove(id).map(|_| ()).ok_or_else(|| ActiveRoutesError::NotAdded { id: id.into() }))
    }

    fn update(&self, change: impl FnOnce(&mut RouteSources) -> Result<(), ActiveRoutesError>) -> Result<usize, ActiveRoutesError> {
        let mut sources = self.sources.lock();
        let mut next = RouteSources { document: sources.document.clone(), added: sources.added.clone() };
        change(&mut next)?;
        let mut table = RouteTable::build(&next.document, &next.added)?;
        table.breakers_by_name = self.breakers.replace_route_breakers(&table.breaker_rules());
        let count = table.routes.len();
        *sources = next;
        *self.table.write() = Arc::new(table);
        Ok(count)
    }

    /// Reloads the routes when the file changes, or when another file is set.
    pub(super) async fn watch_file(&self, stop: CancellationToken) {
        let fingerprint = || {
            let file = self.file();
            let version: Option<(SystemTime, u64)> =
                file.as_ref().and_then(|path| std::fs::metadata(path).ok()).and_then(|m| Some((m.modified().ok()?, m.len())));
            (file, version)
        };
        let mut last = fingerprint();
        loop {
            tokio::select! {
                () = tokio::time::sleep(POLL_INTERVAL) => {}
                () = stop.cancelled() => return,
            }
            let now = fingerprint();
            if now == last {
                continue;
            }
            last = now;
            match self.reload() {
                Ok(routes) => tracing::info!(routes, "routes reloaded"),
                Err(cause) => tracing::error!(%cause, "cannot load routes; keeping the active ones"),
            }
        }
    }
}

/// Loads a file and checks that its routes form a table.
fn load_file(path: &Path) -> Result<RouteDocument, RouteFileErrorReason> {
    let document = document::parse(&std::fs::read_to_string(path)?)?;
    RouteTable::build(&document, &BTreeMap::new())?;
    Ok(document)
}
