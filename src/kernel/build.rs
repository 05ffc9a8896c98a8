//! Version and commit of this binary, set by the build script `build.rs`.

use crate::kernel::clock;

pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Full hash; `unknown` for a build without git and without `TRADEPOST_COMMIT`.
pub const COMMIT: &str = env!("TRADEPOST_COMMIT");
/// `unknown` for a build on a detached HEAD.
pub const BRANCH: &str = env!("TRADEPOST_BRANCH");
/// Output of `--version`.
pub const LONG_VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("TRADEPOST_COMMIT"), ")");

/// Time of the commit, or `SOURCE_DATE_EPOCH` if set, as RFC 3339 in UTC. Not the time of the build: builds are
/// reproducible.
pub fn time() -> Option<String> {
    env!("TRADEPOST_TIME").parse::<i64>().ok().map(|seconds| clock::rfc3339(seconds.saturating_mul(1000)))
}
