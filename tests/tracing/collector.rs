//! A fake collector of spans with configurable failures.

use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Accepts all spans.
    Takes,
    /// Answers 500.
    Refuses,
    /// Accepts connections and never answers.
    Silent,
    /// Accepts spans, but its answer is endless.
    Endless,
}

/// The configured behaviour, and the received spans.
pub struct Collector {
    behaviour: Mutex<Behaviour>,
    spans: Mutex<Vec<Value>>,
    /// Request lines and headers.
    heads: Mutex<Vec<String>>,
}

impl Collector {
    /// Serves this port until the test ends.
    pub fn start(port: u16, behaviour: Behaviour) -> Arc<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let ours = Arc::new(Self { behaviour: Mutex::new(behaviour), spans: Mutex::default(), heads: Mutex::default() });
        let shared = ours.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (shared, stream) = (shared.clone(), stream.unwrap());
                std::thread::spawn(move || while shared.answer(&stream).is_some() {});
            }
        });
        ours
    }

    pub fn set_behaviour(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    pub fn spans(&self) -> Vec<Value> {
        self.spans.lock().unwrap().clone()
    }

    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// Handles one request; `None` at the end of the connection.
    fn answer(&self, mut stream: &TcpStream) -> Option<()> {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        self.heads.lock().unwrap().push(head);
        let behaviour = *self.behaviour.lock().unwrap();
        if matches!(behaviour, Behaviour::Takes | Behaviour::Endless) {
            self.spans.lock().unwrap().extend(serde_json::from_slice::<Vec<Value>>(&body).unwrap());
        }
        match behaviour {
            Behaviour::Takes => stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").ok(),
            Behaviour::Refuses => stream.write_all(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n").ok(),
            Behaviour::Silent => {
                // Send until the client closes the connection.
                let _ = stream.read(&mut byte);
                None
            }
            Behaviour::Endless => {
                stream.write_all(b"HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n").ok()?;
                while stream.write_all(b"4\r\nmore\r\n").is_ok() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                None
            }
        }
    }
}
