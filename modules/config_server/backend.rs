//! Backends: files in a folder or in a git repository, or secrets in Vault.

use super::error::{BackendError, MAX_FILE_BYTES};
use super::git::GitRepository;
use super::request::ConfigRequest;
use crate::kernel::problem::Problem;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// A fixed state of the files, for one request.
pub(super) struct Revision {
    /// Only for git.
    pub(super) commit: Option<String>,
    /// Folders to search, lowest precedence first; each ends with a slash, the root is empty.
    pub(super) folders: Vec<String>,
}

pub(super) enum Backend {
    /// The label is a subfolder.
    Folder(Folder),
    /// The label is a branch, a tag or a commit.
    Git(GitRepository),
    /// Secrets instead of files. The label is ignored.
    #[cfg(feature = "vault")]
    Vault(super::vault::VaultBackend),
}

pub(super) struct Folder {
    /// Absolute; `None` if it does not exist, which counts as empty.
    pub(super) root: Option<PathBuf>,
    /// Further folders to search, with the placeholders `{application}`, `{profile}` and `{label}`.
    pub(super) search_paths: Vec<String>,
}

impl Backend {
    /// The current revision of the requested label; 404 for an unknown label.
    pub(super) async fn resolve(&self, request: &ConfigRequest) -> Result<Revision, Problem> {
        match self {
            Backend::Folder(folder) => {
                let mut folders = search_folders(&folder.search_paths, request, request.label.as_deref());
                folders.extend(request.label.as_ref().map(|label| format!("{label}/")));
                Ok(Revision { commit: None, folders })
            }
            Backend::Git(git) => {
                let label = request.label.as_deref();
                let commit = git.commit(label).await?;
                Ok(Revision {
                    commit: Some(commit),
                    folders: search_folders(&git.search_paths, request, label.or(Some(&git.default_label))),
                })
            }
            #[cfg(feature = "vault")]
            Backend::Vault(_) => Ok(Revision { commit: None, folders: Vec::new() }),
        }
    }

    /// The contents of the files in their order; `None` for a missing file.
    pub(super) async fn read(&self, revision: &Revision, paths: Vec<String>) -> Result<Vec<Option<Vec<u8>>>, Problem> {
        match (self, &revision.commit) {
            (Backend::Git(git), Some(commit)) => git.read(commit, &paths).await,
            (Backend::Folder(Folder { root: Some(root), .. }), _) => {
                let root = root.clone();
                let read = move || paths.iter().map(|path| read(&root, path)).collect::<Result<Vec<_>, _>>();
                let contents = actix_web::web::block(read).await.map_err(|cause| BackendError::Reader(Box::new(cause)))?;
                Ok(contents?)
            }
            _ => Ok(vec![None; paths.len()]),
        }
    }

    /// Fetches changes of a remote repository at once.
    pub(super) async fn refresh(&self) -> Result<(), Problem> {
        match self {
            Backend::Git(git) => git.refresh(true).await,
            Backend::Folder(_) => Ok(()),
            #[cfg(feature = "vault")]
            Backend::Vault(_) => Ok(()),
        }
    }

    /// The name of a property source in responses: for a folder as in Spring; for git by the repository's address.
    pub(super) fn source_name(&self, folder: &str, path: &str, document: Option<usize>) -> String {
        match (self, document) {
            (Backend::Folder(files), None) => format!("file:{}", files.display_path(path)),
            (Backend::Folder(files), Some(number)) => {
                let (file, location) = (files.display_path(path), files.display_path(folder));
                format!("Config resource 'file [{file}]' via location 'file:{location}' (document #{number})")
            }
            (Backend::Git(git), None) => format!("{}/{path}", git.address),
            (Backend::Git(git), Some(number)) => format!("{}/{path} (document #{number})", git.address),
            #[cfg(feature = "vault")]
            (Backend::Vault(_), _) => path.to_string(),
        }
    }
}

impl Folder {
    fn display_path(&self, path: &str) -> String {
        self.root.as_ref().map(|root| format!("{}/{path}", root.display())).unwrap_or_default()
    }
}

/// The root, then each search path with its placeholders replaced. Skips paths that are empty then.
fn search_folders(search_paths: &[String], request: &ConfigRequest, label: Option<&str>) -> Vec<String> {
    let mut folders = vec![String::new()];
    for pattern in search_paths {
        let names = request.name.split(',').flat_map(|name| {
            let profiles = if request.profiles.is_empty() { vec![""] } else { request.profiles.iter().map(String::as_str).collect() };
            profiles.into_iter().map(move |profile| (name, profile))
        });
        for (name, profile) in names {
            let folder = pattern.replace("{application}", name).replace("{profile}", profile).replace("{label}", label.unwrap_or_default());
            let folder = format!("{}/", folder.trim_matches('/'));
            if !folder.starts_with('/') && !folders.contains(&folder) {
                folders.push(folder);
            }
        }
    }
    folders
}

/// Reads a file below the root. Symbolic links may point inside the root, as in Kubernetes volumes, but not outside.
fn read(root: &Path, path: &str) -> Result<Option<Vec<u8>>, BackendError> {
    let io_error = |source| BackendError::File { path: path.into(), source };
    let missing_or_error = |e: std::io::Error| match e.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename => Ok(None),
        _ => Err(io_error(e)),
    };
    let target = match root.join(path).canonicalize() {
        Ok(target) => target,
        Err(e) => return missing_or_error(e),
    };
    if !target.starts_with(root.canonicalize().map_err(io_error)?) {
        tracing::warn!(path, "link points outside the folder; file not read");
        return Ok(None);
    }
    if !target.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let result = std::fs::File::open(target).and_then(|file| file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes));
    match result {
        Ok(_) if bytes.len() > MAX_FILE_BYTES => Err(BackendError::TooLarge { path: path.into() }),
        Ok(_) => Ok(Some(bytes)),
        Err(e) => missing_or_error(e),
    }
}
