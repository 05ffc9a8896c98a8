//! Where settings are: files in a folder or in a git repository, or secrets of a Vault. A further place joins here.

use super::error::{BackendError, LARGEST};
use super::git::Git;
use super::request::Wanted;
use crate::kernel::problem::Problem;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// The files of one moment.
pub(super) struct State {
    /// The commit, where there are commits.
    pub(super) commit: Option<String>,
    /// Folders that are looked into, the weakest first; each ends with a slash, the root is empty.
    pub(super) folders: Vec<String>,
}

/// Where settings files are kept.
pub(super) enum Backend {
    /// A folder, as it is on the disk. A label is a folder in it.
    Folder(Folder),
    /// A git repository. A label is a branch, a tag or a commit.
    Git(Git),
    /// Secrets of a Vault, which are no files. A label changes nothing.
    #[cfg(feature = "vault")]
    Vault(super::vault::Keys),
}

/// A folder of settings files.
pub(super) struct Folder {
    /// Absolute; none where there is none, which is an empty one.
    pub(super) root: Option<PathBuf>,
    /// Folders in it that are looked into, too: with `{application}`, `{profile}` and `{label}`.
    pub(super) search: Vec<String>,
}

impl Backend {
    /// What there is now under the label that is wanted; 404 where there is no such label.
    pub(super) async fn at(&self, wanted: &Wanted) -> Result<State, Problem> {
        match self {
            Backend::Folder(folder) => {
                let mut folders = searched(&folder.search, wanted, wanted.label.as_deref());
                folders.extend(wanted.label.as_ref().map(|label| format!("{label}/")));
                Ok(State { commit: None, folders })
            }
            Backend::Git(git) => {
                let label = wanted.label.as_deref();
                let commit = git.commit(label).await?;
                Ok(State { commit: Some(commit), folders: searched(&git.search, wanted, label.or(Some(&git.label))) })
            }
            #[cfg(feature = "vault")]
            Backend::Vault(_) => Ok(State { commit: None, folders: Vec::new() }),
        }
    }

    /// The contents of these files, in their order; none for one that is not there.
    pub(super) async fn read(&self, state: &State, paths: Vec<String>) -> Result<Vec<Option<Vec<u8>>>, Problem> {
        match (self, &state.commit) {
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

    /// Looks at once for what is new.
    pub(super) async fn refresh(&self) -> Result<(), Problem> {
        match self {
            Backend::Git(git) => git.refresh(true).await,
            Backend::Folder(_) => Ok(()),
            #[cfg(feature = "vault")]
            Backend::Vault(_) => Ok(()),
        }
    }

    /// How clients see a source: for a folder as Spring names it; for git by the repository's address.
    pub(super) fn name(&self, folder: &str, path: &str, document: Option<usize>) -> String {
        match (self, document) {
            (Backend::Folder(files), None) => format!("file:{}", files.shown(path)),
            (Backend::Folder(files), Some(number)) => {
                let (file, place) = (files.shown(path), files.shown(folder));
                format!("Config resource 'file [{file}]' via location 'file:{place}' (document #{number})")
            }
            (Backend::Git(git), None) => format!("{}/{path}", git.shown),
            (Backend::Git(git), Some(number)) => format!("{}/{path} (document #{number})", git.shown),
            #[cfg(feature = "vault")]
            (Backend::Vault(_), _) => path.to_string(),
        }
    }
}

impl Folder {
    fn shown(&self, path: &str) -> String {
        self.root.as_ref().map(|root| format!("{}/{path}", root.display())).unwrap_or_default()
    }
}

/// The root, then each search path as it is for this application; one of no plain name is passed over.
fn searched(search: &[String], wanted: &Wanted, label: Option<&str>) -> Vec<String> {
    let mut folders = vec![String::new()];
    for pattern in search {
        let names = wanted.name.split(',').flat_map(|name| {
            let profiles = if wanted.profiles.is_empty() { vec![""] } else { wanted.profiles.iter().map(String::as_str).collect() };
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

/// A file below the root. A link may lead to another place in it, as those of Kubernetes do, but not out of it.
fn read(root: &Path, path: &str) -> Result<Option<Vec<u8>>, BackendError> {
    let refused = |source| BackendError::File { path: path.into(), source };
    let failed = |e: std::io::Error| match e.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename => Ok(None),
        _ => Err(refused(e)),
    };
    let real = match root.join(path).canonicalize() {
        Ok(real) => real,
        Err(e) => return failed(e),
    };
    if !real.starts_with(root.canonicalize().map_err(refused)?) {
        tracing::warn!(path, "leads out of the folder; not read");
        return Ok(None);
    }
    if !real.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(real).and_then(|file| file.take(LARGEST as u64 + 1).read_to_end(&mut bytes));
    match opened {
        Ok(_) if bytes.len() > LARGEST => Err(BackendError::TooLarge { path: path.into() }),
        Ok(_) => Ok(Some(bytes)),
        Err(e) => failed(e),
    }
}
