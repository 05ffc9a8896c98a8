//! Which requests a route takes.

use super::file::{Part, RoutePartError, ValueError};
use super::hygiene::Origin;
use super::pattern::{Pattern, Range, whole};
use crate::kernel::uri::query_pairs;
use actix_web::HttpRequest;
use actix_web::http::Method;
use regex::Regex;
use std::collections::BTreeMap;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// All that are known.
pub(super) const KNOWN: [&str; 12] =
    ["After", "Before", "Between", "Cookie", "Header", "Host", "Method", "Path", "Query", "RemoteAddr", "Weight", "XForwardedRemoteAddr"];

/// One condition; a route takes what meets all of its own.
#[derive(Debug, Clone)]
pub(super) enum Predicate {
    After(OffsetDateTime),
    Before(OffsetDateTime),
    Cookie(String, Regex),
    Header(String, Option<Regex>),
    /// Patterns, and whether they are held against the port, too.
    Host(Vec<Pattern>, bool),
    Method(Vec<Method>),
    Path(Vec<Pattern>),
    Query(String, Option<Regex>),
    /// Where the client is: the other end of the connection, or whom a trusted proxy there names.
    RemoteAddr(Vec<Range>),
    /// Group and weight; the table draws once a request and group.
    Weight(String, u32),
}

/// What predicates look at.
pub(super) struct Incoming<'a> {
    pub(super) request: &'a HttpRequest,
    /// Decoded, in its one form.
    pub(super) path: &'a str,
    pub(super) origin: &'a Origin,
    pub(super) now: OffsetDateTime,
}

impl Predicate {
    /// Reads one; `Between` becomes two. `with_port`: a host's port is part of what its patterns match.
    pub(super) fn read(part: &Part, with_port: bool) -> Result<Vec<Self>, RoutePartError> {
        let known = Self::known(part, with_port).map_err(|cause| part.refuse(cause))?;
        if known.is_empty() { Err(part.unknown("predicate", &KNOWN)) } else { Ok(known) }
    }

    /// None at all where there is no predicate of this name.
    fn known(part: &Part, with_port: bool) -> Result<Vec<Self>, ValueError> {
        let args = &part.args;
        let one = |index, name| args.need(index, &[name], true);
        let regex = |index, name| args.one(index, &[name], true).map(|r| whole(&r)).transpose();
        let ranges = || {
            let ranges = some(args.list(0, "sources"), "sources")?;
            ranges.iter().map(|range| Ok(Range::parse(range)?)).collect::<Result<Vec<_>, ValueError>>()
        };
        Ok(vec![match part.name.as_str() {
            "After" => Self::After(instant(&one(0, "datetime")?)?),
            "Before" => Self::Before(instant(&one(0, "datetime")?)?),
            "Between" => {
                let (from, to) = (args.need(0, &["datetime1"], false)?, one(1, "datetime2")?);
                return Ok(vec![Self::After(instant(&from)?), Self::Before(instant(&to)?)]);
            }
            "Cookie" => Self::Cookie(args.need(0, &["name"], false)?, whole(&one(1, "regexp")?)?),
            "Header" => Self::Header(args.need(0, &["header"], false)?, regex(1, "regexp")?),
            "Query" => Self::Query(args.need(0, &["param"], false)?, regex(1, "regexp")?),
            "Host" => {
                let patterns = some(args.list(0, "patterns"), "patterns")?;
                Self::Host(patterns.iter().map(|p| Pattern::host(p)).collect::<Result<_, _>>()?, with_port)
            }
            "Method" => {
                let methods = some(args.list(0, "methods"), "methods")?;
                let parse = |m: &String| m.to_uppercase().parse().map_err(|_| ValueError::malformed(m, "method"));
                Self::Method(methods.iter().map(parse).collect::<Result<_, _>>()?)
            }
            "Path" => {
                let mut patterns = args.list(0, "patterns");
                if patterns.is_empty() {
                    patterns = args.list(0, "pattern");
                }
                let mut slash = args.one(usize::MAX, &["matchTrailingSlash"], false).is_none_or(|s| s != "false");
                // the flag may end a shortcut
                if let Some(flag @ ("true" | "false")) = patterns.last().map(String::as_str) {
                    slash = flag == "true";
                    patterns.pop();
                }
                Self::Path(some(patterns, "patterns")?.iter().map(|p| Pattern::path(p, slash)).collect::<Result<_, _>>()?)
            }
            // Spring's server, too, takes a trusted proxy's word for the address, so both say the same
            "RemoteAddr" | "XForwardedRemoteAddr" => Self::RemoteAddr(ranges()?),
            "Weight" => {
                let weight = one(1, "weight")?;
                let wrong = |_| ValueError::Unexpected { name: "weight", value: weight.clone(), expected: "a whole number" };
                let weight = weight.parse().map_err(wrong)?;
                Self::Weight(args.need(0, &["group"], false)?, weight)
            }
            _ => return Ok(Vec::new()),
        }])
    }

    /// Whether this request meets it; what a pattern names goes into `variables`.
    pub(super) fn matches(&self, incoming: &Incoming, variables: &mut BTreeMap<String, String>, drawn: &dyn Fn(&str) -> bool) -> bool {
        let headers = incoming.request.headers();
        match self {
            Self::After(instant) => incoming.now > *instant,
            Self::Before(instant) => incoming.now < *instant,
            Self::Cookie(name, regex) => {
                let lines = headers.get_all("cookie").filter_map(|v| v.to_str().ok());
                let mut cookies = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
                cookies.any(|(n, value)| n == name && regex.is_match(value))
            }
            Self::Header(name, regex) => {
                let lines = headers.get_all(name.as_str()).filter_map(|v| v.to_str().ok());
                lines.flat_map(elements).any(|v| regex.as_ref().is_none_or(|r| r.is_match(v)))
            }
            Self::Host(patterns, with_port) => {
                let host = incoming.origin.host.as_str();
                let port = host.rfind(':').filter(|at| !with_port && host.rfind(']').is_none_or(|end| end < *at));
                let host = port.and_then(|at| host.get(..at)).unwrap_or(host);
                patterns.iter().any(|p| p.capture(host, variables))
            }
            Self::Method(methods) => methods.contains(incoming.request.method()),
            Self::Path(patterns) => patterns.iter().any(|p| p.capture(incoming.path, variables)),
            Self::Query(name, regex) => {
                query_pairs(incoming.request.query_string()).any(|(n, v)| n == *name && regex.as_ref().is_none_or(|r| r.is_match(&v)))
            }
            Self::RemoteAddr(ranges) => incoming.origin.client.is_some_and(|client| ranges.iter().any(|range| range.contains(client))),
            Self::Weight(group, _) => drawn(group),
        }
    }
}

/// What a header line lists, as Spring reads it: by comma outside quotes, the quotes gone, nothing empty.
fn elements(line: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let parts = line.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    parts.map(|part| part.trim().trim_matches('"')).filter(|part| !part.is_empty())
}

fn some(list: Vec<String>, name: &str) -> Result<Vec<String>, ValueError> {
    if list.is_empty() { Err(ValueError::Missing { name: name.into() }) } else { Ok(list) }
}

/// Java's `ZonedDateTime` (its offset counts, the zone's name in brackets says nothing more), or
/// milliseconds since 1970.
fn instant(text: &str) -> Result<OffsetDateTime, ValueError> {
    let bare = text.split('[').next().unwrap_or_default().trim();
    if let Ok(ms) = bare.parse::<i128>() {
        return OffsetDateTime::from_unix_timestamp_nanos(ms * 1_000_000)
            .map_err(|source| ValueError::TimeRange { value: text.into(), source });
    }
    OffsetDateTime::parse(bare, &Rfc3339).map_err(|source| ValueError::Time { value: text.into(), source })
}
