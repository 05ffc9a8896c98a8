//! What stands in Zipkin's place.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// How it treats those who send.
#[derive(Clone, Copy, PartialEq)]
pub enum Manner {
    /// It takes what comes.
    Takes,
    /// It takes connections, and never answers.
    Silent,
    /// It answers 500.
    Refuses,
}

/// Listens until the bench ends.
pub struct Collector {
    address: SocketAddr,
    seen: Arc<AtomicUsize>,
}

impl Collector {
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<AtomicUsize> = Arc::default();
        let counted = seen.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, counted) = (stream.unwrap(), counted.clone());
                std::thread::spawn(move || serve(stream, manner, &counted));
            }
        });
        Self { address, seen }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn bytes(&self) -> usize {
        self.seen.load(Relaxed)
    }
}

/// An address at which nobody listens.
pub fn nobody() -> String {
    format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
}

fn serve(stream: TcpStream, manner: Manner, seen: &AtomicUsize) {
    let (mut answers, mut reader) = (stream.try_clone().unwrap(), BufReader::new(stream));
    if manner == Manner::Silent {
        // until it is hung up
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
        seen.fetch_add(length, Relaxed);
        let status = if manner == Manner::Refuses { "500 Internal Server Error" } else { "202 Accepted" };
        if answers.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).is_err() {
            return;
        }
    }
}
