//! Free ports, for tests that need a port number before a server listens on it.

use std::net::TcpListener;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A free port below the ephemeral range, handed out once per process.
pub fn free_port() -> u16 {
    static NEXT: LazyLock<AtomicUsize> = LazyLock::new(|| AtomicUsize::new(rand::random_range(0..8_000)));
    let candidates = std::iter::repeat_with(|| 20_000 + (NEXT.fetch_add(1, Ordering::Relaxed) % 8_000) as u16);
    candidates.take(1000).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}
