//! A peer that is set after its caller is built.

use std::sync::{Arc, OnceLock};

/// A peer that only a background service calls, and that starts later than its caller.
pub struct LazyRef<T: ?Sized>(Arc<OnceLock<Arc<T>>>);

impl<T: ?Sized> Clone for LazyRef<T> {
    fn clone(&self) -> Self {
        LazyRef(self.0.clone())
    }
}

impl<T: ?Sized> Default for LazyRef<T> {
    fn default() -> Self {
        LazyRef(Arc::new(OnceLock::new()))
    }
}

impl<T: ?Sized> LazyRef<T> {
    /// Sets the peer. Only the first call has an effect.
    pub fn set(&self, peer: Arc<T>) {
        let _ = self.0.set(peer);
    }

    /// The peer, once it is set.
    pub fn get(&self) -> Option<&Arc<T>> {
        self.0.get()
    }
}
