//! Redirect URIs: a browser is redirected only to URIs that a client has registered.

use crate::kernel::uri::encode_component;
use actix_web::http::Uri;

/// Loopback hosts. There, the client chooses the port (RFC 8252, 7.3).
const LOOPBACK_HOSTS: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];
/// Schemes that a browser executes or displays itself.
const FORBIDDEN_SCHEMES: [&str; 6] = ["javascript", "data", "vbscript", "file", "blob", "about"];

/// An invalid redirect URI in the settings.
#[derive(Debug, thiserror::Error)]
#[error("`{uri}` {kind}")]
pub(super) struct RedirectError {
    uri: String,
    kind: RedirectErrorKind,
}

#[derive(Debug, thiserror::Error)]
enum RedirectErrorKind {
    #[error("is not an absolute URI without a fragment; `*` may only be its last character")]
    NotAbsolute,
    #[error("has no scheme, or one that browsers execute or display themselves")]
    Scheme,
    #[error("ends with `*`, which is for loopback hosts only: {}", LOOPBACK_HOSTS.join(", "))]
    PrefixNotLoopback,
}

#[derive(Debug)]
pub(super) enum RegisteredRedirect {
    /// Compared character by character.
    Exact(String),
    /// Loopback: any port, and this path or, with `prefix`, all paths that start with it.
    Loopback { scheme: String, host: String, path: String, prefix: bool },
}

impl RegisteredRedirect {
    /// Parses a setting.
    pub(super) fn parse(text: &str) -> Result<Self, RedirectError> {
        let invalid = |kind| Err(RedirectError { uri: text.into(), kind });
        let (uri, prefix) = text.strip_suffix('*').map_or((text, false), |uri| (uri, true));
        if !has_safe_characters(uri) || uri.contains('*') {
            return invalid(RedirectErrorKind::NotAbsolute);
        }
        if scheme(uri).is_none_or(|s| FORBIDDEN_SCHEMES.contains(&s.as_str())) {
            return invalid(RedirectErrorKind::Scheme);
        }
        if let Some(uri) = loopback(uri) {
            let path = uri.path_and_query().map(|p| p.as_str()).unwrap_or("/").to_string();
            let host = uri.host().unwrap_or_default().to_string();
            return Ok(RegisteredRedirect::Loopback { scheme: uri.scheme_str().unwrap_or_default().to_string(), host, path, prefix });
        }
        if prefix {
            return invalid(RedirectErrorKind::PrefixNotLoopback);
        }
        Ok(RegisteredRedirect::Exact(text.into()))
    }

    pub(super) fn matches(&self, requested: &str) -> bool {
        match self {
            RegisteredRedirect::Exact(text) => text == requested,
            RegisteredRedirect::Loopback { scheme, host, path, prefix } => {
                let Some(uri) = loopback(requested).filter(|_| has_safe_characters(requested)) else { return false };
                let requested_path = uri.path_and_query().map(|p| p.as_str()).unwrap_or("/");
                let same_path =
                    if *prefix { requested_path.starts_with(path) && !has_dot_segments(uri.path()) } else { requested_path == path };
                uri.scheme_str() == Some(scheme) && uri.host() == Some(host) && same_path
            }
        }
    }
}

/// Rejects characters that parsers treat differently and that no valid URI contains.
fn has_safe_characters(uri: &str) -> bool {
    uri.len() <= 2048 && uri.bytes().all(|b| b.is_ascii_graphic() && !b"\\#\"<>^`{|}".contains(&b))
}

/// Whether a server may resolve the path to another one.
fn has_dot_segments(path: &str) -> bool {
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
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    let is_loopback = uri.host().is_some_and(|host| LOOPBACK_HOSTS.contains(&host));
    let has_no_credentials = uri.authority().is_some_and(|a| !a.as_str().contains('@'));
    (is_web && is_loopback && has_no_credentials).then_some(uri)
}

/// Appends parameters to a redirect URI, in its query or its fragment.
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

/// The redirect URI as a source expression of a content security policy (`form-action`).
pub(super) fn policy_source(uri: &str) -> String {
    let scheme = scheme(uri).unwrap_or_default();
    let authority = uri.parse::<Uri>().ok().and_then(|u| u.authority().map(|a| a.as_str().to_string()));
    // `;` and `,` are legal in an authority but end a directive; a policy cannot contain IPv6 addresses
    let is_expressible = |a: &String| a.bytes().all(|b| b.is_ascii_alphanumeric() || b".:-".contains(&b));
    match authority.filter(is_expressible) {
        Some(authority) if scheme.starts_with("http") => format!("{scheme}://{authority}"),
        _ => format!("{scheme}:"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_redirect_matches_any_port_and_no_lookalike_host() {
        let demo = RegisteredRedirect::parse("http://127.0.0.1/*").unwrap();
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
        let app = RegisteredRedirect::parse("http://localhost/app/*").unwrap();
        assert!(app.matches("http://localhost:3000/app/cb") && !app.matches("http://localhost:3000/other"));
        assert!(!app.matches("http://localhost/app/../other") && !app.matches("http://localhost/app/%2E%2e/other"));
        let one = RegisteredRedirect::parse("http://localhost:3000/cb").unwrap();
        assert!(one.matches("http://localhost:4000/cb") && !one.matches("http://localhost:3000/cb/x"));
        assert!(RegisteredRedirect::parse("http://[::1]/*").unwrap().matches("http://[::1]:9/cb"));
    }

    #[test]
    fn other_redirect_matches_identical_uri_only() {
        let web = RegisteredRedirect::parse("https://shop.example/cb").unwrap();
        assert!(web.matches("https://shop.example/cb"));
        for bad in ["https://shop.example/cb/", "https://shop.example/cb?x=1", "https://shop.example:444/cb", "HTTPS://shop.example/cb"] {
            assert!(!web.matches(bad), "{bad}");
        }
        assert!(RegisteredRedirect::parse("com.example.app:/cb").unwrap().matches("com.example.app:/cb"));
        for bad in
            ["https://shop.example/*", "*", "/cb", "javascript:alert(1)", "http://localhost/*/x", "https://a/b#c", "data:text/html,x"]
        {
            assert!(RegisteredRedirect::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn append_parameters_escapes_values() {
        assert_eq!(append("http://a/b", false, &[("code", "x"), ("state", "1&2=#\n")]), "http://a/b?code=x&state=1%262%3D%23%0A");
        assert_eq!(append("http://a/b?c=d", false, &[("code", "x")]), "http://a/b?c=d&code=x");
        assert_eq!(append("http://a/b?c=d", true, &[("code", "x")]), "http://a/b?c=d#code=x");
        assert_eq!(policy_source("http://127.0.0.1:7/cb"), "http://127.0.0.1:7");
        assert_eq!(policy_source("https://a;script-src/cb"), "https:");
        assert_eq!(policy_source("http://[::1]:7/cb"), "http:");
        assert_eq!(policy_source("com.example.app:/cb"), "com.example.app:");
    }
}
