//! A git repository, read by the `git` program: it speaks every transport and knows the operator's
//! keys, and a library that does as much is a hundred crates. Files come out of its object store, so
//! there is no working copy that two requests could want on two branches.

use super::error::{BackendError, GitError, LARGEST};
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

/// Fetching a large repository for the first time.
const FETCH: Duration = Duration::from_secs(120);
/// Reading from the disk.
const READ: Duration = Duration::from_secs(10);

/// Lines of what git wrote that are kept of a failure.
const SHOWN_LINES: usize = 3;

/// A repository.
pub(super) struct Git {
    dir: PathBuf,
    /// Its address without credentials.
    pub(super) shown: String,
    /// The label of who names none.
    pub(super) label: String,
    /// Folders in it that are looked into, too.
    pub(super) search: Vec<String>,
    upstream: Option<Arc<Upstream>>,
}

/// Where a copy comes from.
struct Upstream {
    dir: PathBuf,
    /// Handed to git by its environment: other users see a command line.
    settings: Vec<(String, String)>,
    every: Duration,
    fetched: Mutex<Option<Instant>>,
}

impl Git {
    /// A local repository is read where it is; of one elsewhere a copy is kept in `data`, fetched when it is
    /// older than `every`.
    pub(super) fn open(url: &Secret, label: &str, search: &[String], every: Duration, data: &Path) -> Result<Self, GitError> {
        let url = url.expose();
        let folder = |path: &Path| {
            let path = path.to_path_buf();
            move |source| GitError::Folder { path, source }
        };
        let local = match url.strip_prefix("file://") {
            Some(path) => Some(PathBuf::from(path)),
            None => Some(PathBuf::from(url)).filter(|path| !url.contains("://") && path.is_dir()),
        };
        let (shown, credentials) = parted(url)?;
        let (label, search) = (label.to_string(), search.to_vec());
        if let Some(path) = local {
            let dir = path.canonicalize().map_err(folder(&path))?;
            at_start(&dir, &["rev-parse", "--git-dir"])?;
            return Ok(Self { shown: format!("file://{}", path.display()), dir, label, search, upstream: None });
        }
        let dir = data.join("config-server/repository.git");
        std::fs::create_dir_all(&dir).map_err(folder(&dir))?;
        at_start(&dir, &["init", "--quiet", "--bare"])?;
        let mut settings = vec![("remote.origin.url".to_string(), shown.clone())];
        if let Some(credentials) = credentials {
            settings.push((format!("http.{shown}.extraHeader"), format!("Authorization: Basic {}", STANDARD.encode(credentials))));
        }
        let upstream = Arc::new(Upstream { dir: dir.clone(), settings, every, fetched: Mutex::default() });
        Ok(Self { dir, shown, label, search, upstream: Some(upstream) })
    }

    /// The commit that a label names now: a branch, a tag, or a commit's own id.
    pub(super) async fn commit(&self, label: Option<&str>) -> Result<String, Problem> {
        self.refresh(false).await?;
        let name = label.unwrap_or(&self.label);
        let unknown = || Problem::new(404, format!("there is no label `{name}`"));
        if name.contains(['~', '^', '[', ' ']) {
            // a name, not an expression over the history
            return Err(unknown());
        }
        let mut asked = vec![format!("refs/heads/{name}^{{commit}}"), format!("refs/tags/{name}^{{commit}}")];
        if name.len() >= 7 && name.bytes().all(|b| b.is_ascii_hexdigit()) {
            asked.push(format!("{name}^{{commit}}"));
        }
        if label.is_none() && name == "main" {
            // as Spring's server does, for repositories of before 2020
            asked.push("refs/heads/master^{commit}".into());
        }
        let answer = self.batch("--batch-check=%(objectname)", &asked).await?;
        let found = String::from_utf8_lossy(&answer).lines().find(|line| !line.contains(' ')).map(str::to_string);
        found.ok_or_else(unknown)
    }

    /// Files of a commit; none for one that is not there.
    pub(super) async fn read(&self, commit: &str, paths: &[String]) -> Result<Vec<Option<Vec<u8>>>, Problem> {
        let asked: Vec<_> = paths.iter().map(|path| format!("{commit}:{path}")).collect();
        let sizes = self.batch("--batch-check=%(objecttype) %(objectsize)", &asked).await?;
        let mut wanted = Vec::new();
        for ((line, object), path) in String::from_utf8_lossy(&sizes).lines().zip(&asked).zip(paths) {
            let size = line.strip_prefix("blob ").and_then(|size| size.parse::<usize>().ok());
            if size.is_some_and(|size| size > LARGEST) {
                return Err(BackendError::TooLarge { path: path.clone() }.into());
            }
            wanted.push(size.map(|size| (size, object.clone())));
        }
        let present: Vec<_> = wanted.iter().flatten().map(|(_, object)| object.clone()).collect();
        let contents = self.batch("--batch=%(objectsize)", &present).await?;
        let mut rest = contents.as_slice();
        let mut take = |size: usize| {
            // a line with the size, the file, a line's end
            let start = rest.iter().position(|b| *b == b'\n')? + 1;
            let file = rest.get(start..start + size)?.to_vec();
            rest = rest.get(start + size + 1..)?;
            Some(file)
        };
        let mut files = Vec::new();
        for size in wanted {
            let file = size.map(|(size, _)| take(size).ok_or(BackendError::Git(GitError::CutShort))).transpose()?;
            files.push(file);
        }
        files.resize(paths.len(), None);
        Ok(files)
    }

    async fn batch(&self, how: &str, objects: &[String]) -> Result<Vec<u8>, BackendError> {
        if objects.is_empty() {
            return Ok(Vec::new());
        }
        Ok(run(&self.dir, &[], &["cat-file", how], &lines(objects), READ).await?)
    }

    /// Fetches where the copy is old, or at once. A repository that is away leaves what was fetched before in use.
    pub(super) async fn refresh(&self, now: bool) -> Result<(), Problem> {
        let Some(upstream) = self.upstream.clone() else { return Ok(()) };
        // apart from the request: one that gives up must not break off what the next will need
        let fetching = actix_web::rt::spawn(async move { upstream.fetch(now).await });
        let fetched = fetching.await.map_err(|cause| BackendError::Reader(Box::new(cause)))?;
        Ok(fetched.map_err(BackendError::from)?)
    }
}

impl Upstream {
    async fn fetch(&self, now: bool) -> Result<(), GitError> {
        let mut fetched = self.fetched.lock().await;
        if !now && fetched.is_some_and(|at| at.elapsed() < self.every) {
            return Ok(());
        }
        let all =
            ["fetch", "--quiet", "--prune", "--no-write-fetch-head", "origin", "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
        match run(&self.dir, &self.settings, &all, b"", FETCH).await {
            Ok(_) => *fetched = Some(Instant::now()),
            Err(cause) if fetched.is_some() => tracing::warn!(%cause, "repository not fetched: what is here stays in use"),
            Err(cause) => return Err(cause),
        }
        Ok(())
    }
}

fn lines(objects: &[String]) -> Vec<u8> {
    objects.iter().flat_map(|object| [object.as_bytes(), b"\n"].concat()).collect()
}

/// An address and the `user:password` that was in it.
fn parted(url: &str) -> Result<(String, Option<String>), GitError> {
    let whole = || (url.trim_end_matches('/').to_string(), None);
    let Some((scheme, rest)) = url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https")) else { return Ok(whole()) };
    let end = rest.find('/').unwrap_or(rest.len());
    let Some((user, host)) = rest.get(..end).and_then(|authority| authority.rsplit_once('@')) else { return Ok(whole()) };
    let decoded = percent_decode(user).ok_or(GitError::Credentials)?;
    let path = rest.get(end..).unwrap_or_default().trim_end_matches('/');
    Ok((format!("{scheme}://{host}{path}"), Some(decoded)))
}

fn prepared(command: &mut std::process::Command, dir: &Path, settings: &[(String, String)], args: &[&str]) {
    command.arg("-C").arg(dir).args(args).env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C").env_remove("GIT_DIR");
    command.env("GIT_CONFIG_COUNT", settings.len().to_string());
    for (index, (key, value)) in settings.iter().enumerate() {
        command.env(format!("GIT_CONFIG_KEY_{index}"), key).env(format!("GIT_CONFIG_VALUE_{index}"), value);
    }
}

/// Once, before anything is served.
fn at_start(dir: &Path, args: &[&str]) -> Result<(), GitError> {
    let mut command = std::process::Command::new("git");
    prepared(&mut command, dir, &[], args);
    succeeded(command.output().map_err(GitError::NotRun)?).map(drop)
}

async fn run(dir: &Path, settings: &[(String, String)], args: &[&str], input: &[u8], limit: Duration) -> Result<Vec<u8>, GitError> {
    let mut command = std::process::Command::new("git");
    prepared(&mut command, dir, settings, args);
    let mut command = Command::from(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(GitError::NotRun)?;
    let stdin = child.stdin.take();
    let write = async {
        if let Some(mut stdin) = stdin {
            // git that has ended says why on its own
            let _ = stdin.write_all(input).await;
        }
    };
    let work = async { tokio::join!(write, child.wait_with_output()).1 };
    let output = tokio::time::timeout(limit, work).await.map_err(|_| GitError::TimedOut { limit })?;
    succeeded(output.map_err(GitError::Output)?)
}

/// What git wrote, where its exit status says that it did what it was asked.
fn succeeded(output: Output) -> Result<Vec<u8>, GitError> {
    if output.status.success() {
        return Ok(output.stdout);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).take(SHOWN_LINES).collect();
    Err(GitError::Failed { status: output.status, stderr: lines.join("; ") })
}
