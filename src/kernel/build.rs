//! Which version and commit this binary is built from: see `build.rs` beside `Cargo.toml`.

use crate::kernel::clock;

/// The version in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit's full hash; `unknown` where it was built without git and without `TRADEPOST_COMMIT`.
pub const COMMIT: &str = env!("TRADEPOST_COMMIT");
/// The branch it was built on; `unknown` on none, as in a checkout of a commit alone.
pub const BRANCH: &str = env!("TRADEPOST_BRANCH");
/// For `--version`: the version, and the commit beside it.
pub const LONG_VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("TRADEPOST_COMMIT"), ")");

/// When the commit was made (`SOURCE_DATE_EPOCH` where that was set), RFC 3339 in UTC; never the time of the
/// build itself, which would make each build another binary. None where it is not known.
pub fn time() -> Option<String> {
    env!("TRADEPOST_TIME").parse::<i64>().ok().map(|seconds| clock::rfc3339(seconds.saturating_mul(1000)))
}
