//! The thread that the driver runs on.

use crate::kernel::error::StoreError;
use std::convert::Infallible;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A thread with a runtime. Both end when this is dropped.
pub(super) struct DriverThread {
    handle: Handle,
    _stop: oneshot::Sender<Infallible>,
}

impl DriverThread {
    pub(super) fn start(name: &str) -> Result<Self, StoreError> {
        let broken = |cause: std::io::Error| StoreError::Internal(format!("no thread for the connections of {name}: {cause}"));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(broken)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<Infallible>();
        let run = move || {
            let _ = runtime.block_on(stopped);
        };
        std::thread::Builder::new().name(format!("{name}-mongodb")).spawn(run).map_err(broken)?;
        Ok(Self { handle, _stop: stop })
    }

    pub(super) fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.handle.spawn(work)
    }

    /// Runs the work on the thread, and blocks the caller until it is done.
    pub(super) fn block_on<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, StoreError> {
        let (result, received) = std::sync::mpsc::channel();
        self.spawn(async move {
            let _ = result.send(work.await);
        });
        received.recv().map_err(|_| StoreError::Internal("an operation panicked".into()))
    }
}
