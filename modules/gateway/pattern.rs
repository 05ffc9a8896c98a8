//! Spring's path patterns, Ant patterns of host names, and address ranges.

use ipnet::IpNet;
use regex::Regex;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// An invalid path pattern, host pattern or regular expression.
#[derive(Debug, thiserror::Error)]
pub(super) enum PatternError {
    /// The regular expression that the pattern compiles to is invalid or too large.
    #[error("pattern `{pattern}`: {source}")]
    Pattern { pattern: String, source: regex::Error },
    #[error("pattern `{segment}`: a brace is not closed")]
    OpenBrace { segment: String },
    #[error("regex `{regex}`: {source}")]
    Regex { regex: String, source: regex::Error },
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no address range; expected such as 10.0.0.0/8 or ::1")]
pub(super) struct AddressRangeError(String);

/// Values that a route's patterns captured from a request, by name.
pub(super) type Variables = BTreeMap<String, String>;

/// A pattern with named variables.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    regex: Regex,
    names: Vec<String>,
}

impl Pattern {
    /// A path pattern: `?`, `*`, `**`, `{name}`, `{name:regex}`, `{*name}`.
    pub(super) fn path(text: &str, trailing_slash: bool) -> Result<Self, PatternError> {
        let mut names = Vec::new();
        let mut regex = String::from("^");
        let rooted = text.strip_prefix('/').unwrap_or(text);
        for segment in segments(rooted) {
            if segment == "**" {
                regex.push_str("(?:/.*)?");
            } else if let Some(name) = segment.strip_prefix("{*").and_then(|s| s.strip_suffix('}')) {
                regex.push_str(&format!("(?P<v{}>(?:/.*)?)", names.len()));
                names.push(name.to_string());
            } else {
                regex.push('/');
                regex.push_str(&segment_regex(segment, "[^/]", &mut names)?);
            }
        }
        regex.push_str(if trailing_slash { "/?$" } else { "$" });
        Self::build(text, &regex, names)
    }

    /// A host pattern of labels separated by dots: `**.example.org`, `{sub}.example.org`.
    pub(super) fn host(text: &str) -> Result<Self, PatternError> {
        let mut names = Vec::new();
        let mut regex = String::from("(?i)^");
        let labels: Vec<&str> = text.split('.').collect();
        for (index, label) in labels.iter().enumerate() {
            let last = index + 1 == labels.len();
            if *label == "**" {
                regex.push_str(if last { ".*" } else { "(?:.*\\.)?" });
            } else {
                regex.push_str(&segment_regex(label, "[^.]", &mut names)?);
                regex.push_str(if last { "" } else { "\\." });
            }
        }
        regex.push('$');
        Self::build(text, &regex, names)
    }

    fn build(text: &str, regex: &str, names: Vec<String>) -> Result<Self, PatternError> {
        let regex = Regex::new(regex).map_err(|source| PatternError::Pattern { pattern: text.into(), source })?;
        Ok(Self { regex, names })
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// Whether it matches; adds the captured values to `variables`.
    pub(super) fn capture(&self, text: &str, variables: &mut Variables) -> bool {
        let Some(captures) = self.regex.captures(text) else { return false };
        for (index, name) in self.names.iter().enumerate() {
            if let Some(value) = captures.name(&format!("v{index}")) {
                variables.insert(name.clone(), value.as_str().to_string());
            }
        }
        true
    }
}

/// Splits at slashes outside braces: a variable's regex may contain a slash.
fn segments(path: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    path.split(move |c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == '/' && depth == 0
    })
    .collect()
}

/// One segment as a regex. `any_char` matches any character except the separator.
fn segment_regex(segment: &str, any_char: &str, names: &mut Vec<String>) -> Result<String, PatternError> {
    let mut regex = String::new();
    let mut rest = segment;
    while let Some(c) = rest.chars().next() {
        if c != '{' {
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
            match c {
                '?' => regex.push_str(any_char),
                '*' => regex.push_str(&format!("{any_char}*")),
                other => regex.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
            }
            continue;
        }
        let mut depth = 0;
        let end = rest.char_indices().find(|(_, c)| {
            depth += i32::from(*c == '{') - i32::from(*c == '}');
            depth == 0
        });
        let (end, _) = end.ok_or_else(|| PatternError::OpenBrace { segment: segment.into() })?;
        let inner = rest.get(1..end).unwrap_or_default();
        let (name, own_regex) = inner.split_once(':').map_or((inner, None), |(name, own_regex)| (name, Some(own_regex)));
        let own_regex = own_regex.map_or_else(|| format!("{any_char}+"), str::to_string);
        regex.push_str(&format!("(?P<v{}>{own_regex})", names.len()));
        names.push(name.to_string());
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    Ok(regex)
}

/// A regex for the whole value, like Java's `matches`.
pub(super) fn full_match_regex(regex: &str) -> Result<Regex, PatternError> {
    Regex::new(&format!("^(?:{regex})$")).map_err(|source| PatternError::Regex { regex: regex.into(), source })
}

/// A range of addresses: `10.0.0.0/8`, `::1`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct AddressRange(IpNet);

impl AddressRange {
    pub(super) fn parse(text: &str) -> Result<Self, AddressRangeError> {
        let invalid = || AddressRangeError(text.into());
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.trim().parse().map_err(|_| invalid())?;
        let Some(bits) = bits else { return Ok(Self(address.into())) };
        IpNet::new(address, bits.trim().parse().map_err(|_| invalid())?).map(Self).map_err(|_| invalid())
    }

    /// An IPv4-mapped IPv6 address counts as its IPv4 address.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}
