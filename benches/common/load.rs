//! Load generator: closed-loop HTTP/1.1 clients, one keep-alive connection each, all on one thread.
//!
//! Custom code, because the generator shares the cores with the server under test and must be cheap. Requests are
//! prepared bytes, and of each response it parses only the status and the length; each result lists its CPU cost.
//! awc would build and parse every message; wrk would need an installation.

use super::numbers::percentile;
use actix_web::rt::net::TcpStream;
use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Result of a load run.
#[derive(Default, Clone)]
pub struct Outcome {
    /// Number of responses with the expected status.
    pub good: usize,
    /// Number of all other responses.
    pub bad: usize,
    /// The first other response, for the report.
    pub first_bad: Option<String>,
    pub took: Duration,
    /// Latencies of the good responses.
    pub latencies_us: Vec<u32>,
}

impl Outcome {
    pub fn per_second(&self) -> f64 {
        self.good as f64 / self.took.as_secs_f64()
    }

    /// Latency percentile in milliseconds.
    pub fn percentile(&self, share: f64) -> f64 {
        percentile(&self.latencies_us, share)
    }
}

/// End condition of a load run.
#[derive(Clone, Copy)]
pub enum Until {
    /// After this time.
    Elapsed(Duration),
    /// When every request has been sent once.
    Sent,
}

/// The bytes of a request.
pub fn request(method: &str, path: &str, token: &str, body: &str) -> Vec<u8> {
    let auth = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: shop\r\n{auth}accept: application/json\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Sends the requests in turn over this number of connections and expects this status of each.
pub fn run(to: SocketAddr, requests: &[Vec<u8>], connections: usize, until: Until, status: u16) -> Outcome {
    actix_web::rt::System::new().block_on(async {
        let requests: Rc<[Vec<u8>]> = requests.to_vec().into();
        let (total, next) = (Rc::new(RefCell::new(Outcome::default())), Rc::new(Cell::new(0)));
        let started = Instant::now();
        let clients: Vec<_> = (0..connections)
            .map(|_| actix_web::rt::spawn(client(to, requests.clone(), next.clone(), started, until, status, total.clone())))
            .collect();
        for client in clients {
            client.await.unwrap();
        }
        let mut outcome = total.take();
        outcome.took = started.elapsed();
        outcome
    })
}

async fn client(
    to: SocketAddr,
    requests: Rc<[Vec<u8>]>,
    next: Rc<Cell<usize>>,
    started: Instant,
    until: Until,
    status: u16,
    total: Rc<RefCell<Outcome>>,
) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut buffer = Vec::with_capacity(16 << 10);
    loop {
        let n = next.get();
        let over = match until {
            Until::Elapsed(time) => started.elapsed() >= time,
            Until::Sent => n >= requests.len(),
        };
        if over {
            return;
        }
        next.set(n + 1);
        let sent = Instant::now();
        let got = exchange(&mut stream, &requests[n % requests.len()], &mut buffer).await;
        let mut total = total.borrow_mut();
        if got == status {
            total.good += 1;
            total.latencies_us.push(sent.elapsed().as_micros() as u32);
        } else {
            total.bad += 1;
            total.first_bad.get_or_insert_with(|| String::from_utf8_lossy(&buffer).into_owned());
        }
    }
}

/// Sends one request; leaves the response in the buffer and returns its status.
async fn exchange(stream: &mut TcpStream, request: &[u8], buffer: &mut Vec<u8>) -> u16 {
    let mut rest = request;
    while !rest.is_empty() {
        match stream.try_write(rest) {
            Ok(n) => rest = &rest[n..],
            Err(e) if e.kind() == ErrorKind::WouldBlock => stream.writable().await.unwrap(),
            Err(e) => panic!("the connection broke: {e}"),
        }
    }
    buffer.clear();
    loop {
        stream.readable().await.unwrap();
        match stream.try_read_buf(buffer) {
            Ok(0) => panic!("the connection was closed"),
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => continue,
            Err(e) => panic!("the connection broke: {e}"),
        }
        if let Some((status, length)) = head(buffer)
            && buffer.len() >= length
        {
            return status;
        }
    }
}

/// Status and total length of a response; `None` until the head is complete.
fn head(buffer: &[u8]) -> Option<(u16, usize)> {
    let end = buffer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&buffer[..end]).ok()?;
    let status = text.get(9..12)?.parse().ok()?;
    let length = text
        .lines()
        .find_map(|l| l.split_at_checked(16).filter(|(name, _)| name.eq_ignore_ascii_case("content-length: ")))
        .map_or(0, |(_, n)| n.parse().unwrap());
    Some((status, end + 4 + length))
}

/// Sends one request that must succeed; returns the response body.
pub fn once(to: SocketAddr, request: Vec<u8>, status: u16) -> Vec<u8> {
    actix_web::rt::System::new().block_on(async {
        let mut stream = TcpStream::connect(to).await.unwrap();
        let mut buffer = Vec::new();
        let got = exchange(&mut stream, &request, &mut buffer).await;
        assert_eq!(got, status, "{}", String::from_utf8_lossy(&buffer));
        let start = buffer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        buffer.split_off(start)
    })
}
