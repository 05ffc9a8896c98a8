//! A partial PromQL parser that finds the series of an expression.

/// Words that are not metrics, although no parenthesis follows them.
const WORDS: [&str; 7] = ["and", "or", "unless", "bool", "offset", "inf", "nan"];
/// Words that a list of labels follows.
const LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// The selectors of an expression, with their matchers and without a range: each must find series if the expression is
/// ever to find any.
pub fn selectors(expression: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '"' => after(&rest[1..], '"'),
            '[' => after(rest, ']'),
            c if c.is_ascii_digit() => rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.'),
            c if c.is_ascii_alphabetic() || c == '_' => {
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))).unwrap_or(rest.len());
                let (name, follows) = rest.split_at(end);
                take(name, follows, &mut found)
            }
            other => &rest[other.len_utf8()..],
        };
    }
    found
}

/// Returns the text after a name; records the name if it is a metric.
fn take<'a>(name: &str, follows: &'a str, found: &mut Vec<String>) -> &'a str {
    let next = follows.trim_start();
    if LISTS.contains(&name) {
        return if next.starts_with('(') { after(next, ')') } else { follows };
    }
    // Functions and aggregations, with optional labels before their argument.
    if next.starts_with('(') || next.starts_with("by ") || next.starts_with("without ") || WORDS.contains(&name) {
        return follows;
    }
    let matchers = if follows.starts_with('{') { &follows[..closing(follows)] } else { "" };
    found.push(format!("{name}{matchers}"));
    &follows[matchers.len()..]
}

fn after(text: &str, end: char) -> &str {
    text.split_once(end).map_or("", |(_, rest)| rest)
}

/// Length of the part in braces at the start; a quoted brace does not close it.
fn closing(text: &str) -> usize {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '}' if !quoted => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[test]
fn selectors_of_expressions_are_found() {
    let of = |expression: &str| selectors(expression).join(" ");
    assert_eq!(of(r#"up{job=~"a|b"} == 0"#), r#"up{job=~"a|b"}"#);
    assert_eq!(of("max by (module, le) (rate(x_total{a=\"}\"}[5m])) > 14.4 * 0.001"), "x_total{a=\"}\"}");
    assert_eq!(of("a:b:rate5m / on (slo) group_left () c:d or 0 * e unless on (module) max(f) == bool 1"), "a:b:rate5m c:d e f");
    assert_eq!(of(r#"label_replace(absent(x), "metric", "y", "", "")"#), "x");
    assert_eq!(of("avg_over_time(x[6h]) * 6 * 3600 and x offset 1d"), "x x");
    assert_eq!(of("vector(1)"), "");
}
