//! Sanitizes requests and responses: normalizes the path, removes headers that must not pass.

use super::pattern::AddressRange;
use crate::kernel::problem::Problem;
use crate::kernel::uri::{encode_byte, percent_decode};
use crate::rpc::context::TIMEOUT_HEADER;
use crate::rpc::loopback::LOOPBACK_HEADER;
use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, Version};
use std::net::IpAddr;

/// A normalized path: the gateway authorizes, matches and forwards this same path.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CleanPath {
    /// As forwarded: unreserved characters plain, all others percent-encoded in upper case.
    pub(super) encoded: String,
    /// Decoded, for matching.
    pub(super) decoded: String,
}

fn malformed(what: &str) -> Problem {
    Problem::new(400, format!("malformed request: {what}"))
}

/// Normalizes a path; rejects paths that two servers could read differently.
pub(super) fn clean_path(path: &str) -> Result<CleanPath, Problem> {
    if !path.starts_with('/') {
        return Err(malformed("the path must start with a slash"));
    }
    let mut encoded = String::with_capacity(path.len());
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
                    plain @ (b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~') => encoded.push(char::from(plain)),
                    other => encoded.push_str(encode_byte(other)),
                }
            }
            b'\\' => return Err(malformed("a backslash in the path")),
            b'?' | b'#' => return Err(malformed("a query or fragment in the path")),
            odd @ (b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}') => encoded.push_str(encode_byte(odd)),
            0..=0x20 | 0x7f.. => return Err(malformed("a character in the path that must be escaped")),
            // merge repeated slashes: upstreams treat them differently
            b'/' if encoded.ends_with('/') => {}
            other => encoded.push(char::from(other)),
        }
    }
    let decoded = percent_decode(&encoded).ok_or_else(|| malformed("the path is not UTF-8"))?;
    if has_escapes(&decoded) {
        return Err(malformed("the path is escaped twice"));
    }
    // `..;x` is `..` to servers that know path parameters
    let dots = |segment: &str| matches!(segment.split(';').next().unwrap_or_default().trim(), "." | "..");
    if decoded.split('/').any(dots) {
        return Err(malformed("dot segments in the path"));
    }
    Ok(CleanPath { encoded, decoded })
}

/// Whether the decoded text contains another escape.
fn has_escapes(text: &str) -> bool {
    text.as_bytes().windows(3).any(|w| matches!(w, [b'%', a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()))
}

/// Rejects a request with contradictory headers.
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

fn is_hop_by_hop(name: &HeaderName) -> bool {
    let hop = [header::CONNECTION, header::TE, header::TRAILER, header::TRANSFER_ENCODING, header::UPGRADE];
    let proxy = [header::PROXY_AUTHENTICATE, header::PROXY_AUTHORIZATION];
    hop.contains(name) || proxy.contains(name) || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

/// Headers about the sender's identity or the original request: only the gateway may set them.
fn is_identity_header(name: &HeaderName) -> bool {
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
        LOOPBACK_HEADER,
    ];
    prefixes.iter().any(|prefix| name.starts_with(prefix)) || exact.contains(&name)
}

/// The headers of a request to forward, before the gateway adds its own.
pub(super) fn request_headers(headers: &HeaderMap) -> HeaderMap {
    let named = named_by_connection(headers);
    let is_forwarded = |name: &HeaderName| {
        !is_hop_by_hop(name)
            && !is_identity_header(name)
            && !named.contains(name)
            // CGI-style servers map X_User and X-User to one variable
            && !name.as_str().contains('_')
            && ![header::HOST, header::CONTENT_LENGTH, header::EXPECT].contains(name)
    };
    headers.iter().filter(|(name, _)| is_forwarded(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Removes untrusted headers from a request for this process. Keeps the client's deadline.
pub(super) fn strip_untrusted_headers(headers: &mut HeaderMap) {
    let named = named_by_connection(headers);
    let is_untrusted = |name: &HeaderName| {
        (is_identity_header(name) && name.as_str() != TIMEOUT_HEADER)
            || name.as_str().contains('_')
            || (named.contains(name) && !is_hop_by_hop(name))
    };
    let untrusted: Vec<HeaderName> = headers.keys().filter(|name| is_untrusted(name)).cloned().collect();
    untrusted.into_iter().for_each(|name| drop(headers.remove(name)));
}

/// A client that can register an instance would receive other users' requests and tokens.
pub(super) fn reject_registry_write(method: &Method, path: &CleanPath) -> Result<(), Problem> {
    let registry = path.decoded.to_ascii_lowercase();
    if (registry == "/eureka" || registry.starts_with("/eureka/")) && !method.is_safe() {
        return Err(Problem::forbidden("the registry takes no writes through the front door"));
    }
    Ok(())
}

/// The headers of a response to forward.
pub(super) fn response_headers(headers: &HeaderMap) -> HeaderMap {
    let named = named_by_connection(headers);
    let is_forwarded = |name: &HeaderName| !is_hop_by_hop(name) && !named.contains(name) && *name != header::CONTENT_LENGTH;
    headers.iter().filter(|(name, _)| is_forwarded(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The source of a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RequestOrigin {
    /// The connection's remote address.
    pub(super) peer: Option<IpAddr>,
    /// The client's address: the peer's, or the address that a trusted proxy reports.
    pub(super) client: Option<IpAddr>,
    /// The requested host, with its port if the request has one.
    pub(super) host: String,
    /// Whether the connection is TLS.
    secure: bool,
    trusted: bool,
}

impl RequestOrigin {
    /// `trusted_proxies` are the address ranges of proxies whose `X-Forwarded-*` count.
    pub(super) fn of(request: &HttpRequest, trusted_proxies: &[AddressRange]) -> Self {
        let is_trusted = |address: IpAddr| trusted_proxies.iter().any(|range| range.contains(address));
        let peer = request.peer_addr().map(|address| address.ip().to_canonical());
        let trusted = peer.is_some_and(is_trusted);
        let mut client = peer;
        if trusted {
            let forwarded_for = values(request.headers(), "x-forwarded-for");
            let hops = forwarded_for.rsplit(',').map_while(|entry| entry.trim().parse::<IpAddr>().ok());
            // from the right: the first address that is not a trusted proxy
            for address in hops {
                client = Some(address);
                if !is_trusted(address) {
                    break;
                }
            }
        }
        let host_header = request.headers().get(header::HOST).and_then(|h| h.to_str().ok());
        let host = request.uri().authority().map(ToString::to_string).or_else(|| host_header.map(str::to_string)).unwrap_or_default();
        Self { peer, client, host, secure: request.app_config().secure(), trusted }
    }

    /// Replaces `X-Forwarded-*`; values of a trusted proxy are kept and extended.
    pub(super) fn set_forwarded_headers(&self, incoming: &HeaderMap, outgoing: &mut HeaderMap, prefix: Option<&str>) {
        let from_proxy = |name: &str| if self.trusted { values(incoming, name) } else { String::new() };
        let mut set = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                outgoing.insert(HeaderName::from_static(name), value);
            }
        };
        let or = |old: String, new: &str| if old.is_empty() { new.to_string() } else { old };
        let peer = self.peer.map(|p| p.to_string()).unwrap_or_default();
        let chain = from_proxy("x-forwarded-for");
        set("x-forwarded-for", &if chain.is_empty() { peer } else { format!("{chain}, {peer}") });
        let proto = or(from_proxy("x-forwarded-proto"), if self.secure { "https" } else { "http" });
        let host = or(from_proxy("x-forwarded-host"), &self.host);
        set("x-forwarded-proto", &proto);
        set("x-forwarded-host", &host);
        // the port of the URL that the client requested: services build links with it
        let port = host.split(',').next().and_then(|first| first.trim().rsplit_once(':')).map(|(_, port)| port);
        let port = port.filter(|port| port.bytes().all(|b| b.is_ascii_digit()));
        let default_port = if proto.starts_with("https") { "443" } else { "80" };
        set("x-forwarded-port", &or(from_proxy("x-forwarded-port"), port.unwrap_or(default_port)));
        if let Some(prefix) = prefix {
            set("x-forwarded-prefix", prefix);
        }
    }
}

fn values(headers: &HeaderMap, name: &str) -> String {
    headers.get_all(name).filter_map(|v| v.to_str().ok()).collect::<Vec<_>>().join(", ")
}
