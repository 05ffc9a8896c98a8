//! What a route does to a request on its way out, and to the answer on its way back.

use super::circuit;
use super::file::{Args, Part, RoutePartError, ValueError, duration};
use super::limit::Rate;
use super::pattern::PatternError;
use crate::kernel::uri::{encode_component, encode_path};
use actix_web::HttpResponse;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use regex::Regex;
use std::collections::BTreeMap;
use std::time::Duration;

/// All that are known.
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

const SECURE: [(&str, &str); 8] = [
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

/// When and how often a request is sent again.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Retry {
    pub(super) retries: u32,
    statuses: Vec<StatusCode>,
    series: Vec<u16>,
    methods: Vec<Method>,
    first: Duration,
    most: Duration,
    factor: f64,
}

impl Retry {
    /// Whether requests of this method are.
    pub(super) fn covers(&self, method: &Method) -> bool {
        self.methods.contains(method)
    }

    /// Whether after this answer.
    pub(super) fn after(&self, status: StatusCode) -> bool {
        self.statuses.contains(&status) || self.series.contains(&(status.as_u16() / 100))
    }

    /// The pause before the retry of this number, from 0.
    pub(super) fn pause(&self, retry: u32) -> Duration {
        self.first.mul_f64(self.factor.powi(retry.min(16) as i32)).min(self.most)
    }
}

/// A breaker around the route.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Circuit {
    pub(super) name: String,
    /// Path to answer from instead, with variables in braces.
    pub(super) fallback: Option<String>,
    pub(super) statuses: Vec<StatusCode>,
    pub(super) settings: circuit::Settings,
}

/// One step.
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
    Dedupe(Vec<HeaderName>, String),
    StripPrefix(usize),
    PrefixPath(String),
    RewritePath(Regex, String),
    SetPath(String),
    PreserveHost,
    /// Status, place, and whether the query goes along.
    RedirectTo(StatusCode, String, bool),
    SetStatus(StatusCode),
    Secure,
    /// The token goes on as it came in any case.
    TokenRelay,
    Limit(Rate),
    Size(u64),
    Retry(Retry),
    Circuit(Circuit),
}

/// A request on its way out.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) preserve_host: bool,
}

type Variables = BTreeMap<String, String>;

impl Filter {
    /// Reads one; a breaker goes by these settings.
    pub(super) fn read(part: &Part, circuits: &circuit::Circuits) -> Result<Self, RoutePartError> {
        let known = Self::known(part, circuits).map_err(|cause| part.refuse(cause))?;
        known.ok_or_else(|| part.unknown("filter", &KNOWN))
    }

    fn known(part: &Part, circuits: &circuit::Circuits) -> Result<Option<Self>, ValueError> {
        let args = &part.args;
        let header = |names: &[&str]| {
            let name = args.need(0, names, false)?;
            name.parse::<HeaderName>().map_err(|_| ValueError::malformed(&name, "header name"))
        };
        let value = || args.need(1, &["value"], true);
        Ok(Some(match part.name.as_str() {
            "AddRequestHeader" => Self::AddRequestHeader(header(&["name"])?, value()?),
            "SetRequestHeader" => Self::SetRequestHeader(header(&["name"])?, value()?),
            "RemoveRequestHeader" => Self::RemoveRequestHeader(header(&["name"])?),
            "AddRequestParameter" => Self::AddRequestParameter(args.need(0, &["name"], false)?, value()?),
            "RemoveRequestParameter" => Self::RemoveRequestParameter(args.need(0, &["name"], false)?),
            "AddResponseHeader" => Self::AddResponseHeader(header(&["name"])?, value()?),
            "SetResponseHeader" => Self::SetResponseHeader(header(&["name"])?, value()?),
            "RemoveResponseHeader" => Self::RemoveResponseHeader(header(&["name"])?),
            "DedupeResponseHeader" => {
                let names = args.need(0, &["name"], false)?;
                let names = names.split_whitespace().map(|n| n.parse().map_err(|_| ValueError::malformed(n, "header name")));
                let strategy = args.one(1, &["strategy"], true).unwrap_or_else(|| "RETAIN_FIRST".into());
                if !["RETAIN_FIRST", "RETAIN_LAST", "RETAIN_UNIQUE"].contains(&strategy.as_str()) {
                    return Err(unexpected("strategy", &strategy, "RETAIN_FIRST, RETAIN_LAST or RETAIN_UNIQUE"));
                }
                Self::Dedupe(names.collect::<Result<_, _>>()?, strategy)
            }
            "StripPrefix" => Self::StripPrefix(number(args, 0, "parts", Some(1))?),
            "PrefixPath" => Self::PrefixPath(args.need(0, &["prefix"], true)?),
            "RewritePath" => {
                let regex = args.need(0, &["regexp"], false)?;
                let compiled = Regex::new(&regex).map_err(|source| PatternError::Regex { regex, source })?;
                Self::RewritePath(compiled, replacement(&args.one(1, &["replacement"], true).unwrap_or_default()))
            }
            "SetPath" => Self::SetPath(args.need(0, &["template"], true)?),
            "PreserveHostHeader" => Self::PreserveHost,
            "RedirectTo" => {
                let code = status(&args.need(0, &["status"], false)?)?;
                let url = args.need(1, &["url"], false)?;
                let query = args.one(2, &["includeRequestParams"], false).is_some_and(|flag| flag == "true");
                if !code.is_redirection() {
                    return Err(ValueError::NotARedirection(code));
                }
                HeaderValue::from_str(&url).map_err(|_| ValueError::malformed(&url, "URL"))?;
                Self::RedirectTo(code, url, query)
            }
            "SetStatus" => Self::SetStatus(status(&args.need(0, &["status"], false)?)?),
            "SecureHeaders" => Self::Secure,
            "TokenRelay" => Self::TokenRelay,
            "RequestRateLimiter" => Self::Limit(Rate {
                replenish: number(args, 0, "redis-rate-limiter.replenishRate", None)?,
                burst: number(args, 1, "redis-rate-limiter.burstCapacity", Some(1))?,
                requested: number(args, 2, "redis-rate-limiter.requestedTokens", Some(1))?,
            }),
            "RequestSize" => Self::Size(size(&args.one(0, &["maxSize"], true).unwrap_or_else(|| "5MB".into()))?),
            "Retry" => Self::Retry(retry(args)?),
            "CircuitBreaker" => {
                // as in Spring, the shortcut has a name only
                let fallback = args.one(usize::MAX, &["fallbackUri"], true).map(|uri| {
                    let path = uri.strip_prefix("forward:").filter(|path| path.starts_with('/')).map(str::to_string);
                    path.ok_or_else(|| unexpected("fallbackUri", &uri, "forward:/path"))
                });
                let statuses = args.list(usize::MAX, "statusCodes").iter().map(|s| status(s)).collect::<Result<_, _>>()?;
                let name = args.need(0, &["name"], false)?;
                Self::Circuit(Circuit { settings: circuits.of(&name), name, fallback: fallback.transpose()?, statuses })
            }
            _ => return Ok(None),
        }))
    }

    /// Changes a request on its way out; an answer where it goes no further.
    pub(super) fn before(&self, out: &mut Outgoing, variables: &Variables) -> Option<HttpResponse> {
        let header = |value: &str| HeaderValue::from_str(&expand(value, variables)).ok();
        match self {
            Self::AddRequestHeader(name, value) => header(value).into_iter().for_each(|v| out.headers.append(name.clone(), v)),
            Self::SetRequestHeader(name, value) => {
                if let Some(value) = header(value) {
                    out.headers.insert(name.clone(), value);
                }
            }
            Self::RemoveRequestHeader(name) => {
                out.headers.remove(name);
            }
            Self::AddRequestParameter(name, value) => {
                let pair = format!("{}={}", encode_component(name), encode_component(&expand(value, variables)));
                out.query = if out.query.is_empty() { pair } else { format!("{}&{pair}", out.query) };
            }
            Self::RemoveRequestParameter(name) => {
                let kept: Vec<&str> = out.query.split('&').filter(|pair| pair.split('=').next() != Some(name)).collect();
                out.query = kept.join("&");
            }
            Self::StripPrefix(parts) => {
                let rest = out.path.trim_start_matches('/').splitn(parts + 1, '/').nth(*parts);
                out.path = format!("/{}", rest.unwrap_or_default());
            }
            Self::PrefixPath(prefix) => out.path = format!("{}{}", escaped(prefix, variables), out.path),
            Self::RewritePath(regex, to) => out.path = regex.replace_all(&out.path, to.as_str()).into_owned(),
            Self::SetPath(template) => out.path = escaped(template, variables),
            Self::PreserveHost => out.preserve_host = true,
            Self::RedirectTo(status, url, query) => {
                let mark = if url.contains('?') { '&' } else { '?' };
                let place = if *query && !out.query.is_empty() { format!("{url}{mark}{}", out.query) } else { url.clone() };
                return Some(HttpResponse::build(*status).insert_header((header::LOCATION, place)).finish());
            }
            _ => {}
        }
        None
    }

    /// Changes an answer on its way back.
    pub(super) fn after(&self, status: &mut StatusCode, headers: &mut HeaderMap, variables: &Variables) {
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
            Self::Dedupe(names, strategy) => names.iter().for_each(|name| dedupe(headers, name, strategy)),
            Self::SetStatus(to) => *status = *to,
            Self::Secure => {
                for (name, value) in SECURE {
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
    let mut kept: Vec<HeaderValue> = Vec::new();
    match strategy {
        "RETAIN_FIRST" => kept.extend(values.first().cloned()),
        "RETAIN_LAST" => kept.extend(values.last().cloned()),
        _ => values.into_iter().for_each(|value| {
            if !kept.contains(&value) {
                kept.push(value);
            }
        }),
    }
    headers.remove(name);
    kept.into_iter().for_each(|value| headers.append(name.clone(), value));
}

/// Fills `{name}` in with what the route's patterns have found.
pub(super) fn expand(template: &str, variables: &Variables) -> String {
    variables.iter().fold(template.to_string(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

/// The same for a path: what is filled in is escaped again.
pub(super) fn escaped(template: &str, variables: &Variables) -> String {
    let variables = variables.iter().map(|(name, value)| (name.clone(), encode_path(value))).collect();
    expand(template, &variables)
}

/// Java's replacement as ours: `$\{name}` (YAML's way to write `${name}`) and `$1`.
fn replacement(java: &str) -> String {
    let plain = java.replace("$\\", "$");
    let mut ours = String::new();
    let mut rest = plain.chars().peekable();
    while let Some(c) = rest.next() {
        ours.push(c);
        if c == '$' && rest.peek().is_some_and(char::is_ascii_digit) {
            ours.push('{');
            ours.extend(rest.next_if(char::is_ascii_digit));
            ours.push('}');
        }
    }
    ours
}

fn unexpected(name: &'static str, value: &str, expected: &'static str) -> ValueError {
    ValueError::Unexpected { name, value: value.into(), expected }
}

fn number<T: std::str::FromStr>(args: &Args, index: usize, name: &str, default: Option<T>) -> Result<T, ValueError> {
    let wrong = |value: &str| ValueError::MalformedNamed { name: name.into(), value: value.into(), expected: "number that fits" };
    match args.one(index, &[name], false) {
        Some(text) => text.parse().map_err(|_| wrong(&text)),
        None => default.ok_or_else(|| ValueError::Missing { name: name.into() }),
    }
}

/// A code, or the name that Spring's `HttpStatus` gives it.
pub(super) fn status(text: &str) -> Result<StatusCode, ValueError> {
    let by_name = || (100..600).filter_map(|code| StatusCode::from_u16(code).ok()).find(|code| status_name(*code) == text);
    let code = text.parse::<u16>().ok().and_then(|code| StatusCode::from_u16(code).ok()).or_else(by_name);
    code.ok_or_else(|| ValueError::malformed(text, "status such as 404 or NOT_FOUND"))
}

/// `NOT_FOUND` and so on.
pub(super) fn status_name(status: StatusCode) -> String {
    let words = status.canonical_reason().unwrap_or("UNKNOWN");
    words.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

fn size(text: &str) -> Result<u64, ValueError> {
    let wrong = || ValueError::malformed(text, "size such as 5000000 or 5MB");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..).unwrap_or_default().to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "KB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.trim().parse().map_err(|_| wrong())?;
    Ok(number.saturating_mul(unit))
}

fn retry(args: &Args) -> Result<Retry, ValueError> {
    let time = |index, name| args.one(index, &[name], false).map(|t| duration(&t)).transpose();
    // by position there is one status and one method; by name, lists
    let by_name_or_position = |index: usize, name: &str| {
        let named = args.list(usize::MAX, name);
        if named.is_empty() { args.one(index, &[], false).into_iter().collect() } else { named }
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
    let first = time(3, "backoff.firstBackoff")?;
    Ok(Retry {
        retries: number(args, 0, "retries", Some(3))?,
        statuses: statuses.iter().map(|s| status(s)).collect::<Result<_, _>>()?,
        series: if named_series.is_empty() && args.one(usize::MAX, &["series"], false).is_none() { vec![5] } else { named_series },
        methods: if methods.is_empty() {
            vec![Method::GET]
        } else {
            methods.iter().map(|m| m.parse().map_err(|_| ValueError::malformed(m, "method"))).collect::<Result<_, _>>()?
        },
        first: first.unwrap_or_default(),
        most: time(4, "backoff.maxBackoff")?.unwrap_or(Duration::from_secs(5)),
        factor: number(args, 5, "backoff.factor", Some(2.0))?,
    })
}
