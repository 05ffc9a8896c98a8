//! Ids of W3C Trace Context.

use std::num::{NonZeroU64, NonZeroU128};

/// The trace of a call, and its parent span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    pub trace_id: u128,
    pub span_id: u64,
    pub sampled: bool,
}

impl Trace {
    /// Starts an unsampled trace with random ids.
    pub fn start() -> Self {
        Self { trace_id: rand::random::<NonZeroU128>().get(), span_id: rand::random::<NonZeroU64>().get(), sampled: false }
    }

    /// A new span of the same trace.
    pub fn child(self) -> Self {
        Self { span_id: rand::random::<NonZeroU64>().get(), ..self }
    }

    /// Parses a `traceparent` (W3C Trace Context, 3.2); `None` if it is malformed.
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        hex::<2>(version)?;
        let flags = u8::try_from(hex::<2>(flags)?).ok()?;
        Self { trace_id: hex::<32>(trace)?, span_id: u64::try_from(hex::<16>(span)?).ok()?, sampled: flags & 1 == 1 }.valid()
    }

    /// Rejects ids of zero, which W3C Trace Context forbids.
    pub(super) fn valid(self) -> Option<Self> {
        (self.trace_id != 0 && self.span_id != 0).then_some(self)
    }

    /// The `traceparent` header.
    pub fn header(self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }

    /// The trace id as 32 hex digits, as in logs and error bodies.
    pub fn id(self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

/// Parses exactly `DIGITS` lower-case hex digits, as W3C and B3 require.
pub(super) fn hex<const DIGITS: usize>(text: &str) -> Option<u128> {
    let digits = text.len() == DIGITS && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    digits.then(|| u128::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn valid_header_is_parsed_and_formatted_unchanged() {
        let trace = Trace::parse(GOOD).unwrap();
        assert_eq!((trace.id().as_str(), trace.sampled), ("0af7651916cd43dd8448eb211c80319c", true));
        assert_eq!(trace.header(), GOOD);
        let not_sampled = GOOD.replace("-01", "-00");
        assert_eq!(Trace::parse(&not_sampled).unwrap().header(), not_sampled);
        // of later versions, the known fields are parsed
        assert!(Trace::parse(&format!("cc{}-what-comes", &GOOD[2..])).is_some());
    }

    #[test]
    fn malformed_header_is_none() {
        for malformed in [
            "",
            "00-0-0-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-zz",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(Trace::parse(malformed), None, "{malformed}");
        }
    }
}
