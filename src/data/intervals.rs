//! Intervals of background work on a store.

use std::time::Duration;

/// Background work waits this long after a commit for more commits, and handles them together. Without the pause it
/// would compete with requests for every fsync.
pub const COALESCE_WINDOW: Duration = Duration::from_millis(10);

/// Poll interval where another process may also write: this process is not notified of its commits.
pub const POLL_INTERVAL: Duration = Duration::from_millis(250);
