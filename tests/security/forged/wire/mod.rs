//! Requests as bytes with their expected results, and the client that sends them: used for the whole shop here, and for
//! the gateway alone in `modules/gateway/tests/forged.rs`.
//!
//! The request after a case on the same connection gets its own answer, or the connection is closed. Every refusal
//! names its path, so that each answer can be matched to its request.

mod bodies;
mod headers;
mod paths;

use futures_util::{StreamExt, stream};
use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Expected result of a case.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Expect {
    /// The request is refused with this status; the next one gets its own answer, or the connection ends.
    Refused(u16),
    /// The request is valid and needs a token; the next one gets its own answer.
    Asked,
    /// The same for two requests in a row.
    AskedTwice,
    /// The same, without a body, as for every HEAD.
    Headless,
    /// The request is too large, and the connection ends, with or without an answer.
    Cut,
}

/// One request, or bytes that resemble one.
pub struct Case {
    pub name: String,
    pub bytes: Vec<u8>,
    pub expect: Expect,
}

pub fn case(name: &str, bytes: String, expect: Expect) -> Case {
    // One byte per character: the tables write bytes above ASCII as escapes.
    Case { name: name.into(), bytes: bytes.chars().map(|c| c as u8).collect(), expect }
}

/// The request that follows every case on the same connection.
pub const FOLLOWS: &str = "/api/v1/orders/number/follows";
/// Timeout for expected answers.
pub const LONG: Duration = Duration::from_secs(30);

#[derive(Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    /// The path that the answer names.
    pub path: String,
}

/// Parses the complete answers in these bytes; `headless` means the first one answers a HEAD.
fn answers(bytes: &[u8], headless: bool) -> Vec<Answer> {
    let (mut rest, mut found) = (bytes, Vec::new());
    while let Some(end) = rest.windows(4).position(|w| w == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&rest[..end]).to_ascii_lowercase();
        assert!(head.starts_with("http/1."), "no answer: {head:?}");
        let status: u16 = head[9..12].parse().unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
        let length = if headless && found.is_empty() { 0 } else { length };
        rest = &rest[end + 4..];
        if rest.len() < length {
            break;
        }
        let body: Value = serde_json::from_slice(&rest[..length]).unwrap_or_default();
        rest = &rest[length..];
        if status != 100 {
            found.push(Answer { status, path: body["path"].as_str().unwrap_or_default().into() });
        }
    }
    found
}

/// Sends a case and the next request; returns all answers.
pub async fn send(address: &str, case: &Case) -> Vec<Answer> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let follows = format!("GET {FOLLOWS} HTTP/1.1\r\nHost: shop\r\n\r\n");
    // A connection that is refused early may close before all bytes are written.
    let _ = stream.write_all(&[&case.bytes, follows.as_bytes()].concat()).await;
    let (mut read, headless) = (Vec::new(), case.expect == Expect::Headless);
    loop {
        let got = answers(&read, headless);
        if got.last().is_some_and(|answer| answer.path == FOLLOWS) {
            return got;
        }
        match tokio::time::timeout(LONG, stream.read_buf(&mut read)).await {
            Ok(Ok(1..)) => {}
            Ok(_) => return got,
            Err(_) => panic!("{}: neither answered nor ended: {got:?}", case.name),
        }
    }
}

/// Checks the rules for every case; returns the answers to the case itself.
fn in_step(case: &Case, mut got: Vec<Answer>) -> Vec<Answer> {
    let shown = String::from_utf8_lossy(&case.bytes[..case.bytes.len().min(300)]).into_owned();
    let at = got.iter().position(|answer| answer.path == FOLLOWS);
    if let Some(at) = at {
        assert_eq!((at + 1, got[at].status), (got.len(), 401), "{}: {shown:?}: {got:?}", case.name);
        got.pop();
    }
    for answer in &got {
        assert!((400..500).contains(&answer.status), "{}: {shown:?}: {got:?}", case.name);
        assert!(!answer.path.contains("smuggled"), "{}: {shown:?}: {got:?}", case.name);
    }
    got
}

fn as_expected(case: &Case, got: &[Answer], follows: bool) -> Result<(), String> {
    let statuses: Vec<u16> = got.iter().map(|answer| answer.status).collect();
    let (wanted, goes_on): (&[u16], Option<bool>) = match &case.expect {
        Expect::Refused(status) => (std::slice::from_ref(status), None),
        Expect::Asked | Expect::Headless => (&[401], Some(true)),
        Expect::AskedTwice => (&[401, 401], Some(true)),
        Expect::Cut => (&[], Some(false)),
    };
    let cut = case.expect == Expect::Cut && statuses.len() <= 1;
    if (statuses == wanted || cut) && goes_on.is_none_or(|on| on == follows) {
        return Ok(());
    }
    Err(format!("{:?}: expected {:?}, got {statuses:?}, what follows answered: {follows}", case.name, case.expect))
}

/// Runs all cases, some in parallel, and fails with those that differ from the tables.
pub async fn run(address: &str, cases: Vec<Case>, strict: bool) {
    let outcomes = stream::iter(cases).map(async |case| {
        let got = send(address, &case).await;
        let follows = got.last().is_some_and(|answer| answer.path == FOLLOWS);
        let got = in_step(&case, got);
        if strict { as_expected(&case, &got, follows) } else { Ok(()) }
    });
    let wrong: Vec<String> = outcomes.buffered(8).filter_map(async |outcome| outcome.err()).collect().await;
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}

/// Requests for a protected path without a token: `/realms/...` needs none, all others do.
pub fn requests() -> Vec<Case> {
    paths::cases().into_iter().chain(headers::cases()).collect()
}

/// A `POST` of this path, with `front` before its first header, and a body with its length declared in every way.
pub fn bodies(path: &str, front: &str) -> Vec<Case> {
    bodies::cases(path, front)
}
