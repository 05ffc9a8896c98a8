//! A test collector in place of Zipkin.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Behaviour of the collector.
#[derive(Clone, Copy, PartialEq)]
pub enum Behavior {
    /// Accepts every request.
    Accept,
    /// Accepts connections and never responds.
    Silent,
    /// Responds with 500.
    Refuse,
}

/// A collector; runs until the bench ends.
pub struct Collector {
    address: SocketAddr,
    received: Arc<AtomicUsize>,
}

impl Collector {
    pub fn start(behavior: Behavior) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let received: Arc<AtomicUsize> = Arc::default();
        let counted = received.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, counted) = (stream.unwrap(), counted.clone());
                std::thread::spawn(move || serve(stream, behavior, &counted));
            }
        });
        Self { address, received }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn bytes(&self) -> usize {
        self.received.load(Relaxed)
    }
}

/// A URL with no listener.
pub fn unreachable_url() -> String {
    format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
}

fn serve(stream: TcpStream, behavior: Behavior, received: &AtomicUsize) {
    let (mut writer, mut reader) = (stream.try_clone().unwrap(), BufReader::new(stream));
    if behavior == Behavior::Silent {
        // read until the client closes the connection
        let _ = std::io::copy(&mut reader, &mut std::io::sink());
        return;
    }
    loop {
        let (mut length, mut line) = (0, String::new());
        loop {
            line.clear();
            if reader.read_line(&mut line).unwrap_or_default() == 0 {
                return;
            }
            let header = line.trim().to_ascii_lowercase();
            if let Some(text) = header.strip_prefix("content-length:") {
                length = text.trim().parse().unwrap();
            }
            if header.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        received.fetch_add(length, Relaxed);
        let status = if behavior == Behavior::Refuse { "500 Internal Server Error" } else { "202 Accepted" };
        if writer.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).is_err() {
            return;
        }
    }
}
