//! Reloads certificates when their files change.

use std::time::Duration;
use tokio_util::sync::CancellationToken;

const POLL_INTERVAL: Duration = Duration::from_secs(2);

#[cfg(feature = "tls")]
type ReloadableRef = std::sync::Arc<dyn super::files::Reload>;
#[cfg(not(feature = "tls"))]
type ReloadableRef = std::convert::Infallible;

/// Polls certificate files while the process runs.
#[derive(Default)]
pub struct CertificateReloader(Vec<ReloadableRef>);

impl CertificateReloader {
    #[cfg(feature = "tls")]
    pub(super) fn add(&mut self, files: ReloadableRef) {
        self.0.push(files);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Polls the files until `stop` is cancelled.
    pub async fn reload_periodically(self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(POLL_INTERVAL)).await.is_some() {
            #[cfg(feature = "tls")]
            self.0.iter().for_each(|files| files.reload_if_changed());
        }
    }
}
