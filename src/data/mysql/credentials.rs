//! The current URL and credentials of a server, which may change while connections are open.

use super::connect_options::{MySqlUrlError, connect_options};
use crate::settings::MySqlUrl;
use mysql_async::Opts;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

pub(super) struct Credentials {
    current: Mutex<(MySqlUrl, Opts)>,
    /// Connections made before are not used any more.
    valid_since: Mutex<Instant>,
    changed: Notify,
    refused: Arc<Notify>,
    /// When the server last refused the credentials. Recorded here because the pool keeps only an error's text.
    denied_at: Mutex<Option<Instant>>,
    /// Whether some part of the process supplies new credentials when these are refused.
    renewable: AtomicBool,
}

impl Credentials {
    /// `name` is the module's.
    pub(super) fn new(server: &MySqlUrl, name: &str) -> Result<Self, MySqlUrlError> {
        let current = (server.clone(), connect_options(server, name)?);
        Ok(Self {
            current: Mutex::new(current),
            valid_since: Mutex::new(Instant::now()),
            changed: Notify::new(),
            refused: Arc::default(),
            denied_at: Mutex::default(),
            renewable: AtomicBool::new(false),
        })
    }

    /// Notified when the server refuses the credentials. The caller supplies new ones through [`Credentials::replace`].
    pub(super) fn refusal_signal(&self) -> Arc<Notify> {
        self.renewable.store(true, Ordering::Relaxed);
        self.refused.clone()
    }

    /// Requests new credentials; false if no part of the process supplies them.
    pub(super) fn request_renewal(&self) -> bool {
        let renewable = self.renewable.load(Ordering::Relaxed);
        if renewable {
            self.refused.notify_one();
        }
        renewable
    }

    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    pub(super) fn options(&self) -> Opts {
        self.current.lock().1.clone()
    }

    pub(super) fn valid_since(&self) -> Instant {
        *self.valid_since.lock()
    }

    /// From now on, connections made before `now` are closed instead of used.
    pub(super) fn invalidate_before(&self, now: Instant) {
        *self.valid_since.lock() = now;
    }

    pub(super) fn record_denial(&self) {
        *self.denied_at.lock() = Some(Instant::now());
    }

    pub(super) fn was_denied_since(&self, since: Instant) -> bool {
        self.denied_at.lock().is_some_and(|at| at >= since)
    }

    /// Replaces the credentials. The database must stay the same.
    pub(super) fn replace(&self, server: &MySqlUrl, name: &str) -> Result<(), MySqlUrlError> {
        fn without_credentials(server: &MySqlUrl) -> &str {
            let url = server.url.expose();
            url.rsplit_once('@').map_or(url, |(_, database)| database)
        }
        let next = (server.clone(), connect_options(server, name)?);
        let mut current = self.current.lock();
        if without_credentials(&current.0) != without_credentials(server) || current.0.tls != server.tls {
            return Err(MySqlUrlError::OtherDatabase { module: name.into() });
        }
        *current = next;
        drop(current);
        self.changed.notify_waiters();
        Ok(())
    }
}
