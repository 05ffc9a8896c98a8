//! Percent-encoding (RFC 3986) and form encoding (`application/x-www-form-urlencoded`). All code uses this file.
//!
//! Encoding writes upper-case hex digits and encodes every byte above 0x7f.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::borrow::Cow;

/// All but the unreserved characters (RFC 3986, 2.3).
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// All but the characters of a path (RFC 3986, 3.3): unreserved, sub-delims, `:`, `@`, and `/` between segments.
const PATH: &AsciiSet = &COMPONENT
    .remove(b'/')
    .remove(b':')
    .remove(b'@')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=');

/// Encodes one path segment, or a name or value of a query: every delimiter is encoded.
pub fn encode_component(text: &str) -> String {
    utf8_percent_encode(text, COMPONENT).to_string()
}

/// Encodes a path of several segments: slashes stay.
pub fn encode_path(text: &str) -> String {
    utf8_percent_encode(text, PATH).to_string()
}

/// Encodes one byte, also an unreserved one.
pub fn encode_byte(byte: u8) -> &'static str {
    percent_encoding::percent_encode_byte(byte)
}

/// Decodes percent-encoding; `None` for a percent sign without two hex digits and for invalid UTF-8.
pub fn percent_decode(text: &str) -> Option<String> {
    let is_escape = |rest: &str| matches!(rest.as_bytes(), [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit());
    // the crate copies malformed escapes
    if !text.split('%').skip(1).all(is_escape) {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned)
}

/// Decodes a single value of a form: malformed escapes stay, U+FFFD replaces invalid UTF-8.
pub fn form_decode(value: &str) -> String {
    percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// The pairs of a query or a form in order, decoded like [`form_decode`].
pub fn query_pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    form_urlencoded::parse(query.as_bytes()).into_owned()
}

pub fn query_value(query: &str, name: &str) -> Option<String> {
    query_pairs(query).find(|(key, _)| key == name).map(|(_, value)| value)
}

/// Splits and decodes `user:password` of a URL; `None` if the encoding is malformed.
pub fn user_info(text: &str) -> Option<(String, String)> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    Some((percent_decode(user)?, percent_decode(password)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text, and its `encode_component`, `encode_path` and `percent_decode`.
    const TEXTS: [(&str, &str, &str, Option<&str>); 20] = [
        ("", "", "", Some("")),
        ("aZ09-._~", "aZ09-._~", "aZ09-._~", Some("aZ09-._~")),
        ("/:@!$&'()*+,;=", "%2F%3A%40%21%24%26%27%28%29%2A%2B%2C%3B%3D", "/:@!$&'()*+,;=", Some("/:@!$&'()*+,;=")),
        ("?#[]", "%3F%23%5B%5D", "%3F%23%5B%5D", Some("?#[]")),
        ("\"<>\\^`{|}", "%22%3C%3E%5C%5E%60%7B%7C%7D", "%22%3C%3E%5C%5E%60%7B%7C%7D", Some("\"<>\\^`{|}")),
        ("\0\n\x7f ", "%00%0A%7F%20", "%00%0A%7F%20", Some("\0\n\x7f ")),
        ("ä€🛒", "%C3%A4%E2%82%AC%F0%9F%9B%92", "%C3%A4%E2%82%AC%F0%9F%9B%92", Some("ä€🛒")),
        ("a+b", "a%2Bb", "a+b", Some("a+b")),
        ("50%", "50%25", "50%25", None),
        ("%", "%25", "%25", None),
        ("%2", "%252", "%252", None),
        ("%zz", "%25zz", "%25zz", None),
        ("%+2", "%25%2B2", "%25+2", None),
        ("%%41", "%25%2541", "%25%2541", None),
        ("%1ä", "%251%C3%A4", "%251%C3%A4", None),
        ("%2f%2F", "%252f%252F", "%252f%252F", Some("//")),
        ("%252F", "%25252F", "%25252F", Some("%2F")),
        ("%00", "%2500", "%2500", Some("\0")),
        ("%C3%A4", "%25C3%25A4", "%25C3%25A4", Some("ä")),
        ("%C3", "%25C3", "%25C3", None),
    ];

    #[test]
    fn encode_and_decode_match_table() {
        for (text, component, path, decoded) in TEXTS {
            assert_eq!((encode_component(text).as_str(), encode_path(text).as_str()), (component, path), "{text:?}");
            assert_eq!(percent_decode(text).as_deref(), decoded, "{text:?}");
            assert_eq!(percent_decode(component).as_deref(), Some(text));
        }
        let long = "ä%/".repeat(100_000);
        assert_eq!(percent_decode(&encode_component(&long)).as_deref(), Some(long.as_str()));
        assert_eq!([0, b'a', b'%', 0xff].map(encode_byte), ["%00", "%61", "%25", "%FF"]);
    }

    #[test]
    fn malformed_forms_are_decoded_leniently() {
        for (query, pairs) in [
            ("", &[][..]),
            ("&&", &[]),
            ("a", &[("a", "")]),
            ("=", &[("", "")]),
            ("a=1&a=2", &[("a", "1"), ("a", "2")]),
            ("a=b=c&", &[("a", "b=c")]),
            ("a+b=c%2Bd", &[("a b", "c+d")]),
            ("a;b=c", &[("a;b", "c")]),
            ("%zz=%&%C3=%c3%a4", &[("%zz", "%"), ("\u{fffd}", "ä")]),
            ("ä=%00", &[("ä", "\0")]),
        ] {
            let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            assert_eq!(query_pairs(query).collect::<Vec<_>>(), pairs, "{query:?}");
        }
        assert_eq!((query_value("a=1&b&a=2", "a").as_deref(), query_value("a=1&b", "b").as_deref()), (Some("1"), Some("")));
        assert_eq!(query_value("a=1", "A"), None);
        for (text, value) in [("", ""), ("a+b%2B%26&=", "a b+&&="), ("%zz%", "%zz%"), ("%FF", "\u{fffd}"), ("%C3%A4", "ä")] {
            assert_eq!(form_decode(text), value, "{text:?}");
        }
    }

    #[test]
    fn user_info_is_split_before_decoding() {
        let parts = |text| user_info(text);
        assert_eq!(parts("us%40er:p%3Aw:x"), Some(("us@er".into(), "p:w:x".into())));
        assert_eq!(parts("user"), Some(("user".into(), String::new())));
        assert_eq!(parts(""), Some((String::new(), String::new())));
        assert_eq!((parts("u:%zz"), parts("%:p"), parts("u:%FF")), (None, None, None));
    }
}
