//! A scripted peer: one step per request; the last step repeats.

use parking_lot::Mutex;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Respond with this status and body.
    Respond(u16, &'static str),
    /// Close the connection without a response.
    Close,
    /// Close the connection in the middle of the response.
    CloseInBody,
    /// Send nothing for this long, then close the connection.
    Wait(Duration),
}

pub(super) struct Server {
    pub(super) url: String,
    /// Number of requests.
    pub(super) requests: Arc<AtomicUsize>,
    /// Their timeout headers, in milliseconds.
    pub(super) timeouts: Arc<Mutex<Vec<u64>>>,
}

impl Server {
    pub(super) fn start(script: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (requests, timeouts) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (request_count, sent_timeouts) = (requests.clone(), timeouts.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (script, request_count, sent_timeouts) = (script.clone(), request_count.clone(), sent_timeouts.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &script, &request_count, &sent_timeouts));
            }
        });
        Self { url, requests, timeouts }
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, script: &[Step], request_count: &AtomicUsize, sent_timeouts: &Mutex<Vec<u64>>) {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut chunk) {
            Ok(n) if n > 0 => request.extend_from_slice(&chunk[..n]),
            _ => return,
        }
    }
    let text = String::from_utf8_lossy(&request).to_lowercase();
    let timeout = text.lines().find_map(|line| line.strip_prefix("x-request-timeout-ms: ")).map(|ms| ms.trim().parse::<u64>().unwrap());
    sent_timeouts.lock().extend(timeout);
    let index = request_count.fetch_add(1, Ordering::SeqCst);
    let response = match &script[index.min(script.len() - 1)] {
        Step::Respond(status, body) => {
            format!("HTTP/1.1 {status} Scripted\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        }
        Step::Close => return,
        Step::CloseInBody => "HTTP/1.1 200 Scripted\r\ncontent-length: 100\r\n\r\n4".to_string(),
        Step::Wait(time) => {
            std::thread::sleep(*time);
            return;
        }
    };
    let _ = stream.write_all(response.as_bytes());
}
