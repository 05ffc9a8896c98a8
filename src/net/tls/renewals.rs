//! Reads certificates again when their files change.

use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(2);

/// What is made of certificates and keeps its eye on their files.
#[cfg(feature = "tls")]
type Watched = std::sync::Arc<dyn super::files::Watch>;
#[cfg(not(feature = "tls"))]
type Watched = std::convert::Infallible;

/// Files that may change while the process runs.
#[derive(Default)]
pub struct Renewals(pub(super) Vec<Watched>);

impl Renewals {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Looks at them until it is told to stop.
    pub async fn look_after(self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            #[cfg(feature = "tls")]
            self.0.iter().for_each(|watched| watched.look());
        }
    }
}
