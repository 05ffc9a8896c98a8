//! Filters: change a route's requests and responses.

use super::circuit::{CircuitConfigs, CircuitSettings};
use super::definition::{Args, Component};
use super::error::{ComponentError, ValueError};
use super::limit::Rate;
use super::pattern::{PatternError, Variables};
use super::value::duration;
use crate::kernel::uri::{encode_component, encode_path};
use actix_web::HttpResponse;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use regex::Regex;
use std::time::Duration;

/// Names of the supported filters.
pub(super) const KNOWN: [&str; 22] = [
    "AddRequestHeader",
    "AddRequestParameter",
    "AddResponseHeader",
    "CircuitBreaker",
    "DedupeResponseHeader",
    "PrefixPath",
    "PreserveHostHeader",
    "RedirectTo",
    "RemoveRequestHeader",
    "RemoveRequestParameter",
    "RemoveResponseHeader",
    "RequestRateLimiter",
    "RequestSize",
    "Retry",
    "RewritePath",
    "SecureHeaders",
    "SetPath",
    "SetRequestHeader",
    "SetResponseHeader",
    "SetStatus",
    "StripPrefix",
    "TokenRelay",
];

const SECURE_HEADERS: [(&str, &str); 8] = [
    ("x-xss-protection", "1 ; mode=block"),
    ("strict-transport-security", "max-age=631138519"),
    ("x-frame-options", "DENY"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    (
        "content-security-policy",
        "default-src 'self' https:; font-src 'self' https: data:; img-src 'self' https: data:; object-src 'none'; script-src https:; style-src 'self' https: 'unsafe-inline'",
    ),
    ("x-download-options", "noopen"),
    ("x-permitted-cross-domain-policies", "none"),
];

/// The filter `Retry`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Retry {
    pub(super) retries: u32,
    statuses: Vec<StatusCode>,
    /// First digits of the statuses to retry.
    series: Vec<u16>,
    methods: Vec<Method>,
    first_backoff: Duration,
    max_backoff: Duration,
    factor: f64,
}

impl Retry {
    pub(super) fn covers_method(&self, method: &Method) -> bool {
        self.methods.contains(method)
    }

    pub(super) fn covers_status(&self, status: StatusCode) -> bool {
        self.statuses.contains(&status) || self.series.contains(&(status.as_u16() / 100))
    }

    /// The pause before a retry; the first has number 0.
    pub(super) fn backoff(&self, retry: u32) -> Duration {
        self.first_backoff.mul_f64(self.factor.powi(retry.min(16) as i32)).min(self.max_backoff)
    }
}

/// The filter `CircuitBreaker`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CircuitBreaker {
    pub(super) name: String,
    /// Path of the fallback route, with variables in braces.
    pub(super) fallback: Option<String>,
    /// Response statuses that count as failures.
    pub(super) statuses: Vec<StatusCode>,
    pub(super) settings: CircuitSettings,
}

#[derive(Debug, Clone)]
pub(super) enum Filter {
    AddRequestHeader(HeaderName, String),
    SetRequestHeader(HeaderName, String),
    RemoveRequestHeader(HeaderName),
    AddRequestParameter(String, String),
    RemoveRequestParameter(String),
    AddResponseHeader(HeaderName, String),
    SetResponseHeader(HeaderName, String),
    RemoveResponseHeader(HeaderName),
    DedupeHeader(Vec<HeaderName>, String),
    StripPrefix(usize),
    PrefixPath(String),
    RewritePath(Regex, String),
    SetPath(String),
    PreserveHost,
    /// Status, URL, and whether to append the request's query.
    RedirectTo(StatusCode, String, bool),
    SetStatus(StatusCode),
    SecureHeaders,
    /// No effect: the gateway forwards the token in any case.
    TokenRelay,
    RateLimit(Rate),
    RequestSize(u64),
    Retry(Retry),
    CircuitBreaker(CircuitBreaker),
}

/// A request as the gateway forwards it.
#[derive(Debug, Clone)]
pub(super) struct OutgoingRequest {
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) preserve_host: bool,
}

impl OutgoingRequest {
    pub(super) fn path_and_query(&self) -> String {
        if self.query.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, self.query) }
    }
}

impl Filter {
    pub(super) fn parse(component: &Component, circuits: &CircuitConfigs) -> Result<Self, ComponentError> {
        let known = Self::parse_known(component, circuits).map_err(|cause| component.argument_error(cause))?;
        known.ok_or_else(|| component.unknown_error("filter", &KNOWN))
    }

    fn parse_known(component: &Component, circuits: &CircuitConfigs) -> Result<Option<Self>, ValueError> {
        let args = &component.args;
        let header = |names: &[&str]| {
            let name = args.require(0, names, false)?;
            name.parse::<HeaderName>().map_err(|_| ValueError::malformed(&name, "header name"))
        };
        let value = || args.require(1, &["value"], true);
        Ok(Some(match component.name.as_str() {
            "AddRequestHeader" => Self::AddRequestHeader(header(&["name"])?, value()?),
            "SetRequestHeader" => Self::SetRequestHeader(header(&["name"])?, value()?),
            "RemoveRequestHeader" => Self::RemoveRequestHeader(header(&["name"])?),
            "AddRequestParameter" => Self::AddRequestParameter(args.require(0, &["name"], false)?, value()?),
            "RemoveRequestParameter" => Self::RemoveRequestParameter(args.require(0, &["name"], false)?),
            "AddResponseHeader" => Self::AddResponseHeader(header(&["name"])?, value()?),
            "SetResponseHeader" => Self::SetResponseHeader(header(&["name"])?, value()?),
            "RemoveResponseHeader" => Self::RemoveResponseHeader(header(&["name"])?),
            "DedupeResponseHeader" => {
                let names = args.require(0, &["name"], false)?;
                let names = names.split_whitespace().map(|n| n.parse().map_err(|_| ValueError::malformed(n, "header name")));
                let strategy = args.get(1, &["strategy"], true).unwrap_or_else(|| "RETAIN_FIRST".into());
                if !["RETAIN_FIRST", "RETAIN_LAST", "RETAIN_UNIQUE"].contains(&strategy.as_str()) {
                    return Err(unexpected("strategy", &strategy, "RETAIN_FIRST, RETAIN_LAST or RETAIN_UNIQUE"));
                }
                Self::DedupeHeader(names.collect::<Result<_, _>>()?, strategy)
            }
            "StripPrefix" => Self::StripPrefix(parse_number(args, 0, "parts", Some(1))?),
            "PrefixPath" => Self::PrefixPath(args.require(0, &["prefix"], true)?),
            "RewritePath" => {
                let regex = args.require(0, &["regexp"], false)?;
                let compiled = Regex::new(&regex).map_err(|source| PatternError::Regex { regex, source })?;
                Self::RewritePath(compiled, replacement(&args.get(1, &["replacement"], true).unwrap_or_default()))
            }
            "SetPath" => Self::SetPath(args.require(0, &["template"], true)?),
            "PreserveHostHeader" => Self::PreserveHost,
            "RedirectTo" => {
                let code = parse_status(&args.require(0, &["status"], false)?)?;
                let url = args.require(1, &["url"], false)?;
                let query = args.get(2, &["includeRequestParams"], false).is_some_and(|flag| flag == "true");
                if !code.is_redirection() {
                    return Err(ValueError::NotARedirection(code));
                }
                HeaderValue::from_str(&url).map_err(|_| ValueError::malformed(&url, "URL"))?;
                Self::RedirectTo(code, url, query)
            }
            "SetStatus" => Self::SetStatus(parse_status(&args.require(0, &["status"], false)?)?),
            "SecureHeaders" => Self::SecureHeaders,
            "TokenRelay" => Self::TokenRelay,
            "RequestRateLimiter" => Self::RateLimit(Rate {
                replenish: parse_number(args, 0, "redis-rate-limiter.replenishRate", None)?,
                burst: parse_number(args, 1, "redis-rate-limiter.burstCapacity", Some(1))?,
                requested: parse_number(args, 2, "redis-rate-limiter.requestedTokens", Some(1))?,
            }),
            "RequestSize" => Self::RequestSize(parse_size(&args.get(0, &["maxSize"], true).unwrap_or_else(|| "5MB".into()))?),
            "Retry" => Self::Retry(parse_retry(args)?),
            "CircuitBreaker" => {
                // like Spring: the shortcut form has a name only
                let fallback = args.get(usize::MAX, &["fallbackUri"], true).map(|uri| {
                    let path = uri.strip_prefix("forward:").filter(|path| path.starts_with('/')).map(str::to_string);
                    path.ok_or_else(|| unexpected("fallbackUri", &uri, "forward:/path"))
                });
                let statuses = args.list(usize::MAX, "statusCodes").iter().map(|s| parse_status(s)).collect::<Result<_, _>>()?;
                let name = args.require(0, &["name"], false)?;
                Self::CircuitBreaker(CircuitBreaker {
                    settings: circuits.settings_of(&name),
                    name,
                    fallback: fallback.transpose()?,
                    statuses,
                })
            }
            _ => return Ok(None),
        }))
    }

    /// Changes a request. A returned response ends the request: the gateway does not forward it.
    pub(super) fn apply_to_request(&self, outgoing: &mut OutgoingRequest, variables: &Variables) -> Option<HttpResponse> {
        let header = |value: &str| HeaderValue::from_str(&expand(value, variables)).ok();
        match self {
            Self::AddRequestHeader(name, value) => header(value).into_iter().for_each(|v| outgoing.headers.append(name.clone(), v)),
            Self::SetRequestHeader(name, value) => {
                if let Some(value) = header(value) {
                    outgoing.headers.insert(name.clone(), value);
                }
            }
            Self::RemoveRequestHeader(name) => {
                outgoing.headers.remove(name);
            }
            Self::AddRequestParameter(name, value) => {
                let pair = format!("{}={}", encode_component(name), encode_component(&expand(value, variables)));
                outgoing.query = if outgoing.query.is_empty() { pair } else { format!("{}&{pair}", outgoing.query) };
            }
            Self::RemoveRequestParameter(name) => {
                let pairs: Vec<&str> = outgoing.query.split('&').filter(|pair| pair.split('=').next() != Some(name)).collect();
                outgoing.query = pairs.join("&");
            }
            Self::StripPrefix(parts) => {
                let rest = outgoing.path.trim_start_matches('/').splitn(parts + 1, '/').nth(*parts);
                outgoing.path = format!("/{}", rest.unwrap_or_default());
            }
            Self::PrefixPath(prefix) => outgoing.path = format!("{}{}", expand_path(prefix, variables), outgoing.path),
            Self::RewritePath(regex, to) => outgoing.path = regex.replace_all(&outgoing.path, to.as_str()).into_owned(),
            Self::SetPath(template) => outgoing.path = expand_path(template, variables),
            Self::PreserveHost => outgoing.preserve_host = true,
            Self::RedirectTo(status, url, query) => {
                let separator = if url.contains('?') { '&' } else { '?' };
                let location =
                    if *query && !outgoing.query.is_empty() { format!("{url}{separator}{}", outgoing.query) } else { url.clone() };
                return Some(HttpResponse::build(*status).insert_header((header::LOCATION, location)).finish());
            }
            _ => {}
        }
        None
    }

    pub(super) fn apply_to_response(&self, status: &mut StatusCode, headers: &mut HeaderMap, variables: &Variables) {
        let header = |value: &str| HeaderValue::from_str(&expand(value, variables)).ok();
        match self {
            Self::AddResponseHeader(name, value) => header(value).into_iter().for_each(|v| headers.append(name.clone(), v)),
            Self::SetResponseHeader(name, value) => {
                if let Some(value) = header(value) {
                    headers.insert(name.clone(), value);
                }
            }
            Self::RemoveResponseHeader(name) => {
                headers.remove(name);
            }
            Self::DedupeHeader(names, strategy) => names.iter().for_each(|name| dedupe(headers, name, strategy)),
            Self::SetStatus(to) => *status = *to,
            Self::SecureHeaders => {
                for (name, value) in SECURE_HEADERS {
                    let name = HeaderName::from_static(name);
                    if !headers.contains_key(&name) {
                        headers.insert(name, HeaderValue::from_static(value));
                    }
                }
            }
            _ => {}
        }
    }
}

fn dedupe(headers: &mut HeaderMap, name: &HeaderName, strategy: &str) {
    let values: Vec<HeaderValue> = headers.get_all(name).cloned().collect();
    let mut retained: Vec<HeaderValue> = Vec::new();
    match strategy {
        "RETAIN_FIRST" => retained.extend(values.first().cloned()),
        "RETAIN_LAST" => retained.extend(values.last().cloned()),
        _ => values.into_iter().for_each(|value| {
            if !retained.contains(&value) {
                retained.push(value);
            }
        }),
    }
    headers.remove(name);
    retained.into_iter().for_each(|value| headers.append(name.clone(), value));
}

/// Replaces `{name}` with the value that the route's patterns captured.
pub(super) fn expand(template: &str, variables: &Variables) -> String {
    variables.iter().fold(template.to_string(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

/// Like `expand`, for a path: percent-encodes the values.
pub(super) fn expand_path(template: &str, variables: &Variables) -> String {
    let variables = variables.iter().map(|(name, value)| (name.clone(), encode_path(value))).collect();
    expand(template, &variables)
}

/// Translates a Java replacement to Rust's: `$\{name}` (YAML's spelling of `${name}`) and `$1`.
fn replacement(java: &str) -> String {
    let plain = java.replace("$\\", "$");
    let mut replaced = String::new();
    let mut rest = plain.chars().peekable();
    while let Some(c) = rest.next() {
        replaced.push(c);
        if c == '$' && rest.peek().is_some_and(char::is_ascii_digit) {
            replaced.push('{');
            replaced.extend(rest.next_if(char::is_ascii_digit));
            replaced.push('}');
        }
    }
    replaced
}

fn unexpected(name: &'static str, value: &str, expected: &'static str) -> ValueError {
    ValueError::Unexpected { name, value: value.into(), expected }
}

fn parse_number<T: std::str::FromStr>(args: &Args, index: usize, name: &str, default: Option<T>) -> Result<T, ValueError> {
    let malformed = |value: &str| ValueError::MalformedNamed { name: name.into(), value: value.into(), expected: "number in range" };
    match args.get(index, &[name], false) {
        Some(text) => text.parse().map_err(|_| malformed(&text)),
        None => default.ok_or_else(|| ValueError::Missing { name: name.into() }),
    }
}

/// Parses a code, or a name of Spring's `HttpStatus`.
pub(super) fn parse_status(text: &str) -> Result<StatusCode, ValueError> {
    let by_name = || (100..600).filter_map(|code| StatusCode::from_u16(code).ok()).find(|code| status_name(*code) == text);
    let code = text.parse::<u16>().ok().and_then(|code| StatusCode::from_u16(code).ok()).or_else(by_name);
    code.ok_or_else(|| ValueError::malformed(text, "status such as 404 or NOT_FOUND"))
}

/// The name in Spring's `HttpStatus`, such as `NOT_FOUND`.
pub(super) fn status_name(status: StatusCode) -> String {
    let words = status.canonical_reason().unwrap_or("UNKNOWN");
    words.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

fn parse_size(text: &str) -> Result<u64, ValueError> {
    let malformed = || ValueError::malformed(text, "size such as 5000000 or 5MB");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..).unwrap_or_default().to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "KB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return Err(malformed()),
    };
    let number: u64 = digits.trim().parse().map_err(|_| malformed())?;
    Ok(number.saturating_mul(unit))
}

fn parse_retry(args: &Args) -> Result<Retry, ValueError> {
    let time = |index, name| args.get(index, &[name], false).map(|t| duration(&t)).transpose();
    // positional arguments hold one status and one method, named arguments hold lists
    let by_name_or_position = |index: usize, name: &str| {
        let named = args.list(usize::MAX, name);
        if named.is_empty() { args.get(index, &[], false).into_iter().collect() } else { named }
    };
    let statuses: Vec<String> = by_name_or_position(1, "statuses");
    let methods: Vec<String> = by_name_or_position(2, "methods");
    let series = |name: &String| match name.as_str() {
        "INFORMATIONAL" => Ok(1),
        "SUCCESSFUL" => Ok(2),
        "REDIRECTION" => Ok(3),
        "CLIENT_ERROR" => Ok(4),
        "SERVER_ERROR" => Ok(5),
        other => Err(unexpected("series", other, "such as SERVER_ERROR")),
    };
    let named_series = args.list(usize::MAX, "series").iter().map(series).collect::<Result<Vec<u16>, _>>()?;
    let first_backoff = time(3, "backoff.firstBackoff")?;
    Ok(Retry {
        retries: parse_number(args, 0, "retries", Some(3))?,
        statuses: statuses.iter().map(|s| parse_status(s)).collect::<Result<_, _>>()?,
        series: if named_series.is_empty() && args.get(usize::MAX, &["series"], false).is_none() { vec![5] } else { named_series },
        methods: if methods.is_empty() {
            vec![Method::GET]
        } else {
            methods.iter().map(|m| m.parse().map_err(|_| ValueError::malformed(m, "method"))).collect::<Result<_, _>>()?
        },
        first_backoff: first_backoff.unwrap_or_default(),
        max_backoff: time(4, "backoff.maxBackoff")?.unwrap_or(Duration::from_secs(5)),
        factor: parse_number(args, 5, "backoff.factor", Some(2.0))?,
    })
}
