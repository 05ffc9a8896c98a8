//! Typed settings, one struct per concern. [`crate::config`] loads them.

mod backends;
mod edges;
mod process;
mod resilience;
mod servers;
mod stores;
mod telemetry;

pub use backends::*;
pub use edges::*;
pub use process::*;
pub use resilience::*;
pub use servers::*;
pub use stores::*;
pub use telemetry::*;

pub use crate::kernel::secret::Secret;

use crate::kernel::error::ReloadError;
use std::sync::Arc;

/// Applies changed settings. On an error, the old ones stay in force.
pub type ApplySettings = Arc<dyn Fn(&Settings) -> Result<(), ReloadError> + Send + Sync>;
