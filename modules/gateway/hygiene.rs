//! What is taken from a client and what is not: the path in its one form, and the headers that may
//! go on.

use super::pattern::Range;
use crate::kernel::problem::Problem;
use crate::kernel::uri::{encode_byte, percent_decode};
use crate::rpc::context::TIMEOUT_HEADER;
use crate::rpc::loopback::INSIDE_HEADER;
use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, Version};
use std::net::IpAddr;

/// A path after it was looked at: what is authorised is what is forwarded.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CleanPath {
    /// As it goes on: unreserved characters plain, all else escaped in upper case.
    pub(super) raw: String,
    /// Decoded, for matching.
    pub(super) plain: String,
}

fn malformed(what: &str) -> Problem {
    Problem::new(400, format!("malformed request: {what}"))
}

/// Brings a path into its one form; refuses whatever two servers could read in two ways.
pub(super) fn clean_path(path: &str) -> Result<CleanPath, Problem> {
    if !path.starts_with('/') {
        return Err(malformed("the path must start with a slash"));
    }
    let mut raw = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16)).map(|d| d as u8);
                let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
                    return Err(malformed("a percent sign without two hex digits in the path"));
                };
                match high * 16 + low {
                    b'/' | b'\\' => return Err(malformed("an escaped slash or backslash in the path")),
                    0..=0x1f | 0x7f => return Err(malformed("an escaped control character in the path")),
                    plain @ (b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~') => raw.push(char::from(plain)),
                    other => raw.push_str(encode_byte(other)),
                }
            }
            b'\\' => return Err(malformed("a backslash in the path")),
            b'?' | b'#' => return Err(malformed("a query or fragment in the path")),
            odd @ (b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}') => raw.push_str(encode_byte(odd)),
            0..=0x20 | 0x7f.. => return Err(malformed("a character in the path that must be escaped")),
            // several slashes count as one: upstreams differ in what they make of them
            b'/' if raw.ends_with('/') => {}
            other => raw.push(char::from(other)),
        }
    }
    let plain = percent_decode(&raw).ok_or_else(|| malformed("the path is not UTF-8"))?;
    if escapes(&plain) {
        return Err(malformed("the path is escaped twice"));
    }
    // `..;x` is `..` to servers that know path parameters
    let dots = |segment: &str| matches!(segment.split(';').next().unwrap_or_default().trim(), "." | "..");
    if plain.split('/').any(dots) {
        return Err(malformed("dot segments in the path"));
    }
    Ok(CleanPath { raw, plain })
}

/// Whether something in it still looks escaped.
fn escapes(text: &str) -> bool {
    text.as_bytes().windows(3).any(|w| matches!(w, [b'%', a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()))
}

/// Refuses a request whose headers contradict each other.
pub(super) fn check_headers(request: &HttpRequest) -> Result<(), Problem> {
    let headers = request.headers();
    let hosts = headers.get_all(header::HOST).count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        return Err(malformed("exactly one Host header is needed"));
    }
    if let Some(host) = headers.get(header::HOST)
        && !host.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b".-_:[]%".contains(b))
    {
        return Err(malformed("the Host header is no host"));
    }
    if request.uri().authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(malformed("a user in front of the host"));
    }
    let has_body = headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING);
    if headers.contains_key(header::UPGRADE) && has_body {
        return Err(malformed("an upgrade has no body"));
    }
    let essential = [header::AUTHORIZATION, header::HOST, header::CONTENT_LENGTH, header::COOKIE, header::CONTENT_TYPE];
    if named_by_connection(headers).iter().any(|name| essential.contains(name)) {
        return Err(malformed("Connection names a header that is not for one hop"));
    }
    if headers.get_all(header::AUTHORIZATION).count() > 1 {
        return Err(Problem::unauthorized(Some("there is more than one Authorization header")));
    }
    Ok(())
}

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

fn for_one_hop(name: &HeaderName) -> bool {
    let hop = [header::CONNECTION, header::TE, header::TRAILER, header::TRANSFER_ENCODING, header::UPGRADE];
    let proxy = [header::PROXY_AUTHENTICATE, header::PROXY_AUTHORIZATION];
    hop.contains(name) || proxy.contains(name) || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

/// Headers that say who the sender is or what was asked: only we may say that.
fn speaks_for_us(name: &HeaderName) -> bool {
    let name = name.as_str();
    let prefixes = ["x-user", "x-auth-", "x-authenticated", "x-remote-", "remote-user", "x-forwarded", "x-client-cert", "x-ssl-client"];
    let exact = [
        "forwarded",
        "x-real-ip",
        "x-original-url",
        "x-rewrite-url",
        "x-original-uri",
        "x-principal",
        "x-roles",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-cluster-client-ip",
        "true-client-ip",
        TIMEOUT_HEADER,
        INSIDE_HEADER,
    ];
    prefixes.iter().any(|prefix| name.starts_with(prefix)) || exact.contains(&name)
}

/// The headers of a request that go on, before the gateway adds its own.
pub(super) fn request_headers(headers: &HeaderMap) -> HeaderMap {
    let named = named_by_connection(headers);
    let stays = |name: &HeaderName| {
        !for_one_hop(name)
            && !speaks_for_us(name)
            && !named.contains(name)
            // servers that turn headers into variables take X_User for X-User
            && !name.as_str().contains('_')
            && ![header::HOST, header::CONTENT_LENGTH, header::EXPECT].contains(name)
    };
    headers.iter().filter(|(name, _)| stays(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Takes out of a request for this very process what a client may not say. How long it waits, it may.
pub(super) fn strip_claims(headers: &mut HeaderMap) {
    let named = named_by_connection(headers);
    let claims = |name: &HeaderName| {
        (speaks_for_us(name) && name.as_str() != TIMEOUT_HEADER)
            || name.as_str().contains('_')
            || (named.contains(name) && !for_one_hop(name))
    };
    let gone: Vec<HeaderName> = headers.keys().filter(|name| claims(name)).cloned().collect();
    gone.into_iter().for_each(|name| drop(headers.remove(name)));
}

/// Whoever may register an instance gets other people's requests, tokens included.
pub(super) fn registry_is_read_only(method: &Method, path: &CleanPath) -> Result<(), Problem> {
    let registry = path.plain.to_ascii_lowercase();
    if (registry == "/eureka" || registry.starts_with("/eureka/")) && !method.is_safe() {
        return Err(Problem::forbidden("the registry takes no writes through the front door"));
    }
    Ok(())
}

/// The headers of an answer that go on.
pub(super) fn response_headers(headers: &HeaderMap) -> HeaderMap {
    let named = named_by_connection(headers);
    let stays = |name: &HeaderName| !for_one_hop(name) && !named.contains(name) && *name != header::CONTENT_LENGTH;
    headers.iter().filter(|(name, _)| stays(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Where a request comes from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Origin {
    /// The other end of the connection.
    pub(super) peer: Option<IpAddr>,
    /// The client: the peer, or whom a trusted proxy names.
    pub(super) client: Option<IpAddr>,
    /// The host that was asked for, with its port where it has one.
    pub(super) host: String,
    /// Whether the connection is TLS.
    secure: bool,
    trusted: bool,
}

impl Origin {
    /// Of this request. Proxies of these ranges are believed.
    pub(super) fn of(request: &HttpRequest, proxies: &[Range]) -> Self {
        let believed = |address: IpAddr| proxies.iter().any(|range| range.contains(address));
        let peer = request.peer_addr().map(|address| address.ip().to_canonical());
        let trusted = peer.is_some_and(believed);
        let mut client = peer;
        if trusted {
            let list = values(request.headers(), "x-forwarded-for");
            let named = list.rsplit(',').map_while(|entry| entry.trim().parse::<IpAddr>().ok());
            // from the right: the first that no proxy of ours wrote about itself
            for address in named {
                client = Some(address);
                if !believed(address) {
                    break;
                }
            }
        }
        let named = request.headers().get(header::HOST).and_then(|h| h.to_str().ok());
        let host = request.uri().authority().map(ToString::to_string).or_else(|| named.map(str::to_string)).unwrap_or_default();
        Self { peer, client, host, secure: request.app_config().secure(), trusted }
    }

    /// Writes `X-Forwarded-*` anew; what a trusted proxy wrote is kept and continued.
    pub(super) fn forward(&self, incoming: &HeaderMap, outgoing: &mut HeaderMap, prefix: Option<&str>) {
        let before = |name: &str| if self.trusted { values(incoming, name) } else { String::new() };
        let mut set = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                outgoing.insert(HeaderName::from_static(name), value);
            }
        };
        let or = |old: String, new: &str| if old.is_empty() { new.to_string() } else { old };
        let peer = self.peer.map(|p| p.to_string()).unwrap_or_default();
        let chain = before("x-forwarded-for");
        set("x-forwarded-for", &if chain.is_empty() { peer } else { format!("{chain}, {peer}") });
        let proto = or(before("x-forwarded-proto"), if self.secure { "https" } else { "http" });
        let host = or(before("x-forwarded-host"), &self.host);
        set("x-forwarded-proto", &proto);
        set("x-forwarded-host", &host);
        // the port of the address that the client asked for, of which services build links
        let named = host.split(',').next().and_then(|first| first.trim().rsplit_once(':')).map(|(_, port)| port);
        let named = named.filter(|port| port.bytes().all(|b| b.is_ascii_digit()));
        let usual = if proto.starts_with("https") { "443" } else { "80" };
        set("x-forwarded-port", &or(before("x-forwarded-port"), named.unwrap_or(usual)));
        if let Some(prefix) = prefix {
            set("x-forwarded-prefix", prefix);
        }
    }
}

fn values(headers: &HeaderMap, name: &str) -> String {
    headers.get_all(name).filter_map(|v| v.to_str().ok()).collect::<Vec<_>>().join(", ")
}
