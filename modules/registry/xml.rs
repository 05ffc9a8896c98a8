//! XML as Eureka's XStream has it, from and to the JSON form of the same thing: a member `@x` is an
//! attribute, `$` an element's text, a list a repeated element.
//!
//! Source: Netflix/eureka `Converters`, `XmlXStream`, `PortWrapperXmlDeserializer`. The reader takes
//! what clients send and no more: no document types, so no entities but the five, and a bounded depth.

use crate::platform::html::escape;
use serde_json::{Map, Value};

/// An instance is five deep; who nests deeper wants to exhaust a stack.
const DEPTH: usize = 16;

/// Writes a document with this root.
pub(super) fn write(root: &str, value: &Value) -> String {
    let mut text = String::new();
    element(&mut text, root, value, false);
    text
}

fn element(out: &mut String, name: &str, value: &Value, metadata: bool) {
    // XStream's escape for what users call their metadata; all other names are ours
    let name = if metadata { name.replace('_', "__").replace('$', "_-") } else { name.replace("overriddenStatus", "overriddenstatus") };
    if !is_name(&name) {
        return;
    }
    match value {
        Value::Null => {}
        Value::Array(items) => items.iter().for_each(|item| element(out, &name, item, false)),
        Value::Object(members) => {
            out.push_str(&format!("<{name}"));
            for (key, value) in members {
                if let Some(key) = key.strip_prefix('@').filter(|_| !metadata) {
                    out.push_str(&format!(" {key}=\"{}\"", escape(&plain(value))));
                }
            }
            out.push('>');
            for (key, value) in members.iter().filter(|(key, _)| !key.starts_with('@')) {
                if key == "$" && name != "metadata" {
                    out.push_str(&escape(&plain(value)));
                } else {
                    element(out, key, value, name == "metadata");
                }
            }
            out.push_str(&format!("</{name}>"));
        }
        leaf => out.push_str(&format!("<{name}>{}</{name}>", escape(&plain(leaf)))),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

fn is_name(name: &str) -> bool {
    let begins = |c: char| c.is_alphabetic() || c == '_';
    name.starts_with(begins) && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// Reads a document; answers its root's name and content.
pub(super) fn read(text: &str) -> Result<(String, Value), String> {
    let mut reader = Reader { rest: text.trim_start_matches('\u{feff}') };
    reader.skip()?;
    let read = reader.element(0, false)?;
    reader.skip()?;
    if reader.rest.is_empty() { Ok(read) } else { Err("there is more than one element at the root".into()) }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn until(&mut self, end: &str) -> Result<&'a str, String> {
        let (before, after) = self.rest.split_once(end).ok_or_else(|| format!("`{end}` is missing"))?;
        self.rest = after;
        Ok(before)
    }

    fn take(&mut self, start: &str) -> bool {
        let taken = self.rest.strip_prefix(start);
        self.rest = taken.unwrap_or(self.rest);
        taken.is_some()
    }

    /// White space, comments and processing instructions between elements.
    fn skip(&mut self) -> Result<(), String> {
        loop {
            self.rest = self.rest.trim_start();
            if self.take("<!--") {
                self.until("-->")?;
            } else if self.take("<?") {
                self.until("?>")?;
            } else {
                return Ok(());
            }
        }
    }

    fn name(&mut self) -> Result<&'a str, String> {
        let end = self.rest.find(|c: char| c.is_whitespace() || matches!(c, '>' | '/' | '=' | '<')).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        if is_name(name) { Ok(name) } else { Err(format!("`{name}` is no name")) }
    }

    fn element(&mut self, depth: usize, metadata: bool) -> Result<(String, Value), String> {
        if depth > DEPTH {
            return Err("it is nested too deeply".into());
        }
        if !self.take("<") {
            return Err("an element is expected".into());
        }
        if self.rest.starts_with('!') {
            return Err("a document type is not taken".into());
        }
        let name = self.name()?;
        let mut members = Map::new();
        loop {
            self.rest = self.rest.trim_start();
            if self.take("/>") {
                return Ok((shown(name, metadata), close(members, String::new())));
            }
            if self.take(">") {
                break;
            }
            let (key, value) = self.attribute()?;
            members.insert(key, value);
        }
        let mut text = String::new();
        loop {
            if self.take("</") {
                let end = self.until(">")?;
                if end.trim_end() != name {
                    return Err(format!("<{name}> is closed by </{end}>"));
                }
                return Ok((shown(name, metadata), close(members, text)));
            } else if self.take("<![CDATA[") {
                text.push_str(self.until("]]>")?);
            } else if self.take("<!--") {
                self.until("-->")?;
            } else if self.rest.starts_with('<') {
                let (key, value) = self.element(depth + 1, name == "metadata")?;
                add(&mut members, key, value);
            } else {
                let end = self.rest.find('<').ok_or_else(|| format!("<{name}> is not closed"))?;
                let (raw, rest) = self.rest.split_at(end);
                self.rest = rest;
                text.push_str(&unescape(raw)?);
            }
        }
    }

    fn attribute(&mut self) -> Result<(String, Value), String> {
        let key = format!("@{}", self.name()?);
        self.rest = self.rest.trim_start();
        if !self.take("=") {
            return Err(format!("{key} has no value"));
        }
        self.rest = self.rest.trim_start();
        let quote = if self.take("\"") {
            "\""
        } else if self.take("'") {
            "'"
        } else {
            return Err(format!("{key} has no quotes"));
        };
        Ok((key, Value::String(unescape(self.until(quote)?)?)))
    }
}

/// The JSON form's name of an element.
fn shown(name: &str, metadata: bool) -> String {
    if metadata { name.replace("_-", "$").replace("__", "_") } else { name.to_string() }
}

/// An element that holds text alone is that text; an empty one is nothing.
fn close(mut members: Map<String, Value>, text: String) -> Value {
    let text = text.trim();
    if members.is_empty() {
        return if text.is_empty() { Value::Null } else { Value::String(text.into()) };
    }
    if !text.is_empty() {
        members.insert("$".into(), text.into());
    }
    Value::Object(members)
}

fn add(members: &mut Map<String, Value>, key: String, value: Value) {
    match members.get_mut(&key) {
        None => {
            members.insert(key, value);
        }
        Some(Value::Array(items)) => items.push(value),
        Some(first) => *first = Value::Array(vec![first.take(), value]),
    }
}

fn unescape(text: &str) -> Result<String, String> {
    let mut parts = text.split('&');
    let mut plain = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let (entity, rest) = part.split_once(';').ok_or("an `&` begins no entity")?;
        let number = |digits, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
        let character = match entity {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            other => match other.strip_prefix("#x") {
                Some(digits) => number(digits, 16),
                None => other.strip_prefix('#').and_then(|digits| number(digits, 10)),
            },
        };
        plain.push(character.ok_or_else(|| format!("`&{entity};` is no known entity"))?);
        plain.push_str(rest);
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn an_instance_reads_as_its_json_form() {
        let text = r#"<?xml version="1.0"?><!-- by hand --><instance><app>A &amp; B&#33;</app>
            <port enabled="true">8080</port><metadata class="java.util.Collections$EmptyMap"/><x><![CDATA[<y>]]></x><l>1</l><l>2</l>
            <overriddenstatus>UP</overriddenstatus></instance>"#;
        let expected = json!({
            "app": "A & B!", "port": {"@enabled": "true", "$": "8080"}, "metadata": {"@class": "java.util.Collections$EmptyMap"},
            "x": "<y>", "l": ["1", "2"], "overriddenstatus": "UP"
        });
        assert_eq!(read(text), Ok(("instance".into(), expected)));
    }

    #[test]
    fn what_could_harm_is_refused() {
        let deep = "<a>".repeat(100_000);
        for bad in [
            "",
            "<a>",
            "<a></b>",
            "<a/><b/>",
            "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>",
            "<a>&x;</a>",
            "<a b=c/>",
            "<a b/>",
            "< a/>",
            "<a>&#xD800;</a>",
            &deep,
        ] {
            assert!(read(bad).is_err(), "{bad:.40}");
        }
    }

    proptest! {
        /// What is written is read back, whatever users put into their metadata.
        #[test]
        fn text_survives(key in "[a-z_$][a-z_.$-]{0,8}", value in "[^\\p{C}]{0,20}") {
            prop_assume!(!key.contains("_-") && !key.ends_with('_'));
            let trimmed = value.trim().to_string();
            let member = if trimmed.is_empty() { Value::Null } else { Value::String(trimmed) };
            let mut metadata = Map::new();
            metadata.insert(key, member.clone());
            let (_, back) = read(&write("instance", &json!({"metadata": metadata}))).unwrap();
            if member != Value::Null {
                prop_assert_eq!(back, json!({"metadata": metadata}));
            }
        }

        #[test]
        fn no_input_is_too_strange(text in "\\PC{0,80}|[<>/&;a =\"'!\\[\\]-]{0,60}") {
            let _ = read(&text);
        }
    }
}
