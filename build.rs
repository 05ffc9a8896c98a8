//! Tells the crate which commit it is built from: see `src/kernel/build.rs`.
//!
//! Nothing here depends on when or where it is built, so that the same sources give the same binary. Where there
//! is no git (an image, an archive) the environment may say it: `TRADEPOST_COMMIT`, `TRADEPOST_BRANCH`, and
//! `SOURCE_DATE_EPOCH` (seconds; reproducible-builds.org), which wins over the commit's own time.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let ours = ours();
    if ours {
        watch();
    }
    let from_git = |args: &[&str]| if ours { git(args) } else { None };
    tell("TRADEPOST_COMMIT", "TRADEPOST_COMMIT", || from_git(&["rev-parse", "HEAD"]));
    // a checkout of a commit alone, as CI's often is, is on no branch
    let branch = || from_git(&["rev-parse", "--abbrev-ref", "HEAD"]).filter(|name| name != "HEAD");
    tell("TRADEPOST_BRANCH", "TRADEPOST_BRANCH", branch);
    tell("TRADEPOST_TIME", "SOURCE_DATE_EPOCH", || from_git(&["show", "-s", "--format=%ct", "HEAD"]));
}

/// Hands a value to the crate: the environment's, or what is found, or `unknown`.
fn tell(name: &str, environment: &str, find: impl FnOnce() -> Option<String>) {
    println!("cargo::rerun-if-env-changed={environment}");
    let given = std::env::var(environment).ok().filter(|value| !value.is_empty());
    println!("cargo::rustc-env={name}={}", given.or_else(find).unwrap_or_else(|| "unknown".into()));
}

/// Whether the repository that git finds is this project's, and not one that it lies somewhere in.
fn ours() -> bool {
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let same = |top: String| Some(Path::new(&top).canonicalize().ok()? == Path::new(&here).canonicalize().ok()?);
    git(&["rev-parse", "--show-toplevel"]).and_then(same).unwrap_or(false)
}

/// Runs again when another commit is checked out or made: git writes that down in `logs/HEAD`, where it keeps such
/// logs. A file that is not there would make it run each time.
fn watch() {
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "logs/HEAD"].into_iter().chain(branch.as_deref()) {
        let path = git(&["rev-parse", "--git-path", name]);
        if let Some(path) = path.filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}

/// One line that git prints; none where it fails or is not there.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let line = String::from_utf8(output.stdout).ok()?.trim().to_string();
    (output.status.success() && !line.is_empty()).then_some(line)
}
