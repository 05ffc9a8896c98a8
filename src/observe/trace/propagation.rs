//! Propagation of traces over HTTP: W3C Trace Context, and B3 as used by Spring Cloud Sleuth and Zipkin's libraries.
//! Both are accepted; W3C takes precedence. A setting selects the formats of outgoing requests.

use super::Trace;
use super::ids::hex;
use super::span::current;
use crate::settings::TraceFormat;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// B3 single header.
pub const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");
/// All trace headers: a proxy removes them and sends its own.
pub const HEADERS: [HeaderName; 8] = [TRACEPARENT, TRACESTATE, B3, B3_TRACE, B3_SPAN, B3_PARENT, B3_SAMPLED, B3_FLAGS];
/// Characters. W3C Trace Context, 3.3.1.5 requires at least 512.
const MAX_TRACESTATE_LEN: usize = 512;

static SENT_FORMATS: AtomicU8 = AtomicU8::new(1);

/// Sets the formats of outgoing requests.
pub fn set(formats: &[TraceFormat]) {
    SENT_FORMATS.store(formats.iter().fold(0, |all, format| all | 1 << *format as u8), Relaxed);
}

/// The trace context of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Incoming {
    pub parent: Option<Trace>,
    /// The caller's sampling decision, if any.
    pub sampled: Option<bool>,
    /// `tracestate`.
    pub state: Option<Arc<str>>,
}

/// Malformed headers are treated as absent.
pub fn extract(headers: &HeaderMap) -> Incoming {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(parent) = text(&TRACEPARENT).and_then(Trace::parse) {
        // RFC 9110, 5.3: several fields of one name form one list
        let all: Vec<&str> = headers.get_all(&TRACESTATE).filter_map(|value| value.to_str().ok()).collect();
        let state = Some(all.join(",")).filter(|state| !state.is_empty() && state.len() <= MAX_TRACESTATE_LEN).map(Arc::from);
        return Incoming { parent: Some(parent), sampled: Some(parent.sampled), state };
    }
    if let Some(incoming) = text(&B3).and_then(parse_b3) {
        return incoming;
    }
    let sampled = if text(&B3_FLAGS) == Some("1") { Some(true) } else { text(&B3_SAMPLED).and_then(parse_sampled) };
    let parent = text(&B3_TRACE).zip(text(&B3_SPAN)).and_then(|(trace, span)| ids(trace, span, sampled));
    Incoming { parent, sampled, state: None }
}

/// `{trace}-{span}[-{sampled}[-{parent}]]`, or only the sampling decision.
fn parse_b3(header: &str) -> Option<Incoming> {
    let mut parts = header.split('-');
    let (trace, span) = (parts.next()?, parts.next());
    let Some(span) = span else { return Some(Incoming { sampled: Some(parse_sampled(trace)?), ..Incoming::default() }) };
    let sampled = match parts.next() {
        None => None,
        Some(word) => Some(parse_sampled(word)?),
    };
    Some(Incoming { parent: Some(ids(trace, span, sampled)?), sampled, state: None })
}

fn parse_sampled(word: &str) -> Option<bool> {
    match word {
        // early versions of B3 used `true` and `false`
        "1" | "d" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

/// B3 trace ids have 64 or 128 bits.
fn ids(trace: &str, span: &str, sampled: Option<bool>) -> Option<Trace> {
    let trace_id = hex::<32>(trace).or_else(|| hex::<16>(trace))?;
    Trace { trace_id, span_id: u64::try_from(hex::<16>(span)?).ok()?, sampled: sampled.unwrap_or_default() }.valid()
}

/// The headers of a request whose parent span is `trace`.
pub fn headers(trace: Trace) -> Vec<(HeaderName, HeaderValue)> {
    let sent = SENT_FORMATS.load(Relaxed);
    let sends = |format: TraceFormat| sent & 1 << format as u8 != 0;
    let mut all = Vec::with_capacity(3);
    let mut add = |name: HeaderName, value: &str| all.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
    // `00-{trace}-{span}-{flags}` contains all parts of B3
    let header = trace.header();
    let (ids, sampled) = (header.get(3..52).unwrap_or_default(), if trace.sampled { "1" } else { "0" });
    if sends(TraceFormat::W3c) {
        add(TRACEPARENT, &header);
        let state = current().filter(|span| span.trace().trace_id == trace.trace_id);
        if let Some(state) = state.as_ref().and_then(super::Span::state) {
            add(TRACESTATE, state);
        }
    }
    if sends(TraceFormat::B3) {
        add(B3, &format!("{ids}-{sampled}"));
    }
    if let Some((trace_id, span_id)) = ids.split_once('-').filter(|_| sends(TraceFormat::B3Multi)) {
        add(B3_TRACE, trace_id);
        add(B3_SPAN, span_id);
        add(B3_SAMPLED, sampled);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "463ac35c9f6413ad48485a3953bb6124";
    const SPAN: &str = "a2fb4a1d1a96d312";

    fn read(headers: &[(&str, &str)]) -> Incoming {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        extract(&map)
    }

    fn parent_and_sampled(incoming: &Incoming) -> (Option<String>, Option<bool>) {
        (incoming.parent.map(|trace| format!("{} {:016x}", trace.id(), trace.span_id)), incoming.sampled)
    }

    #[test]
    fn every_form_of_b3_and_w3c_is_parsed() {
        let parent = Some(format!("{TRACE} {SPAN}"));
        let short = Some(format!("0000000000000000{} {SPAN}", &TRACE[16..]));
        for (headers, expected) in [
            (vec![("traceparent", format!("00-{TRACE}-{SPAN}-01"))], (parent.clone(), Some(true))),
            (vec![("traceparent", format!("00-{TRACE}-{SPAN}-00"))], (parent.clone(), Some(false))),
            (vec![("b3", format!("{TRACE}-{SPAN}-1"))], (parent.clone(), Some(true))),
            (vec![("b3", format!("{TRACE}-{SPAN}-d-{SPAN}"))], (parent.clone(), Some(true))),
            (vec![("b3", format!("{TRACE}-{SPAN}-0"))], (parent.clone(), Some(false))),
            (vec![("b3", format!("{TRACE}-{SPAN}"))], (parent.clone(), None)),
            (vec![("b3", format!("{}-{SPAN}-1", &TRACE[16..]))], (short, Some(true))),
            (vec![("b3", "0".into())], (None, Some(false))),
            (vec![("X-B3-TraceId", TRACE.into()), ("X-B3-SpanId", SPAN.into())], (parent.clone(), None)),
            (
                vec![("X-B3-TraceId", TRACE.into()), ("X-B3-SpanId", SPAN.into()), ("X-B3-Sampled", "1".into())],
                (parent.clone(), Some(true)),
            ),
            (vec![("X-B3-TraceId", TRACE.into()), ("X-B3-SpanId", SPAN.into()), ("X-B3-Flags", "1".into())], (parent.clone(), Some(true))),
            (vec![("X-B3-Sampled", "0".into())], (None, Some(false))),
            (vec![("traceparent", format!("00-{TRACE}-{SPAN}-01")), ("b3", "0".into())], (parent, Some(true))),
        ] {
            let sent: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            assert_eq!(parent_and_sampled(&read(&sent)), expected, "{headers:?}");
        }
    }

    // one test: the formats are process-wide
    #[test]
    fn sent_headers_in_each_format_parse_to_the_same_trace() {
        let trace = Trace::parse(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
        for (formats, names) in [
            (&[TraceFormat::W3c][..], &["traceparent"][..]),
            (&[TraceFormat::B3], &["b3"]),
            (&[TraceFormat::B3Multi], &["x-b3-traceid", "x-b3-spanid", "x-b3-sampled"]),
            (&[TraceFormat::W3c, TraceFormat::B3], &["traceparent", "b3"]),
        ] {
            set(formats);
            let sent = headers(trace);
            assert_eq!(sent.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names);
            let sent: Vec<_> = sent.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
            assert_eq!(read(&sent).parent, Some(trace), "{sent:?}");
        }
        set(&[TraceFormat::W3c]);
    }

    #[test]
    fn malformed_header_is_ignored() {
        for (name, value) in [
            ("traceparent", "nonsense"),
            ("b3", ""),
            ("b3", "x"),
            ("b3", "1-1-1"),
            ("b3", "463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-maybe"),
            ("b3", "00000000000000000000000000000000-a2fb4a1d1a96d312-1"),
            ("X-B3-TraceId", TRACE),
            ("X-B3-Sampled", "perhaps"),
        ] {
            assert_eq!(parent_and_sampled(&read(&[(name, value)])), (None, None), "{name}: {value}");
        }
        let long = "a=b,".repeat(200);
        let parent = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(read(&[("traceparent", &parent), ("tracestate", &long)]).state, None);
        let state = read(&[("traceparent", &parent), ("tracestate", "v=1"), ("tracestate", "w=2")]).state;
        assert_eq!(state.as_deref(), Some("v=1,w=2"));
    }
}
