//! Bodies with a length that two servers may interpret differently. `SMUGGLED` is a complete request, which must never
//! be parsed as one inside a body.

use super::{Case, Expect, case};
use Expect::{Asked, Refused};

/// Name, the rest of a `POST` after its `Host`, expected result at a protected path.
const BODIES: &[(&str, &str, Expect)] = &[
    ("CL and TE", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nSMUGGLED", Refused(400)),
    ("TE and CL", "Transfer-Encoding: chunked\r\nContent-Length: 200\r\n\r\n0\r\n\r\nSMUGGLED", Refused(400)),
    ("CL of nothing and TE", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nSMUGGLED", Refused(400)),
    ("TE and CL that agree", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", Refused(400)),
    ("two lengths", "Content-Length: 0\r\nContent-Length: 60\r\n\r\nSMUGGLED", Refused(400)),
    ("two lengths, the longer first", "Content-Length: 60\r\nContent-Length: 0\r\n\r\nSMUGGLED", Refused(400)),
    ("the same length twice", "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhelloSMUGGLED", Refused(400)),
    ("a list of lengths", "Content-Length: 5, 5\r\n\r\nhelloSMUGGLED", Refused(400)),
    ("a list of two lengths", "Content-Length: 5, 60\r\n\r\nhelloSMUGGLED", Refused(400)),
    ("a length with a plus", "Content-Length: +5\r\n\r\nhelloSMUGGLED", Refused(400)),
    ("a length with a minus", "Content-Length: -5\r\n\r\nSMUGGLED", Refused(400)),
    ("a length in hex", "Content-Length: 0x5\r\n\r\nhelloSMUGGLED", Refused(400)),
    ("a length in hex letters", "Content-Length: a\r\n\r\n0123456789SMUGGLED", Refused(400)),
    ("a length with a blank inside", "Content-Length: 5 5\r\n\r\nhelloSMUGGLED", Refused(400)),
    ("a length with a point", "Content-Length: 5.0\r\n\r\nhelloSMUGGLED", Refused(400)),
    ("a length with an exponent", "Content-Length: 5e0\r\n\r\nhelloSMUGGLED", Refused(400)),
    ("a length with an underscore", "Content-Length: 1_0\r\n\r\n0123456789SMUGGLED", Refused(400)),
    ("a length with a NUL", "Content-Length: 5\0\r\n\r\nhelloSMUGGLED", Refused(400)),
    ("a length beyond all numbers", "Content-Length: 99999999999999999999\r\n\r\nSMUGGLED", Refused(400)),
    ("a length that overflows to five", "Content-Length: 18446744073709551621\r\n\r\nhelloSMUGGLED", Refused(400)),
    ("no length in the header", "Content-Length:\r\n\r\nSMUGGLED", Refused(400)),
    ("a blank before the colon", "Content-Length : 5\r\n\r\nhelloSMUGGLED", Refused(400)),
    ("a folded length", "Content-Length:\r\n 5\r\n\r\nhelloSMUGGLED", Refused(400)),
    ("blanks around a length", "Content-Length:  \t5 \t\r\n\r\nhello", Asked),
    ("zeros before a length", "Content-Length: 0005\r\n\r\nhello", Asked),
    ("a length with an underscore for the hyphen", "Content_Length: 60\r\nContent-Length: 5\r\n\r\nhello", Asked),
    ("no length at all", "X-A: b\r\n\r\n", Asked),
    ("a body that does not come", "Content-Length: 900\r\n\r\nhello", Refused(401)),
    ("xchunked", "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\nSMUGGLED", Refused(400)),
    ("chunkedx", "Transfer-Encoding: chunkedx\r\n\r\n0\r\n\r\nSMUGGLED", Refused(400)),
    ("chunked, identity", "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\nSMUGGLED", Refused(400)),
    ("identity, chunked", "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\nSMUGGLED", Refused(400)),
    ("identity", "Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhelloSMUGGLED", Refused(400)),
    ("gzip", "Transfer-Encoding: gzip\r\n\r\nSMUGGLED", Refused(400)),
    ("chunked, chunked", "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\nSMUGGLED", Refused(400)),
    ("gzip, chunked", "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\nSMUGGLED", Refused(400)),
    ("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nSMUGGLED", Refused(400)),
    ("chunked, then identity", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\nSMUGGLED", Refused(400)),
    ("identity, then chunked", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nSMUGGLED", Refused(400)),
    ("a blank before TE's colon", "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\nSMUGGLED", Refused(400)),
    ("a tab before chunked", "Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n", Asked),
    ("a vertical tab before chunked", "Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\nSMUGGLED", Refused(400)),
    ("a form feed before chunked", "Transfer-Encoding:\x0cchunked\r\n\r\n0\r\n\r\nSMUGGLED", Refused(400)),
    ("chunked in quotes", "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\nSMUGGLED", Refused(400)),
    ("chunked and a semicolon", "Transfer-Encoding: chunked;x=y\r\n\r\n0\r\n\r\nSMUGGLED", Refused(400)),
    ("chunked and a comma", "Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\nSMUGGLED", Refused(400)),
    ("an empty TE", "Transfer-Encoding:\r\n\r\n0\r\n\r\nSMUGGLED", Refused(400)),
    ("a folded TE", "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\nSMUGGLED", Refused(400)),
    ("Chunked in capitals", "Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n", Asked),
    ("TE with an underscore", "Transfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello", Asked),
    ("TE behind a NUL", "X: a\0Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhelloSMUGGLED", Refused(400)),
    ("TE behind a carriage return", "X: a\rTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhelloSMUGGLED", Refused(400)),
    ("a chunk of less than nothing", "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\nSMUGGLED", Refused(401)),
    ("a chunk with a plus", "Transfer-Encoding: chunked\r\n\r\n+1\r\nx\r\n0\r\n\r\nSMUGGLED", Refused(401)),
    ("a chunk beyond all numbers", "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\nx\r\n0\r\n\r\nSMUGGLED", Refused(401)),
    ("a chunk's size with 0x", "Transfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\nSMUGGLED", Refused(401)),
    ("a chunk's size that is none", "Transfer-Encoding: chunked\r\n\r\nzz\r\nx\r\n0\r\n\r\nSMUGGLED", Refused(401)),
    ("no size at all", "Transfer-Encoding: chunked\r\n\r\n\r\nx\r\n0\r\n\r\nSMUGGLED", Refused(401)),
    ("a blank before a chunk's size", "Transfer-Encoding: chunked\r\n\r\n 1\r\nx\r\n0\r\n\r\nSMUGGLED", Refused(401)),
    ("a line feed after a chunk's size", "Transfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\nSMUGGLED", Refused(401)),
    ("a chunk longer than it says", "Transfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n0\r\n\r\nSMUGGLED", Refused(401)),
    ("no line end after a chunk", "Transfer-Encoding: chunked\r\n\r\n1\r\nx0\r\n\r\nSMUGGLED", Refused(401)),
    ("a line feed in an extension", "Transfer-Encoding: chunked\r\n\r\n1;a\nb\r\nx\r\n0\r\n\r\nSMUGGLED", Refused(401)),
    ("a NUL in a chunk's size", "Transfer-Encoding: chunked\r\n\r\n1\0\r\nx\r\n0\r\n\r\nSMUGGLED", Refused(401)),
    ("a trailer that names a token", "Transfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: Bearer x\r\n\r\n", Asked),
    ("a trailer that names a length", "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 60\r\n\r\n", Asked),
    ("no end of the chunks", "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", Refused(401)),
    ("an extension", "Transfer-Encoding: chunked\r\n\r\n1;name=value\r\nx\r\n0\r\n\r\n", Asked),
    ("chunks as they should be", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Asked),
    ("a WebSocket with a body", "Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 5\r\n\r\nhello", Refused(400)),
    (
        "h2c with a body",
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: 5\r\n\r\nhello",
        Refused(400),
    ),
    ("Expect: 100-continue", "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", Asked),
    ("Expect twice", "Expect: 100-continue\r\nExpect: nonsense\r\nContent-Length: 5\r\n\r\nhello", Asked),
];

const SMUGGLED: &str = "GET /api/v1/smuggled HTTP/1.1\r\nHost: shop\r\n\r\n";

/// All cases for this path, with `front` before the first of their headers: an `Authorization`, or nothing.
pub fn cases(path: &str, front: &str) -> Vec<Case> {
    let post = |version: &str, rest: &str| {
        let rest = rest.replace("SMUGGLED", SMUGGLED);
        format!("POST {path} HTTP/{version}\r\nHost: shop\r\n{front}{rest}")
    };
    let mut all: Vec<_> = BODIES.iter().map(|(name, rest, expect)| case(name, post("1.1", rest), *expect)).collect();
    let chunks = "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nSMUGGLED";
    all.extend([
        case("TE on HTTP/1.0", post("1.0", chunks), Refused(400)),
        case("TE on HTTP/1.0 that keeps the connection", post("1.0", &format!("Connection: keep-alive\r\n{chunks}")), Refused(400)),
    ]);
    if front.is_empty() {
        // With a token they are ordinary requests.
        let (get, head) = (post("1.1", "Content-Length: 5\r\n\r\nhello"), format!("Content-Length: {}\r\n\r\nSMUGGLED", SMUGGLED.len()));
        all.push(case("a GET with a body", get.replace("POST", "GET"), Asked));
        all.push(case("a HEAD with a body that looks like a request", post("1.1", &head).replace("POST", "HEAD"), Expect::Headless));
    }
    all
}
