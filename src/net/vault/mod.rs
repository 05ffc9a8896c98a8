//! HashiCorp Vault: secrets of its KV engine (version 2), and what its transit engine decrypts, with a login that
//! is kept alive.
//!
//! A Vault has a thread of its own: it is asked before the process has a runtime, and its token is renewed
//! for as long as anybody holds on to it.
//!
//! Dynamic secrets and their leases are not read: what is in a KV engine has no lease.

mod error;
mod login;
mod session;
#[cfg(test)]
mod tests;
mod trouble;

pub use error::VaultError;
pub use session::Secrets;
pub use trouble::Trouble;

use crate::kernel::error::ThreadError;
use crate::settings::{Secret, Tls, Vault as Settings};
use futures_util::future::LocalBoxFuture;
use session::Session;
use std::rc::Rc;
use tokio::sync::{mpsc, oneshot};

type Job = Box<dyn FnOnce(Rc<Session>) -> LocalBoxFuture<'static, ()> + Send>;

/// A Vault. Cheap to clone; its thread ends with the last clone.
#[derive(Clone)]
pub struct Vault(mpsc::UnboundedSender<Job>);

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault")
    }
}

impl Vault {
    /// The one at this address. Nothing is asked of it yet; settings that cannot work are refused.
    pub fn open(url: &str, settings: &Settings, tls: &Tls) -> Result<Self, VaultError> {
        let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(VaultError::Runtime)?;
        let session = Session::new(url, settings, tls)?;
        let drive = move || {
            tokio::task::LocalSet::new().block_on(&runtime, async move {
                let session = Rc::new(session);
                tokio::task::spawn_local(session.clone().keep());
                while let Some(job) = queue.recv().await {
                    tokio::task::spawn_local(job(session.clone()));
                }
            });
        };
        std::thread::Builder::new().name("vault".into()).spawn(drive).map_err(|cause| ThreadError { purpose: "Vault", cause })?;
        Ok(Self(jobs))
    }

    /// What is at these paths of the mount that settings name, in their order. Blocks.
    pub fn secrets(&self, paths: &[String]) -> Result<Vec<Option<Secrets>>, Trouble> {
        let (answer, answered) = std::sync::mpsc::channel();
        let paths = paths.to_vec();
        self.run(move |session| {
            Box::pin(async move {
                let _ = answer.send(session.read_all(&paths).await);
            })
        })?;
        answered.recv().map_err(|_| Trouble::ended())?
    }

    /// The text that a transit engine has encrypted with this key: `vault:v1:...`. Blocks.
    pub fn decrypt(&self, mount: &str, key: &str, ciphertext: &str) -> Result<Secret, Trouble> {
        let (answer, answered) = std::sync::mpsc::channel();
        let (mount, key, ciphertext) = (mount.to_string(), key.to_string(), ciphertext.to_string());
        self.run(move |session| {
            Box::pin(async move {
                let _ = answer.send(session.decrypt(&mount, &key, &ciphertext).await);
            })
        })?;
        answered.recv().map_err(|_| Trouble::ended())?
    }

    /// What is at one path of a mount; with this token instead of our own, where one is given.
    pub async fn read(&self, mount: &str, path: &str, token: Option<String>) -> Result<Option<Secrets>, Trouble> {
        let (answer, answered) = oneshot::channel();
        let (mount, path) = (mount.to_string(), path.to_string());
        self.run(move |session| {
            Box::pin(async move {
                let found = match token {
                    Some(token) => session.read_as(&token, &mount, &path).await,
                    None => session.read(&mount, &path).await,
                };
                let _ = answer.send(found);
            })
        })?;
        answered.await.map_err(|_| Trouble::ended())?
    }

    fn run(&self, job: impl FnOnce(Rc<Session>) -> LocalBoxFuture<'static, ()> + Send + 'static) -> Result<(), Trouble> {
        self.0.send(Box::new(job)).map_err(|_| Trouble::ended())
    }
}
