//! Predicates: select a route's requests.

use super::definition::Component;
use super::error::{ComponentError, ValueError};
use super::pattern::{AddressRange, Pattern, Variables, full_match_regex};
use super::sanitize::RequestOrigin;
use crate::kernel::uri::query_pairs;
use actix_web::HttpRequest;
use actix_web::http::Method;
use regex::Regex;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Names of the supported predicates.
pub(super) const KNOWN: [&str; 12] =
    ["After", "Before", "Between", "Cookie", "Header", "Host", "Method", "Path", "Query", "RemoteAddr", "Weight", "XForwardedRemoteAddr"];

/// One condition. A route matches if all its predicates match.
#[derive(Debug, Clone)]
pub(super) enum Predicate {
    After(OffsetDateTime),
    Before(OffsetDateTime),
    Cookie(String, Regex),
    Header(String, Option<Regex>),
    /// Patterns, and whether they include the port.
    Host(Vec<Pattern>, bool),
    Method(Vec<Method>),
    Path(Vec<Pattern>),
    Query(String, Option<Regex>),
    /// Ranges for the client's address: the peer's, or the address that a trusted proxy reports.
    RemoteAddr(Vec<AddressRange>),
    /// Group and weight; the table selects one route per request and group.
    Weight(String, u32),
}

/// Input of the predicates.
pub(super) struct IncomingRequest<'a> {
    pub(super) request: &'a HttpRequest,
    /// Normalized and decoded.
    pub(super) path: &'a str,
    pub(super) origin: &'a RequestOrigin,
    pub(super) now: OffsetDateTime,
}

impl Predicate {
    /// `Between` yields two predicates. With `with_port`, `Host` patterns include the port.
    pub(super) fn parse(component: &Component, with_port: bool) -> Result<Vec<Self>, ComponentError> {
        let known = Self::parse_known(component, with_port).map_err(|cause| component.argument_error(cause))?;
        if known.is_empty() { Err(component.unknown_error("predicate", &KNOWN)) } else { Ok(known) }
    }

    /// Empty for an unknown name.
    fn parse_known(component: &Component, with_port: bool) -> Result<Vec<Self>, ValueError> {
        let args = &component.args;
        let one = |index, name| args.require(index, &[name], true);
        let regex = |index, name| args.get(index, &[name], true).map(|r| full_match_regex(&r)).transpose();
        let ranges = || {
            let ranges = non_empty(args.list(0, "sources"), "sources")?;
            ranges.iter().map(|range| Ok(AddressRange::parse(range)?)).collect::<Result<Vec<_>, ValueError>>()
        };
        Ok(vec![match component.name.as_str() {
            "After" => Self::After(parse_time(&one(0, "datetime")?)?),
            "Before" => Self::Before(parse_time(&one(0, "datetime")?)?),
            "Between" => {
                let (from, to) = (args.require(0, &["datetime1"], false)?, one(1, "datetime2")?);
                return Ok(vec![Self::After(parse_time(&from)?), Self::Before(parse_time(&to)?)]);
            }
            "Cookie" => Self::Cookie(args.require(0, &["name"], false)?, full_match_regex(&one(1, "regexp")?)?),
            "Header" => Self::Header(args.require(0, &["header"], false)?, regex(1, "regexp")?),
            "Query" => Self::Query(args.require(0, &["param"], false)?, regex(1, "regexp")?),
            "Host" => {
                let patterns = non_empty(args.list(0, "patterns"), "patterns")?;
                Self::Host(patterns.iter().map(|p| Pattern::host(p)).collect::<Result<_, _>>()?, with_port)
            }
            "Method" => {
                let methods = non_empty(args.list(0, "methods"), "methods")?;
                let parse = |m: &String| m.to_uppercase().parse().map_err(|_| ValueError::malformed(m, "method"));
                Self::Method(methods.iter().map(parse).collect::<Result<_, _>>()?)
            }
            "Path" => {
                let mut patterns = args.list(0, "patterns");
                if patterns.is_empty() {
                    patterns = args.list(0, "pattern");
                }
                let mut slash = args.get(usize::MAX, &["matchTrailingSlash"], false).is_none_or(|s| s != "false");
                // in the shortcut form, `matchTrailingSlash` is the last argument
                if let Some(flag @ ("true" | "false")) = patterns.last().map(String::as_str) {
                    slash = flag == "true";
                    patterns.pop();
                }
                Self::Path(non_empty(patterns, "patterns")?.iter().map(|p| Pattern::path(p, slash)).collect::<Result<_, _>>()?)
            }
            // both are the same here: like Spring's server, `RemoteAddr` uses the address that a trusted proxy reports
            "RemoteAddr" | "XForwardedRemoteAddr" => Self::RemoteAddr(ranges()?),
            "Weight" => {
                let weight = one(1, "weight")?;
                let invalid = |_| ValueError::Unexpected { name: "weight", value: weight.clone(), expected: "a whole number" };
                let weight = weight.parse().map_err(invalid)?;
                Self::Weight(args.require(0, &["group"], false)?, weight)
            }
            _ => return Ok(Vec::new()),
        }])
    }

    /// Adds captured values to `variables`. `selected` returns whether the table selected this route in a weight
    /// group.
    pub(super) fn matches(&self, incoming: &IncomingRequest, variables: &mut Variables, selected: &dyn Fn(&str) -> bool) -> bool {
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
                lines.flat_map(header_elements).any(|v| regex.as_ref().is_none_or(|r| r.is_match(v)))
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
            Self::Weight(group, _) => selected(group),
        }
    }
}

/// The elements of a header line, like Spring: split at commas outside quotes, without quotes, none empty.
fn header_elements(line: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let parts = line.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    parts.map(|part| part.trim().trim_matches('"')).filter(|part| !part.is_empty())
}

fn non_empty(list: Vec<String>, name: &str) -> Result<Vec<String>, ValueError> {
    if list.is_empty() { Err(ValueError::Missing { name: name.into() }) } else { Ok(list) }
}

/// Parses Java's `ZonedDateTime` (the offset counts, the zone's name in brackets does not), or milliseconds
/// since 1970.
fn parse_time(text: &str) -> Result<OffsetDateTime, ValueError> {
    let bare = text.split('[').next().unwrap_or_default().trim();
    if let Ok(ms) = bare.parse::<i128>() {
        return OffsetDateTime::from_unix_timestamp_nanos(ms * 1_000_000)
            .map_err(|source| ValueError::TimeRange { value: text.into(), source });
    }
    OffsetDateTime::parse(bare, &Rfc3339).map_err(|source| ValueError::Time { value: text.into(), source })
}
