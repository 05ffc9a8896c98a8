//! HashiCorp Vault: secrets of the KV engine (version 2), and decryption by the transit engine. The login is kept
//! alive.
//!
//! Each [`Vault`] runs a thread of its own: the process reads from Vault before it has a runtime, and the token is
//! renewed until the last clone is dropped.
//!
//! Dynamic secrets are not supported, and no leases are renewed: secrets of a KV engine have none.

mod login;
mod request_error;
mod session;
mod setup_error;
#[cfg(test)]
mod tests;

pub use request_error::VaultRequestError;
pub use session::Secrets;
pub use setup_error::VaultSetupError;

use crate::kernel::error::ThreadError;
use crate::settings::{Secret, Tls, Vault as Settings};
use futures_util::future::LocalBoxFuture;
use session::Session;
use std::rc::Rc;
use tokio::sync::{mpsc, oneshot};

type Job = Box<dyn FnOnce(Rc<Session>) -> LocalBoxFuture<'static, ()> + Send>;

/// A Vault client. Cheap to clone; its thread ends with the last clone.
#[derive(Clone)]
pub struct Vault(mpsc::UnboundedSender<Job>);

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault")
    }
}

impl Vault {
    /// Starts a client for the Vault at `url`. Checks the settings, and sends no request.
    pub fn open(url: &str, settings: &Settings, tls: &Tls) -> Result<Self, VaultSetupError> {
        let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(VaultSetupError::Runtime)?;
        let session = Session::new(url, settings, tls)?;
        let run = move || {
            tokio::task::LocalSet::new().block_on(&runtime, async move {
                let session = Rc::new(session);
                tokio::task::spawn_local(session.clone().renew_periodically());
                while let Some(job) = queue.recv().await {
                    tokio::task::spawn_local(job(session.clone()));
                }
            });
        };
        std::thread::Builder::new().name("vault".into()).spawn(run).map_err(|cause| ThreadError { purpose: "Vault", cause })?;
        Ok(Self(jobs))
    }

    /// Reads these paths of the mount `vault.mount`, in their order. Blocks.
    pub fn secrets(&self, paths: &[String]) -> Result<Vec<Option<Secrets>>, VaultRequestError> {
        let (sender, receiver) = std::sync::mpsc::channel();
        let paths = paths.to_vec();
        self.dispatch(move |session| {
            Box::pin(async move {
                let _ = sender.send(session.read_all(&paths).await);
            })
        })?;
        receiver.recv().map_err(|_| VaultRequestError::thread_ended())?
    }

    /// Decrypts `ciphertext` (`vault:v1:...`) with a key of a transit engine. Blocks.
    pub fn decrypt(&self, mount: &str, key: &str, ciphertext: &str) -> Result<Secret, VaultRequestError> {
        let (sender, receiver) = std::sync::mpsc::channel();
        let (mount, key, ciphertext) = (mount.to_string(), key.to_string(), ciphertext.to_string());
        self.dispatch(move |session| {
            Box::pin(async move {
                let _ = sender.send(session.decrypt(&mount, &key, &ciphertext).await);
            })
        })?;
        receiver.recv().map_err(|_| VaultRequestError::thread_ended())?
    }

    /// Reads one path of a mount, with `token` instead of this process's own token if given.
    pub async fn read(&self, mount: &str, path: &str, token: Option<String>) -> Result<Option<Secrets>, VaultRequestError> {
        let (sender, receiver) = oneshot::channel();
        let (mount, path) = (mount.to_string(), path.to_string());
        self.dispatch(move |session| {
            Box::pin(async move {
                let found = match token {
                    Some(token) => session.read_as(&token, &mount, &path).await,
                    None => session.read(&mount, &path).await,
                };
                let _ = sender.send(found);
            })
        })?;
        receiver.await.map_err(|_| VaultRequestError::thread_ended())?
    }

    fn dispatch(&self, job: impl FnOnce(Rc<Session>) -> LocalBoxFuture<'static, ()> + Send + 'static) -> Result<(), VaultRequestError> {
        self.0.send(Box::new(job)).map_err(|_| VaultRequestError::thread_ended())
    }
}
