//! Where a browser may be sent after a login: to what a client registered, and nowhere else.

use crate::kernel::uri::encode_component;
use actix_web::http::Uri;

/// Hosts that are this very machine; RFC 8252 leaves the port to the client there.
const LOOPBACK: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];
/// Schemes that run or show something instead of leading to a client.
const NEVER: [&str; 6] = ["javascript", "data", "vbscript", "file", "blob", "about"];

/// A redirect URI that cannot be registered.
#[derive(Debug, thiserror::Error)]
#[error("`{uri}` {reason}")]
pub(super) struct RedirectError {
    uri: String,
    reason: RedirectReason,
}

/// Why a redirect URI cannot be registered.
#[derive(Debug, thiserror::Error)]
enum RedirectReason {
    #[error("is not an absolute URI without a fragment; `*` may only be its last character")]
    Form,
    #[error("has no scheme that leads to a client")]
    Scheme,
    #[error("ends with `*`, which is for loopback hosts only: {}", LOOPBACK.join(", "))]
    Prefix,
}

/// A registered redirect URI.
#[derive(Debug)]
pub(super) enum Registered {
    /// This one, character by character.
    Exact(String),
    /// On this machine: any port, this path, or with `*` all paths that start with it.
    Loopback { scheme: String, host: String, path: String, prefix: bool },
}

impl Registered {
    /// Reads a setting; the error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, RedirectError> {
        let refused = |reason| Err(RedirectError { uri: text.into(), reason });
        let (plain, prefix) = text.strip_suffix('*').map_or((text, false), |plain| (plain, true));
        if !clean(plain) || plain.contains('*') {
            return refused(RedirectReason::Form);
        }
        if scheme(plain).is_none_or(|s| NEVER.contains(&s.as_str())) {
            return refused(RedirectReason::Scheme);
        }
        if let Some(uri) = loopback(plain) {
            let path = uri.path_and_query().map(|p| p.as_str()).unwrap_or("/").to_string();
            let host = uri.host().unwrap_or_default().to_string();
            return Ok(Registered::Loopback { scheme: uri.scheme_str().unwrap_or_default().to_string(), host, path, prefix });
        }
        if prefix {
            return refused(RedirectReason::Prefix);
        }
        Ok(Registered::Exact(text.into()))
    }

    /// Whether a request's redirect URI is this one.
    pub(super) fn matches(&self, asked: &str) -> bool {
        match self {
            Registered::Exact(text) => text == asked,
            Registered::Loopback { scheme, host, path, prefix } => {
                let Some(uri) = loopback(asked).filter(|_| clean(asked)) else { return false };
                let asked_path = uri.path_and_query().map(|p| p.as_str()).unwrap_or("/");
                let same_path = if *prefix { asked_path.starts_with(path) && !climbs(uri.path()) } else { asked_path == path };
                uri.scheme_str() == Some(scheme) && uri.host() == Some(host) && same_path
            }
        }
    }
}

/// What no URI needs and some parser reads differently is refused.
fn clean(uri: &str) -> bool {
    uri.len() <= 2048 && uri.bytes().all(|b| b.is_ascii_graphic() && !b"\\#\"<>^`{|}".contains(&b))
}

/// A path that a server may resolve to somewhere else than it says.
fn climbs(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    path.contains("%2e") || path.contains("%2f") || path.contains("%5c") || path.split('/').any(|s| s == "." || s == "..")
}

fn scheme(uri: &str) -> Option<String> {
    let (scheme, _) = uri.split_once(':')?;
    let first = scheme.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    let rest = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+.-".contains(&b));
    (first && rest).then(|| scheme.to_ascii_lowercase())
}

fn loopback(uri: &str) -> Option<Uri> {
    let uri: Uri = uri.parse().ok()?;
    let web = matches!(uri.scheme_str(), Some("http" | "https"));
    let here = uri.host().is_some_and(|host| LOOPBACK.contains(&host));
    let plain = uri.authority().is_some_and(|a| !a.as_str().contains('@'));
    (web && here && plain).then_some(uri)
}

/// Adds parameters to a redirect URI, in its query or its fragment.
pub(super) fn append(uri: &str, fragment: bool, parameters: &[(&str, &str)]) -> String {
    let mut target = uri.to_string();
    let mut separator = match uri.split_once('?') {
        _ if fragment => "#",
        None => "?",
        Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
        Some(_) => "&",
    };
    for (name, value) in parameters {
        target.push_str(separator);
        target.push_str(name);
        target.push('=');
        target.push_str(&encode_component(value));
        separator = "&";
    }
    target
}

/// How a content security policy names the place that a form's answer redirects to.
pub(super) fn policy_source(uri: &str) -> String {
    let scheme = scheme(uri).unwrap_or_default();
    let authority = uri.parse::<Uri>().ok().and_then(|u| u.authority().map(|a| a.as_str().to_string()));
    // `;` and `,` are legal in an authority and end a directive; an IPv6 address a policy cannot name
    let plain = |a: &String| a.bytes().all(|b| b.is_ascii_alphanumeric() || b".:-".contains(&b));
    match authority.filter(plain) {
        Some(authority) if scheme.starts_with("http") => format!("{scheme}://{authority}"),
        _ => format!("{scheme}:"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_takes_any_port_and_nothing_that_only_looks_like_it() {
        let demo = Registered::parse("http://127.0.0.1/*").unwrap();
        for good in ["http://127.0.0.1:7777/cb", "http://127.0.0.1/", "http://127.0.0.1:1/a/b?c=d", "http://127.0.0.1:8080"] {
            assert!(demo.matches(good), "{good}");
        }
        for bad in [
            "http://evil.example/cb",
            "http://127.0.0.1.evil.example/cb",
            "http://127.0.0.1:80@evil.example/cb",
            "http://evil.example@127.0.0.1/cb",
            "http://127.0.0.1\\@evil.example/",
            "http://evil.example#@127.0.0.1/",
            "https://127.0.0.1/cb",
            "http://localhost/cb",
            "//127.0.0.1/cb",
            "javascript://127.0.0.1/%0aalert(1)",
            "http://127.0.0.1/a#b",
            "http://127.0.0.1/a b",
            "http://127.0.0.1/a\r\nset-cookie: x",
            "",
        ] {
            assert!(!demo.matches(bad), "{bad}");
        }
        let app = Registered::parse("http://localhost/app/*").unwrap();
        assert!(app.matches("http://localhost:3000/app/cb") && !app.matches("http://localhost:3000/other"));
        assert!(!app.matches("http://localhost/app/../other") && !app.matches("http://localhost/app/%2E%2e/other"));
        let one = Registered::parse("http://localhost:3000/cb").unwrap();
        assert!(one.matches("http://localhost:4000/cb") && !one.matches("http://localhost:3000/cb/x"));
        assert!(Registered::parse("http://[::1]/*").unwrap().matches("http://[::1]:9/cb"));
    }

    #[test]
    fn elsewhere_only_the_very_same_uri_counts() {
        let web = Registered::parse("https://shop.example/cb").unwrap();
        assert!(web.matches("https://shop.example/cb"));
        for bad in ["https://shop.example/cb/", "https://shop.example/cb?x=1", "https://shop.example:444/cb", "HTTPS://shop.example/cb"] {
            assert!(!web.matches(bad), "{bad}");
        }
        assert!(Registered::parse("com.example.app:/cb").unwrap().matches("com.example.app:/cb"));
        for bad in
            ["https://shop.example/*", "*", "/cb", "javascript:alert(1)", "http://localhost/*/x", "https://a/b#c", "data:text/html,x"]
        {
            assert!(Registered::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn parameters_are_added_escaped() {
        assert_eq!(append("http://a/b", false, &[("code", "x"), ("state", "1&2=#\n")]), "http://a/b?code=x&state=1%262%3D%23%0A");
        assert_eq!(append("http://a/b?c=d", false, &[("code", "x")]), "http://a/b?c=d&code=x");
        assert_eq!(append("http://a/b?c=d", true, &[("code", "x")]), "http://a/b?c=d#code=x");
        assert_eq!(policy_source("http://127.0.0.1:7/cb"), "http://127.0.0.1:7");
        assert_eq!(policy_source("https://a;script-src/cb"), "https:");
        assert_eq!(policy_source("http://[::1]:7/cb"), "http:");
        assert_eq!(policy_source("com.example.app:/cb"), "com.example.app:");
    }
}
