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
