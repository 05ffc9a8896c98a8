//! A TCP proxy that can cut connections or swallow all data: simulates a server that is unavailable or hangs.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

const OPEN: u8 = 0;
const CUT: u8 = 1;
const SILENT: u8 = 2;
const OVER: u8 = 3;

/// Between the shop and its server; stops when dropped.
pub struct Proxy {
    pub address: String,
    state: Arc<AtomicU8>,
}

impl Proxy {
    /// Forwards to the server of this URL.
    pub fn to(url: &str) -> Self {
        let target = url.strip_prefix("mongodb://").unwrap().split('/').next().unwrap().rsplit('@').next().unwrap().to_string();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, state) = (listener.local_addr().unwrap().to_string(), Arc::new(AtomicU8::new(OPEN)));
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map(Result::unwrap) {
                match shared.load(Ordering::SeqCst) {
                    OVER => return,
                    CUT => drop(client),
                    _ => carry(client, &target, &shared),
                }
            }
        });
        Self { address, state }
    }

    /// Closes every connection, and each new one at once.
    pub fn cut(&self) {
        self.state.store(CUT, Ordering::SeqCst);
    }

    /// Keeps connections open, but transfers no data.
    pub fn silence(&self) {
        self.state.store(SILENT, Ordering::SeqCst);
    }

    /// Resumes transfer, and accepts new connections.
    pub fn open(&self) {
        self.state.store(OPEN, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.store(OVER, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
    }
}

fn carry(client: TcpStream, target: &str, state: &Arc<AtomicU8>) {
    let server = TcpStream::connect(target).unwrap();
    for (from, to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)] {
        let state = state.clone();
        std::thread::spawn(move || pump(from, to, &state));
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, state: &AtomicU8) {
    from.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut buffer = [0; 16 << 10];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => 0,
            Err(_) => break,
        };
        while state.load(Ordering::SeqCst) == SILENT {
            std::thread::sleep(Duration::from_millis(10));
        }
        if state.load(Ordering::SeqCst) != OPEN || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
