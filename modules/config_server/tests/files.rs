//! Tests of file parsing: documents, flat keys, escapes, profiles. Expected values are verified against Spring's server.

use crate::modules::config_server::document::{is_active, parse};
use crate::modules::config_server::{monitor, profiles};
use serde_json::{Value, json};

fn flat(path: &str, text: &str) -> Vec<Value> {
    let documents = parse(path, text.as_bytes()).unwrap();
    documents.into_iter().map(|document| Value::Object(document.into_iter().collect())).collect()
}

#[test]
fn parse_yaml_returns_flat_keys() {
    let text = "a: {b: 1, c.d: x}\nlist: [1, {y: 2}, [3]]\nnone:\nempty: []\nmap: {}\ncodes: {200: ok, '201': made}\n\
        base: &b {p: 1, q: 2}\nmore: {<<: *b, q: 3}\nrate: 0.25\non: true\ntag: !!binary aGk=\ninf: .inf\nday: 2024-01-02\n";
    assert_eq!(
        flat("x.yml", text),
        [json!({
            "a.b": 1, "a.c.d": "x", "list[0]": 1, "list[1].y": 2, "list[2][0]": 3, "none": "", "empty": "",
            "codes[200]": "ok", "codes.201": "made", "base.p": 1, "base.q": 2, "more.p": 1, "more.q": 3,
            "rate": 0.25, "on": true, "tag": "aGk=", "inf": "Infinity", "day": "2024-01-02"
        })]
    );
    assert_eq!(flat("x.yml", "- a\n- b: 1\n"), [json!({ "document[0]": "a", "document[1].b": 1 })]);
    assert_eq!(flat("x.yml", "---\n---\na: 1\n---\nb: 2\n"), [json!({ "a": 1 }), json!({ "b": 2 })]);
    for broken in ["a: [1", "a: 1\na: 2", "\tx: 1"] {
        assert!(parse("x.yml", broken.as_bytes()).is_err(), "{broken}");
    }
}

/// Ten lines of nested aliases must not exhaust the memory.
#[test]
fn parse_nested_aliases_fails() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_string();
    for level in 1..10 {
        let names = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{names}]\n"));
    }
    assert!(parse("x.yml", text.as_bytes()).is_err());
}

#[test]
fn parse_properties_matches_java() {
    let text = "# a comment\n! another\na = one \\\n    two\nb: x:y\nc d\n\\ e\\=f=g\nbare\nu=caf\\u00e9 \\uD83D\\uDE00\n  t = a\\tb\\\\c\n\
        #---\nspring.config.activate.on-profile=prod\na=3\n# beside a comment it is one\n#---\nz=1\n";
    assert_eq!(
        flat("x.properties", text),
        [
            json!({ "a": "one two", "b": "x:y", "c": "d", " e=f": "g", "bare": "", "u": "café \u{1f600}", "t": "a\tb\\c" }),
            json!({ "spring.config.activate.on-profile": "prod", "a": "3", "z": "1" }),
        ]
    );
    // always Latin-1
    assert_eq!(flat("x.properties", "a=é"), [json!({ "a": "Ã©" })]);
    assert!(parse("x.properties", b"a=\\u12").unwrap_err().to_string().contains("line 1"));
}

#[test]
fn document_is_active_for_matching_profiles() {
    let active = ["prod".to_string(), "eu".to_string()];
    for (expression, holds) in [
        ("prod", true),
        ("!prod", false),
        ("prod & eu", true),
        ("prod & !eu", false),
        ("test | eu", true),
        ("prod & (test | eu)", true),
        ("!(test | us)", true),
        ("!!prod", true),
    ] {
        assert_eq!(profiles::matches(expression, &active), Ok(holds), "{expression}");
    }
    for wrong in ["", "a & b | c", "(prod", "prod)", "a b & ", "&"] {
        assert!(profiles::matches(wrong, &active).is_err(), "{wrong}");
    }
    assert!(profiles::matches(&"(".repeat(100_000), &active).is_err());
    assert_eq!(profiles::matches(&format!("{}prod", "!".repeat(1_000_000)), &active), Ok(true));
    let document = |key: &str, value: &str| vec![(key.to_string(), json!(value))];
    assert!(is_active(&document("spring.config.activate.on-profile", "test,eu"), &active).unwrap());
    assert!(!is_active(&document("spring.config.activate.on-cloud-platform", "kubernetes"), &active).unwrap());
}

#[test]
fn push_event_returns_affected_applications() {
    let github = json!({ "commits": [{ "added": ["eu/order-service-prod.yml"], "modified": ["README.md"], "removed": [] }] });
    let order = ["README", "order", "order-service", "order-service-prod"];
    assert_eq!(monitor::applications(github.to_string().as_bytes()), order);
    assert_eq!(monitor::applications(b"path=application-prod.yml&path=basket.yml"), ["*", "basket"]);
    for empty in [&b""[..], b"{}", b"[1]", b"\xff\xfe", b"{\"commits\": 7}"] {
        assert!(monitor::applications(empty).is_empty(), "{empty:?}");
    }
}
