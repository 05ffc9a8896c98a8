//! A peer that does as it is told: one line of a script for each request, the last one over and over.

use parking_lot::Mutex;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[derive(Debug, Clone)]
pub(super) enum Act {
    /// This status and body.
    Answer(u16, &'static str),
    /// Nothing, and the connection ends.
    HangUp,
    /// Half an answer, and the connection ends.
    BreakOff,
    /// Nothing, for this long.
    Wait(Duration),
}

pub(super) struct Server {
    pub(super) url: String,
    /// Requests so far.
    pub(super) seen: Arc<AtomicUsize>,
    /// Their time-out headers, in milliseconds.
    pub(super) limits: Arc<Mutex<Vec<u64>>>,
}

impl Server {
    pub(super) fn start(script: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (seen, limits) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (count, heard) = (seen.clone(), limits.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (script, count, heard) = (script.clone(), count.clone(), heard.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &script, &count, &heard));
            }
        });
        Self { url, seen, limits }
    }

    pub(super) fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, script: &[Act], count: &AtomicUsize, heard: &Mutex<Vec<u64>>) {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut chunk) {
            Ok(n) if n > 0 => request.extend_from_slice(&chunk[..n]),
            _ => return,
        }
    }
    let text = String::from_utf8_lossy(&request).to_lowercase();
    let limit = text.lines().find_map(|line| line.strip_prefix("x-request-timeout-ms: ")).map(|ms| ms.trim().parse::<u64>().unwrap());
    heard.lock().extend(limit);
    let number = count.fetch_add(1, Ordering::SeqCst);
    let answer = match &script[number.min(script.len() - 1)] {
        Act::Answer(status, body) => {
            format!("HTTP/1.1 {status} so\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        }
        Act::HangUp => return,
        Act::BreakOff => "HTTP/1.1 200 so\r\ncontent-length: 100\r\n\r\n4".to_string(),
        Act::Wait(time) => {
            std::thread::sleep(*time);
            return;
        }
    };
    let _ = stream.write_all(answer.as_bytes());
}
