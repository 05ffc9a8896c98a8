//! A git repository, read with the `git` program: it supports every transport and uses the operator's keys, for which a
//! library needs a hundred crates. Files are read from the object store, so concurrent requests for two branches
//! do not compete for a working copy.

use super::error::{BackendError, GitError, MAX_FILE_BYTES};
use crate::kernel::problem::Problem;
use crate::kernel::secret::Secret;
use crate::kernel::uri::percent_decode;
use base64::{Engine, engine::general_purpose::STANDARD};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::Mutex;

/// Allows for the first fetch of a large repository.
const FETCH_TIMEOUT: Duration = Duration::from_secs(120);
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Lines of stderr in an error.
const MAX_STDERR_LINES: usize = 3;

pub(super) struct GitRepository {
    dir: PathBuf,
    /// URL without credentials.
    pub(super) address: String,
    /// For requests without a label.
    pub(super) default_label: String,
    /// Further folders to search.
    pub(super) search_paths: Vec<String>,
    upstream: Option<Arc<Upstream>>,
}

/// The remote of a local copy.
struct Upstream {
    dir: PathBuf,
    /// Passed in the environment, because other users can read a command line.
    git_config: Vec<(String, String)>,
    refresh_interval: Duration,
    last_fetch: Mutex<Option<Instant>>,
}

impl GitRepository {
    /// Reads a local repository in place. Of a remote one, keeps a copy in `data`, fetched if older than
    /// `refresh_interval`.
    pub(super) fn open(
        url: &Secret,
        label: &str,
        search_paths: &[String],
        refresh_interval: Duration,
        data: &Path,
    ) -> Result<Self, GitError> {
        let url = url.expose();
        let folder = |path: &Path| {
            let path = path.to_path_buf();
            move |source| GitError::Folder { path, source }
        };
        let local = match url.strip_prefix("file://") {
            Some(path) => Some(PathBuf::from(path)),
            None => Some(PathBuf::from(url)).filter(|path| !url.contains("://") && path.is_dir()),
        };
        let (address, credentials) = split_credentials(url)?;
        let (default_label, search_paths) = (label.to_string(), search_paths.to_vec());
        if let Some(path) = local {
            let dir = path.canonicalize().map_err(folder(&path))?;
            run_blocking(&dir, &["rev-parse", "--git-dir"])?;
            return Ok(Self { address: format!("file://{}", path.display()), dir, default_label, search_paths, upstream: None });
        }
        let dir = data.join("config-server/repository.git");
        std::fs::create_dir_all(&dir).map_err(folder(&dir))?;
        run_blocking(&dir, &["init", "--quiet", "--bare"])?;
        let mut git_config = vec![("remote.origin.url".to_string(), address.clone())];
        if let Some(credentials) = credentials {
            git_config.push((format!("http.{address}.extraHeader"), format!("Authorization: Basic {}", STANDARD.encode(credentials))));
        }
        let upstream = Arc::new(Upstream { dir: dir.clone(), git_config, refresh_interval, last_fetch: Mutex::default() });
        Ok(Self { dir, address, default_label, search_paths, upstream: Some(upstream) })
    }

    /// The current commit of a label: a branch, a tag, or a commit id.
    pub(super) async fn commit(&self, label: Option<&str>) -> Result<String, Problem> {
        self.refresh(false).await?;
        let name = label.unwrap_or(&self.default_label);
        let unknown = || Problem::new(404, format!("there is no label `{name}`"));
        if name.contains(['~', '^', '[', ' ']) {
            // only names, no revision expressions
            return Err(unknown());
        }
        let mut candidates = vec![format!("refs/heads/{name}^{{commit}}"), format!("refs/tags/{name}^{{commit}}")];
        if name.len() >= 7 && name.bytes().all(|b| b.is_ascii_hexdigit()) {
            candidates.push(format!("{name}^{{commit}}"));
        }
        if label.is_none() && name == "main" {
            // as in Spring's server, for repositories with the default branch of before 2020
            candidates.push("refs/heads/master^{commit}".into());
        }
        let output = self.batch("--batch-check=%(objectname)", &candidates).await?;
        let found = String::from_utf8_lossy(&output).lines().find(|line| !line.contains(' ')).map(str::to_string);
        found.ok_or_else(unknown)
    }

    /// Files of a commit; `None` for a missing file.
    pub(super) async fn read(&self, commit: &str, paths: &[String]) -> Result<Vec<Option<Vec<u8>>>, Problem> {
        let objects: Vec<_> = paths.iter().map(|path| format!("{commit}:{path}")).collect();
        let sizes = self.batch("--batch-check=%(objecttype) %(objectsize)", &objects).await?;
        let mut sized = Vec::new();
        for ((line, object), path) in String::from_utf8_lossy(&sizes).lines().zip(&objects).zip(paths) {
            let size = line.strip_prefix("blob ").and_then(|size| size.parse::<usize>().ok());
            if size.is_some_and(|size| size > MAX_FILE_BYTES) {
                return Err(BackendError::TooLarge { path: path.clone() }.into());
            }
            sized.push(size.map(|size| (size, object.clone())));
        }
        let present: Vec<_> = sized.iter().flatten().map(|(_, object)| object.clone()).collect();
        let contents = self.batch("--batch=%(objectsize)", &present).await?;
        let mut rest = contents.as_slice();
        let mut take = |size: usize| {
            // format: a line with the size, the content, a line feed
            let start = rest.iter().position(|b| *b == b'\n')? + 1;
            let file = rest.get(start..start + size)?.to_vec();
            rest = rest.get(start + size + 1..)?;
            Some(file)
        };
        let mut files = Vec::new();
        for size in sized {
            let file = size.map(|(size, _)| take(size).ok_or(BackendError::Git(GitError::Truncated))).transpose()?;
            files.push(file);
        }
        files.resize(paths.len(), None);
        Ok(files)
    }

    async fn batch(&self, option: &str, objects: &[String]) -> Result<Vec<u8>, BackendError> {
        if objects.is_empty() {
            return Ok(Vec::new());
        }
        Ok(run(&self.dir, &[], &["cat-file", option], &lines(objects), READ_TIMEOUT).await?)
    }

    /// Fetches if the copy is old, or `force`d. If the remote is unreachable, the earlier copy stays in use.
    pub(super) async fn refresh(&self, force: bool) -> Result<(), Problem> {
        let Some(upstream) = self.upstream.clone() else { return Ok(()) };
        // a separate task: a cancelled request must not abort the fetch that the next one needs
        let fetching = actix_web::rt::spawn(async move { upstream.fetch(force).await });
        let fetched = fetching.await.map_err(|cause| BackendError::Reader(Box::new(cause)))?;
        Ok(fetched.map_err(BackendError::from)?)
    }
}

impl Upstream {
    async fn fetch(&self, force: bool) -> Result<(), GitError> {
        let mut last_fetch = self.last_fetch.lock().await;
        if !force && last_fetch.is_some_and(|at| at.elapsed() < self.refresh_interval) {
            return Ok(());
        }
        let args =
            ["fetch", "--quiet", "--prune", "--no-write-fetch-head", "origin", "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
        match run(&self.dir, &self.git_config, &args, b"", FETCH_TIMEOUT).await {
            Ok(_) => *last_fetch = Some(Instant::now()),
            Err(cause) if last_fetch.is_some() => tracing::warn!(%cause, "repository not fetched; the last copy stays in use"),
            Err(cause) => return Err(cause),
        }
        Ok(())
    }
}

fn lines(objects: &[String]) -> Vec<u8> {
    objects.iter().flat_map(|object| [object.as_bytes(), b"\n"].concat()).collect()
}

/// The URL without credentials, and the decoded `user:password`.
fn split_credentials(url: &str) -> Result<(String, Option<String>), GitError> {
    let unchanged = || (url.trim_end_matches('/').to_string(), None);
    let Some((scheme, rest)) = url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https")) else {
        return Ok(unchanged());
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let Some((user, host)) = rest.get(..end).and_then(|authority| authority.rsplit_once('@')) else { return Ok(unchanged()) };
    let decoded = percent_decode(user).ok_or(GitError::Credentials)?;
    let path = rest.get(end..).unwrap_or_default().trim_end_matches('/');
    Ok((format!("{scheme}://{host}{path}"), Some(decoded)))
}

fn configure(command: &mut std::process::Command, dir: &Path, git_config: &[(String, String)], args: &[&str]) {
    command.arg("-C").arg(dir).args(args).env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C").env_remove("GIT_DIR");
    command.env("GIT_CONFIG_COUNT", git_config.len().to_string());
    for (index, (key, value)) in git_config.iter().enumerate() {
        command.env(format!("GIT_CONFIG_KEY_{index}"), key).env(format!("GIT_CONFIG_VALUE_{index}"), value);
    }
}

/// Only at start, before requests are served.
fn run_blocking(dir: &Path, args: &[&str]) -> Result<(), GitError> {
    let mut command = std::process::Command::new("git");
    configure(&mut command, dir, &[], args);
    check_status(command.output().map_err(GitError::NotRun)?).map(drop)
}

async fn run(dir: &Path, git_config: &[(String, String)], args: &[&str], input: &[u8], limit: Duration) -> Result<Vec<u8>, GitError> {
    let mut command = std::process::Command::new("git");
    configure(&mut command, dir, git_config, args);
    let mut command = Command::from(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(GitError::NotRun)?;
    let stdin = child.stdin.take();
    let write = async {
        if let Some(mut stdin) = stdin {
            // fails if git has exited; its status has the cause
            let _ = stdin.write_all(input).await;
        }
    };
    let exchange = async { tokio::join!(write, child.wait_with_output()).1 };
    let output = tokio::time::timeout(limit, exchange).await.map_err(|_| GitError::TimedOut { limit })?;
    check_status(output.map_err(GitError::Output)?)
}

/// Returns stdout if the exit status is success.
fn check_status(output: Output) -> Result<Vec<u8>, GitError> {
    if output.status.success() {
        return Ok(output.stdout);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).take(MAX_STDERR_LINES).collect();
    Err(GitError::Failed { status: output.status, stderr: lines.join("; ") })
}
