//! The same over HTTP/2, frame by frame: what RFC 9113 forbids, and what is valid only in HTTP/1.1.

use super::{Answer, Expect, FOLLOWS, LONG};
use serde_json::Value;
use std::collections::BTreeMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// The stream of the request that follows each case.
const LAST: u32 = 101;

/// The bytes after the preface.
pub struct Case {
    name: &'static str,
    frames: Vec<u8>,
    /// None: the stream or the connection ends without an answer.
    expect: Option<Expect>,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// HPACK without its tables: every field is a literal.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |s: &str| {
        let bytes: Vec<u8> = s.chars().map(|c| c as u8).collect();
        assert!(bytes.len() < 127, "a longer one needs a longer length");
        [vec![bytes.len() as u8], bytes].concat()
    };
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

const PLAIN: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":path", "/api/v1/orders"), (":authority", "shop")];

fn request(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields))
}

/// The plain request with this field appended.
fn with(field: (&str, &str)) -> Vec<u8> {
    request(&[&PLAIN[..], &[field]].concat())
}

/// The plain request with another value for this field.
fn but(name: &str, value: &str) -> Vec<u8> {
    request(&PLAIN.map(|(n, v)| if n == name { (n, value) } else { (n, v) }))
}

fn without(name: &str) -> Vec<u8> {
    request(&PLAIN.into_iter().filter(|(n, _)| *n != name).collect::<Vec<_>>())
}

/// A POST that declares this length and sends these bytes.
fn post(length: &str, body: &str) -> Vec<u8> {
    let fields = PLAIN.map(|(n, v)| if n == ":method" { (n, "POST") } else { (n, v) });
    let head = frame(HEADERS, END_HEADERS, 1, &block(&[&fields[..], &[("content-length", length)]].concat()));
    [head, frame(DATA, END_STREAM, 1, body.as_bytes())].concat()
}

pub fn cases() -> Vec<Case> {
    let asked = Some(Expect::Asked);
    let refused = Some(Expect::Refused(400));
    let table: Vec<(&'static str, Vec<u8>, Option<Expect>)> = vec![
        ("a request as it should be", request(&PLAIN), asked),
        ("Connection", with(("connection", "keep-alive")), None),
        ("Connection: authorization", with(("connection", "authorization")), None),
        ("Keep-Alive", with(("keep-alive", "timeout=5")), None),
        ("Proxy-Connection", with(("proxy-connection", "keep-alive")), None),
        ("Transfer-Encoding", with(("transfer-encoding", "chunked")), None),
        ("Upgrade", with(("upgrade", "websocket")), None),
        ("TE beyond trailers", with(("te", "chunked")), None),
        ("TE: trailers", with(("te", "trailers")), asked),
        ("a name in capitals", with(("X-User", "admin")), None),
        ("a name with a colon", with(("x:y", "z")), None),
        ("a name with a line end", with(("x-a: b\r\nx-user", "admin")), None),
        ("an empty name", with(("", "x")), None),
        ("a value with a line end", with(("x-a", "b\r\nX-User: admin")), None),
        ("a value with a NUL", with(("x-a", "b\0c")), None),
        ("a value with a request", with(("x-a", "b\r\n\r\nGET /api/v1/smuggled HTTP/1.1\r\nHost: shop\r\n\r\n")), None),
        (":path twice", with((":path", "/realms/x")), None),
        (":method twice", with((":method", "OPTIONS")), None),
        (":authority twice", with((":authority", "realms")), None),
        (":scheme twice", with((":scheme", "https")), None),
        ("a pseudo-header behind a header", request(&[&PLAIN[..3], &[("x-a", "b"), PLAIN[3]]].concat()), None),
        ("an unknown pseudo-header", with((":user", "admin")), None),
        (":status in a request", with((":status", "200")), None),
        ("no :method", without(":method"), None),
        ("no :path", without(":path"), None),
        ("no :scheme", without(":scheme"), None),
        ("no :authority and no Host", without(":authority"), asked),
        ("Host beside :authority", with(("host", "realms")), asked),
        ("Host twice", request(&[&PLAIN[..], &[("host", "shop"), ("host", "realms")]].concat()), refused),
        (":path that is empty", but(":path", ""), None),
        (":path without a slash", but(":path", "api/v1/orders"), refused),
        (":path that is a star", but(":path", "*"), refused),
        (":path with a blank", but(":path", "/api/v1/orders HTTP/1.1"), None),
        (":path with a line end", but(":path", "/realms/x\r\nX-User: admin"), None),
        (":path with dot segments", but(":path", "/realms/../api/v1/orders"), refused),
        (":path with escaped dots", but(":path", "/realms/%2e%2e/api/v1/orders"), refused),
        (":path with an escaped slash", but(":path", "/realms/..%2fapi/v1/orders"), refused),
        (":path escaped twice", but(":path", "/realms/%252e%252e/api/v1/orders"), refused),
        (":path with a fragment", but(":path", "/realms/x#/api/v1/orders"), asked),
        (":path in absolute form", but(":path", "http://realms/api/v1/orders"), refused),
        (":path with two slashes", but(":path", "//api/v1/orders"), asked),
        (":authority with a user", but(":authority", "realms@shop"), refused),
        (":authority with a path", but(":authority", "shop/realms"), None),
        (":scheme of another kind", but(":scheme", "file"), asked),
        (":method with a blank", but(":method", "GET /realms/x HTTP/1.1"), None),
        (":method CONNECT with a path", but(":method", "CONNECT"), None),
        (":method TRACE", but(":method", "TRACE"), asked),
        ("a user's name", with(("x-user", "admin")), asked),
        ("X-Original-URL", with(("x-original-url", "/realms/x")), asked),
        ("two tokens", request(&[&PLAIN[..], &[("authorization", "Bearer a"), ("authorization", "Bearer b")]].concat()), asked),
        ("a body as long as it says", post("5", "hello"), asked),
        ("a body shorter than it says", post("9", "hello"), None),
        ("a body longer than it says", post("2", "hello"), None),
        ("a length that is none", post("five", "hello"), None),
        ("a length with a plus", post("+5", "hello"), None),
        ("DATA before HEADERS", frame(DATA, END_STREAM, 1, b"x"), None),
        ("HEADERS on no stream", frame(HEADERS, END_HEADERS | END_STREAM, 0, &block(&PLAIN)), None),
        ("HEADERS on a server's stream", frame(HEADERS, END_HEADERS | END_STREAM, 2, &block(&PLAIN)), None),
        ("HPACK that is none", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 9]), None),
        ("a second request on a stream that has ended", [request(&PLAIN), request(&PLAIN)].concat(), None),
        ("HTTP/1.1 behind the preface", b"GET /api/v1/smuggled HTTP/1.1\r\nHost: shop\r\n\r\n".to_vec(), None),
        ("a push from a client", frame(5, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &block(&PLAIN)].concat()), None),
    ];
    table.into_iter().map(|(name, frames, expect)| Case { name, frames, expect }).collect()
}

/// The result on each stream: the answer, with the path in its body, or an end without one.
#[derive(Default)]
struct Seen {
    bodies: BTreeMap<u32, Vec<u8>>,
    ended: BTreeMap<u32, bool>,
    gone: bool,
}

impl Seen {
    fn answer(&self, stream: u32) -> Option<Answer> {
        let body: Value = serde_json::from_slice(self.bodies.get(&stream)?).ok()?;
        Some(Answer { status: body["status"].as_u64()? as u16, path: body["path"].as_str()?.into() })
    }
}

async fn send(address: &str, case: &Case) -> Seen {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let follows = PLAIN.map(|(n, v)| if n == ":path" { (n, FOLLOWS) } else { (n, v) });
    let follows = frame(HEADERS, END_HEADERS | END_STREAM, LAST, &block(&follows));
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat();
    let _ = stream.write_all(&[preface, case.frames.clone(), follows].concat()).await;
    let mut seen = Seen::default();
    while !(seen.gone || seen.ended.contains_key(&LAST) && seen.ended.contains_key(&1)) {
        let mut head = [0; 9];
        let read = tokio::time::timeout(LONG, stream.read_exact(&mut head)).await;
        let Ok(_) = read.unwrap_or_else(|_| panic!("{}: neither answered nor ended", case.name)) else {
            seen.gone = true;
            break;
        };
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length];
        if stream.read_exact(&mut payload).await.is_err() {
            seen.gone = true;
            break;
        }
        match kind {
            DATA => seen.bodies.entry(id).or_default().extend(payload),
            SETTINGS if flags == 0 => drop(stream.write_all(&frame(SETTINGS, 1, 0, &[])).await),
            PING if flags == 0 => drop(stream.write_all(&frame(PING, 1, 0, &payload)).await),
            RESET => drop(seen.ended.insert(id, true)),
            GOAWAY => seen.gone = true,
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
            seen.ended.insert(id, false);
        }
    }
    seen
}

pub async fn run(address: &str, cases: Vec<Case>) {
    let mut wrong = Vec::new();
    for case in &cases {
        let seen = send(address, case).await;
        let (got, follows) = (seen.answer(1), seen.answer(LAST));
        // The next request gets its own answer, or the connection is closed.
        let in_step = follows.as_ref().map_or(seen.gone, |answer| (answer.status, answer.path.as_str()) == (401, FOLLOWS));
        assert!(in_step, "{}: {follows:?}", case.name);
        let wanted = match case.expect {
            Some(Expect::Refused(status)) => Some(status),
            Some(_) => Some(401),
            None => None,
        };
        if got.as_ref().map(|answer| answer.status) != wanted || (wanted == Some(401) && follows.is_none()) {
            wrong.push(format!("{:?}: expected {wanted:?}, got {got:?}, the connection gone: {}", case.name, seen.gone));
        }
        assert!(got.is_none_or(|answer| (400..500).contains(&answer.status) && !answer.path.contains("smuggled")), "{}", case.name);
    }
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}
