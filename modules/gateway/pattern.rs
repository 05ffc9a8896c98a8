//! Spring's path patterns, Ant patterns of host names, and address ranges.

use ipnet::IpNet;
use regex::Regex;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Why a path pattern, a host pattern or a regular expression cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum PatternError {
    /// The pattern's own regular expressions, or their sum, are not valid.
    #[error("pattern `{pattern}`: {source}")]
    Pattern { pattern: String, source: regex::Error },
    /// A variable has no end.
    #[error("pattern `{segment}`: a brace is not closed")]
    OpenBrace { segment: String },
    /// A plain regular expression is not valid.
    #[error("regex `{regex}`: {source}")]
    Regex { regex: String, source: regex::Error },
}

/// A text that is no address range.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no address range; expected such as 10.0.0.0/8 or ::1")]
pub(super) struct RangeError(String);

/// A pattern that names parts of what it matches.
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
                regex.push_str(&piece(segment, "[^/]", &mut names)?);
            }
        }
        regex.push_str(if trailing_slash { "/?$" } else { "$" });
        Self::build(text, &regex, names)
    }

    /// A host pattern, its labels separated by dots: `**.example.org`, `{sub}.example.org`.
    pub(super) fn host(text: &str) -> Result<Self, PatternError> {
        let mut names = Vec::new();
        let mut regex = String::from("(?i)^");
        let labels: Vec<&str> = text.split('.').collect();
        for (index, label) in labels.iter().enumerate() {
            let last = index + 1 == labels.len();
            if *label == "**" {
                regex.push_str(if last { ".*" } else { "(?:.*\\.)?" });
            } else {
                regex.push_str(&piece(label, "[^.]", &mut names)?);
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

    /// Whether it matches.
    pub(super) fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// Whether it matches; what it names goes into `variables`.
    pub(super) fn capture(&self, text: &str, variables: &mut BTreeMap<String, String>) -> bool {
        let Some(found) = self.regex.captures(text) else { return false };
        for (index, name) in self.names.iter().enumerate() {
            if let Some(value) = found.name(&format!("v{index}")) {
                variables.insert(name.clone(), value.as_str().to_string());
            }
        }
        true
    }
}

/// Splits by slashes outside braces: a variable's regex may hold one.
fn segments(path: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    path.split(move |c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == '/' && depth == 0
    })
    .collect()
}

/// One segment as a regex, in which `any` is a character that does not separate.
fn piece(segment: &str, any: &str, names: &mut Vec<String>) -> Result<String, PatternError> {
    let mut regex = String::new();
    let mut rest = segment;
    while let Some(c) = rest.chars().next() {
        if c != '{' {
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
            match c {
                '?' => regex.push_str(any),
                '*' => regex.push_str(&format!("{any}*")),
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
        let (name, own) = inner.split_once(':').map_or((inner, None), |(name, own)| (name, Some(own)));
        let own = own.map_or_else(|| format!("{any}+"), str::to_string);
        regex.push_str(&format!("(?P<v{}>{own})", names.len()));
        names.push(name.to_string());
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    Ok(regex)
}

/// A whole value's regex: Java's `matches` means all of it.
pub(super) fn whole(regex: &str) -> Result<Regex, PatternError> {
    Regex::new(&format!("^(?:{regex})$")).map_err(|source| PatternError::Regex { regex: regex.into(), source })
}

/// A range of addresses: `10.0.0.0/8`, `::1`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Range(IpNet);

impl Range {
    /// Reads it.
    pub(super) fn parse(text: &str) -> Result<Self, RangeError> {
        let wrong = || RangeError(text.into());
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.trim().parse().map_err(|_| wrong())?;
        let Some(bits) = bits else { return Ok(Self(address.into())) };
        IpNet::new(address, bits.trim().parse().map_err(|_| wrong())?).map(Self).map_err(|_| wrong())
    }

    /// Whether this address is within; an IPv4-mapped one counts as the IPv4 address that it maps.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}
