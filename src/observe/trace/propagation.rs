//! How a trace comes in and goes out over HTTP: as W3C Trace Context and as B3, which Spring Cloud Sleuth and
//! Zipkin's own libraries speak. Both are taken; where both are there W3C's counts. What is sent is a setting.

use super::Trace;
use super::ids::hex;
use super::span::current;
use crate::settings::TraceFormat;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// W3C Trace Context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Its vendors' part.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// B3 in one header.
pub const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");
/// Every header that speaks of a trace: whoever hands a request on takes them off and writes his own.
pub const HEADERS: [HeaderName; 8] = [TRACEPARENT, TRACESTATE, B3, B3_TRACE, B3_SPAN, B3_PARENT, B3_SAMPLED, B3_FLAGS];
/// No vendor's part is longer (W3C Trace Context, 3.3.1.5 asks for 512 at least).
const MAX_STATE: usize = 512;

static SENT: AtomicU8 = AtomicU8::new(1);

/// From now on these are sent.
pub fn set(formats: &[TraceFormat]) {
    SENT.store(formats.iter().fold(0, |all, format| all | 1 << *format as u8), Relaxed);
}

/// What a request says of the trace that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Incoming {
    /// The step that it follows from.
    pub parent: Option<Trace>,
    /// Whether it is to be recorded, where that was decided.
    pub sampled: Option<bool>,
    /// The vendors' part.
    pub state: Option<Arc<str>>,
}

/// Reads it; what is malformed is as good as not there.
pub fn extract(headers: &HeaderMap) -> Incoming {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(parent) = text(&TRACEPARENT).and_then(Trace::parse) {
        // several headers are one list
        let all: Vec<&str> = headers.get_all(&TRACESTATE).filter_map(|value| value.to_str().ok()).collect();
        let state = Some(all.join(",")).filter(|state| !state.is_empty() && state.len() <= MAX_STATE).map(Arc::from);
        return Incoming { parent: Some(parent), sampled: Some(parent.sampled), state };
    }
    if let Some(incoming) = text(&B3).and_then(single) {
        return incoming;
    }
    let sampled = if text(&B3_FLAGS) == Some("1") { Some(true) } else { text(&B3_SAMPLED).and_then(decision) };
    let parent = text(&B3_TRACE).zip(text(&B3_SPAN)).and_then(|(trace, span)| ids(trace, span, sampled));
    Incoming { parent, sampled, state: None }
}

/// `{trace}-{span}[-{sampled}[-{parent}]]`, or the decision alone.
fn single(header: &str) -> Option<Incoming> {
    let mut parts = header.split('-');
    let (trace, span) = (parts.next()?, parts.next());
    let Some(span) = span else { return Some(Incoming { sampled: Some(decision(trace)?), ..Incoming::default() }) };
    let sampled = match parts.next() {
        None => None,
        Some(word) => Some(decision(word)?),
    };
    Some(Incoming { parent: Some(ids(trace, span, sampled)?), sampled, state: None })
}

fn decision(word: &str) -> Option<bool> {
    match word {
        // some send words, as the first versions of the format had it
        "1" | "d" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

/// 64 bits of a trace id are as good as 128.
fn ids(trace: &str, span: &str, sampled: Option<bool>) -> Option<Trace> {
    let trace_id = hex::<32>(trace).or_else(|| hex::<16>(trace))?;
    Trace { trace_id, span_id: u64::try_from(hex::<16>(span)?).ok()?, sampled: sampled.unwrap_or_default() }.valid()
}

/// The headers of a request that follows from this step.
pub fn headers(trace: Trace) -> Vec<(HeaderName, HeaderValue)> {
    let sent = SENT.load(Relaxed);
    let sends = |format: TraceFormat| sent & 1 << format as u8 != 0;
    let mut all = Vec::with_capacity(3);
    let mut add = |name: HeaderName, value: &str| all.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
    // `00-{trace}-{span}-{flags}`: B3's parts are all in it
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

    fn told(incoming: &Incoming) -> (Option<String>, Option<bool>) {
        (incoming.parent.map(|trace| format!("{} {:016x}", trace.id(), trace.span_id)), incoming.sampled)
    }

    #[test]
    fn every_form_of_b3_and_w3c_is_read() {
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
            assert_eq!(told(&read(&sent)), expected, "{headers:?}");
        }
    }

    // one test: what is sent is the process's
    #[test]
    fn what_is_sent_is_read_again_in_each_format() {
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
    fn what_is_malformed_is_as_good_as_not_there() {
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
            assert_eq!(told(&read(&[(name, value)])), (None, None), "{name}: {value}");
        }
        let long = "a=b,".repeat(200);
        let parent = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(read(&[("traceparent", &parent), ("tracestate", &long)]).state, None);
        let state = read(&[("traceparent", &parent), ("tracestate", "v=1"), ("tracestate", "w=2")]).state;
        assert_eq!(state.as_deref(), Some("v=1,w=2"));
    }
}
