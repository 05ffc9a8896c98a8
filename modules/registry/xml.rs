//! XML as Eureka's XStream has it, from and to the JSON form of the same thing: a member `@x` is an
//! attribute, `$` an element's text, a list a repeated element.
//!
//! Source: Netflix/eureka `Converters`, `XmlXStream`, `PortWrapperXmlDeserializer`. quick-xml knows the syntax.
//! The reader takes what clients send and no more: no document types, so no entities but the five, and a
//! bounded depth.

use quick_xml::XmlVersion::Implicit1_0;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesDecl, BytesEnd, BytesRef, BytesStart, BytesText, Event};
use quick_xml::{Reader, Writer};
use serde_json::{Map, Value};
use std::io;

/// An instance is five deep; more is meant to exhaust a stack.
const DEPTH: usize = 16;

/// Writes a document with this root.
pub(super) fn write(root: &str, value: &Value) -> io::Result<Vec<u8>> {
    let mut writer = Writer::new(Vec::new());
    element(&mut writer, root, value, false)?;
    Ok(writer.into_inner())
}

fn element(out: &mut Writer<Vec<u8>>, name: &str, value: &Value, metadata: bool) -> io::Result<()> {
    // XStream's escape for what users call their metadata; all other names are ours
    let name = if metadata { name.replace('_', "__").replace('$', "_-") } else { name.replace("overriddenStatus", "overriddenstatus") };
    if !is_name(&name) {
        return Ok(());
    }
    match value {
        Value::Null => return Ok(()),
        Value::Array(items) => return items.iter().try_for_each(|item| element(out, &name, item, false)),
        _ => {}
    }
    let mut start = BytesStart::new(name.as_str());
    let Value::Object(members) = value else {
        out.write_event(Event::Start(start))?;
        out.write_event(Event::Text(BytesText::new(&plain(value))))?;
        return out.write_event(Event::End(BytesEnd::new(name.as_str())));
    };
    for (key, value) in members {
        if let Some(key) = key.strip_prefix('@').filter(|key| !metadata && is_name(key)) {
            start.push_attribute((key, plain(value).as_str()));
        }
    }
    out.write_event(Event::Start(start))?;
    for (key, value) in members.iter().filter(|(key, _)| !key.starts_with('@')) {
        if key == "$" && name != "metadata" {
            out.write_event(Event::Text(BytesText::new(&plain(value))))?;
        } else {
            element(out, key, value, name == "metadata")?;
        }
    }
    out.write_event(Event::End(BytesEnd::new(name.as_str())))
}

/// A value as text, without the characters that no XML document may hold: one would make it unreadable as a whole.
fn plain(value: &Value) -> String {
    let mut text = value.as_str().map_or_else(|| value.to_string(), str::to_string);
    text.retain(|c| matches!(c, '\n' | '\r' | '\t') || !(c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}')));
    text
}

fn is_name(name: &str) -> bool {
    let begins = |c: char| c.is_alphabetic() || c == '_';
    name.starts_with(begins) && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// Why a document is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum XmlError {
    #[error(transparent)]
    Syntax(#[from] quick_xml::Error),
    #[error("`{0}` is no name")]
    Name(String),
    #[error("`&{0};` is no known entity")]
    Entity(String),
    #[error("<{0}> is not closed")]
    Unclosed(String),
    #[error("the document is in {0}; expected UTF-8")]
    Encoding(String),
    #[error("it is nested too deeply")]
    Depth,
    #[error("a document type is not taken")]
    DocumentType,
    #[error("the XML declaration is not at the beginning")]
    Declaration,
    #[error("an element is expected")]
    NoElement,
    #[error("there is more than one element at the root")]
    SecondRoot,
}

impl From<quick_xml::events::attributes::AttrError> for XmlError {
    fn from(cause: quick_xml::events::attributes::AttrError) -> Self {
        XmlError::Syntax(cause.into())
    }
}

/// Reads a document; answers its root's name and content.
pub(super) fn read(text: &str) -> Result<(String, Value), XmlError> {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let mut reader = Reader::from_str(text);
    let mut tree = Tree::default();
    let mut first = true;
    loop {
        match reader.read_event()? {
            Event::Start(start) => tree.open(&start)?,
            Event::Empty(start) => {
                tree.open(&start)?;
                tree.close();
            }
            // that it is the right one the reader has checked
            Event::End(_) => tree.close(),
            Event::Text(part) => tree.text(&part.xml10_content())?,
            Event::CData(part) => tree.text(&part.xml10_content())?,
            Event::GeneralRef(reference) => tree.text(&resolved(&reference)?)?,
            Event::Decl(declaration) if first => check_encoding(&declaration, text)?,
            Event::Decl(_) => return Err(XmlError::Declaration),
            Event::DocType(_) => return Err(XmlError::DocumentType),
            Event::Comment(_) | Event::PI(_) => {}
            Event::Eof => return tree.finish(),
        }
        first = false;
    }
}

/// The bytes were UTF-8. What is declared as something else may mean other characters beyond ASCII.
fn check_encoding(declaration: &BytesDecl<'_>, text: &str) -> Result<(), XmlError> {
    match declaration.encoding().transpose()? {
        Some(encoding) if !text.is_ascii() && !encoding.eq_ignore_ascii_case("utf-8") => Err(XmlError::Encoding(encoding.into_owned())),
        _ => Ok(()),
    }
}

/// A character reference or one of the five entities.
fn resolved(reference: &BytesRef<'_>) -> Result<String, XmlError> {
    if let Some(character) = reference.resolve_char_ref()? {
        return Ok(character.to_string());
    }
    let entity = resolve_xml_entity(reference).ok_or_else(|| XmlError::Entity(reference.to_string()))?;
    Ok(entity.to_string())
}

/// The elements that are open, and the root once it is closed.
#[derive(Default)]
struct Tree {
    open: Vec<OpenElement>,
    root: Option<(String, Value)>,
}

struct OpenElement {
    name: String,
    members: Map<String, Value>,
    text: String,
}

impl Tree {
    fn open(&mut self, start: &BytesStart<'_>) -> Result<(), XmlError> {
        if self.root.is_some() {
            return Err(XmlError::SecondRoot);
        }
        if self.open.len() > DEPTH {
            return Err(XmlError::Depth);
        }
        let name = checked(start.name().as_ref())?.to_string();
        let mut members = Map::new();
        for attribute in start.attributes() {
            let attribute = attribute?;
            let key = format!("@{}", checked(attribute.key.as_ref())?);
            members.insert(key, attribute.normalized_value(Implicit1_0)?.into());
        }
        self.open.push(OpenElement { name, members, text: String::new() });
        Ok(())
    }

    fn text(&mut self, part: &str) -> Result<(), XmlError> {
        match self.open.last_mut() {
            Some(element) => element.text.push_str(part),
            None if part.trim().is_empty() => {}
            None if self.root.is_some() => return Err(XmlError::SecondRoot),
            None => return Err(XmlError::NoElement),
        }
        Ok(())
    }

    fn close(&mut self) {
        let Some(OpenElement { name, members, text }) = self.open.pop() else { return };
        let value = content(members, &text);
        match self.open.last_mut() {
            Some(parent) => add(&mut parent.members, shown(&name, parent.name == "metadata"), value),
            None => self.root = Some((name, value)),
        }
    }

    fn finish(mut self) -> Result<(String, Value), XmlError> {
        match self.open.pop() {
            Some(element) => Err(XmlError::Unclosed(element.name)),
            None => self.root.ok_or(XmlError::NoElement),
        }
    }
}

fn checked(name: &str) -> Result<&str, XmlError> {
    if is_name(name) { Ok(name) } else { Err(XmlError::Name(name.to_string())) }
}

/// The JSON form's name of an element.
fn shown(name: &str, metadata: bool) -> String {
    if metadata { name.replace("_-", "$").replace("__", "_") } else { name.to_string() }
}

/// An element that holds text alone is that text; an empty one is nothing.
fn content(mut members: Map<String, Value>, text: &str) -> Value {
    let text = text.trim();
    if members.is_empty() {
        return if text.is_empty() { Value::Null } else { text.into() };
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
        assert_eq!(read(text).unwrap(), ("instance".into(), expected));
    }

    #[test]
    fn malformed_document_is_refused_with_its_reason() {
        let deep = "<a>".repeat(100_000);
        let laughs = r#"<!DOCTYPE a [<!ENTITY l "ha"><!ENTITY m "&l;&l;&l;"><!ENTITY n "&m;&m;&m;">]><a>&n;</a>"#;
        for (document, reason) in [
            ("", "an element is expected"),
            ("text", "an element is expected"),
            ("<a>", "<a> is not closed"),
            ("<a><b></b>", "<a> is not closed"),
            ("<a></b>", "expected `</a>`, but `</b>` was found"),
            ("</a>", "`</a>` does not match"),
            ("<a", "not closed"),
            ("<a/><b/>", "more than one element"),
            ("<a/>text", "more than one element"),
            ("<a/><![CDATA[x]]>", "more than one element"),
            ("<!DOCTYPE a><a/>", "a document type is not taken"),
            ("<a><!DOCTYPE a></a>", "a document type is not taken"),
            ("<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>", "a document type is not taken"),
            ("<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>", "a document type is not taken"),
            (laughs, "a document type is not taken"),
            ("<!DOCTYPE a [", "DOCTYPE not closed"),
            ("<!ENTITY x \"y\"><a/>", "markup"),
            ("<a>&x;</a>", "`&x;` is no known entity"),
            ("<a b=\"&x;\"/>", "`x`"),
            ("<a>&amp</a>", "reference not closed"),
            ("<a>&#xD800;</a>", "codepoint"),
            ("<a>&#0;</a>", "not permitted"),
            ("<a>&#99999999999;</a>", "invalid character reference"),
            ("<a b=c/>", "attribute"),
            ("<a b/>", "attribute"),
            ("<a b=\"1\" b=\"2\"/>", "attribute"),
            ("< a/>", "`` is no name"),
            ("<a:b/>", "`a:b` is no name"),
            ("<a><![CDATA[x</a>", "CDATA not closed"),
            ("<a><!-- x</a>", "comment not closed"),
            ("<?x <a/>", "processing instruction not closed"),
            ("<a><?xml version=\"1.0\"?></a>", "not at the beginning"),
            ("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a>\u{e4}</a>", "in ISO-8859-1; expected UTF-8"),
            (deep.as_str(), "nested too deeply"),
        ] {
            let refused = read(document).unwrap_err().to_string();
            assert!(refused.contains(reason), "{document:.80}: {refused}");
        }
    }

    #[test]
    fn what_is_not_content_is_skipped() {
        let text = "\u{feff}\n<?xml version='1.0' encoding='us-ascii'?><?style x?><!-- <b> -- -->\n<a><!-- & --><?p <?>x<![CDATA[&<]]>\r\n<!---->y</a ><!-- --><?end?>\n";
        assert_eq!(read(text).unwrap(), ("a".into(), json!("x&<\ny")));
        let nested = |depth: usize| format!("{}x{}", "<a>".repeat(depth), "</a>".repeat(depth));
        assert!(read(&nested(DEPTH + 1)).is_ok());
        assert!(matches!(read(&nested(DEPTH + 2)), Err(XmlError::Depth)));
    }

    #[test]
    fn character_that_xml_forbids_is_not_written() {
        let written = write("a", &json!({ "@b": "1\u{0}\n2", "c": "\u{1b}[0m\u{ffff}'<&>\"\r\n" })).unwrap();
        let expected = "<a b=\"1&#10;2\"><c>[0m&apos;&lt;&amp;&gt;&quot;&#13;\n</c></a>";
        assert_eq!(String::from_utf8(written).unwrap(), expected);
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
            let written = write("instance", &json!({"metadata": metadata})).unwrap();
            let (_, back) = read(std::str::from_utf8(&written).unwrap()).unwrap();
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
