//! XML in the form of Eureka's XStream, converted from and to the JSON form: a member `@x` is an attribute, `$` an
//! element's text, a list a repeated element.
//!
//! Source: Netflix/eureka `Converters`, `XmlXStream`, `PortWrapperXmlDeserializer`. quick-xml parses the syntax. The
//! reader accepts only what clients send: no document types, hence only the five predefined entities, and a
//! limited depth.

use quick_xml::XmlVersion::Implicit1_0;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesDecl, BytesEnd, BytesRef, BytesStart, BytesText, Event};
use quick_xml::{Reader, Writer};
use serde_json::{Map, Value};
use std::io;

/// An instance has five levels; the limit protects the stack.
const MAX_DEPTH: usize = 16;

pub(super) fn write(root: &str, value: &Value) -> io::Result<Vec<u8>> {
    let mut writer = Writer::new(Vec::new());
    element(&mut writer, root, value, false)?;
    Ok(writer.into_inner())
}

fn element(out: &mut Writer<Vec<u8>>, name: &str, value: &Value, metadata: bool) -> io::Result<()> {
    // XStream's escaping, needed for the names of metadata, which clients choose
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
        out.write_event(Event::Text(BytesText::new(&to_text(value))))?;
        return out.write_event(Event::End(BytesEnd::new(name.as_str())));
    };
    for (key, value) in members {
        if let Some(key) = key.strip_prefix('@').filter(|key| !metadata && is_name(key)) {
            start.push_attribute((key, to_text(value).as_str()));
        }
    }
    out.write_event(Event::Start(start))?;
    for (key, value) in members.iter().filter(|(key, _)| !key.starts_with('@')) {
        if key == "$" && name != "metadata" {
            out.write_event(Event::Text(BytesText::new(&to_text(value))))?;
        } else {
            element(out, key, value, name == "metadata")?;
        }
    }
    out.write_event(Event::End(BytesEnd::new(name.as_str())))
}

/// Drops the characters that XML forbids: one of them would make the whole document invalid.
fn to_text(value: &Value) -> String {
    let mut text = value.as_str().map_or_else(|| value.to_string(), str::to_string);
    text.retain(|c| matches!(c, '\n' | '\r' | '\t') || !(c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}')));
    text
}

fn is_name(name: &str) -> bool {
    let is_start = |c: char| c.is_alphabetic() || c == '_';
    name.starts_with(is_start) && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

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
    #[error("document types are not supported")]
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

/// Returns the name and the value of the root element.
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
            // the reader has checked that the names match
            Event::End(_) => tree.close(),
            Event::Text(part) => tree.text(&part.xml10_content())?,
            Event::CData(part) => tree.text(&part.xml10_content())?,
            Event::GeneralRef(reference) => tree.text(&resolve_reference(&reference)?)?,
            Event::Decl(declaration) if first => check_encoding(&declaration, text)?,
            Event::Decl(_) => return Err(XmlError::Declaration),
            Event::DocType(_) => return Err(XmlError::DocumentType),
            Event::Comment(_) | Event::PI(_) => {}
            Event::Eof => return tree.finish(),
        }
        first = false;
    }
}

/// The bytes are valid UTF-8. In a document with another declared encoding, they may mean other characters.
fn check_encoding(declaration: &BytesDecl<'_>, text: &str) -> Result<(), XmlError> {
    match declaration.encoding().transpose()? {
        Some(encoding) if !text.is_ascii() && !encoding.eq_ignore_ascii_case("utf-8") => Err(XmlError::Encoding(encoding.into_owned())),
        _ => Ok(()),
    }
}

/// A character reference or a predefined entity.
fn resolve_reference(reference: &BytesRef<'_>) -> Result<String, XmlError> {
    if let Some(character) = reference.resolve_char_ref()? {
        return Ok(character.to_string());
    }
    let entity = resolve_xml_entity(reference).ok_or_else(|| XmlError::Entity(reference.to_string()))?;
    Ok(entity.to_string())
}

/// The open elements, and the root once it is closed.
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
        if self.open.len() > MAX_DEPTH {
            return Err(XmlError::Depth);
        }
        let name = validate_name(start.name().as_ref())?.to_string();
        let mut members = Map::new();
        for attribute in start.attributes() {
            let attribute = attribute?;
            let key = format!("@{}", validate_name(attribute.key.as_ref())?);
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
        let value = element_value(members, &text);
        match self.open.last_mut() {
            Some(parent) => add(&mut parent.members, json_name(&name, parent.name == "metadata"), value),
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

fn validate_name(name: &str) -> Result<&str, XmlError> {
    if is_name(name) { Ok(name) } else { Err(XmlError::Name(name.to_string())) }
}

fn json_name(name: &str, metadata: bool) -> String {
    if metadata { name.replace("_-", "$").replace("__", "_") } else { name.to_string() }
}

/// An element with text only becomes that text; an empty element becomes null.
fn element_value(mut members: Map<String, Value>, text: &str) -> Value {
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
    fn read_instance_returns_json_form() {
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
    fn read_malformed_document_fails_with_reason() {
        let deep = "<a>".repeat(100_000);
        let entity_expansion = r#"<!DOCTYPE a [<!ENTITY l "ha"><!ENTITY m "&l;&l;&l;"><!ENTITY n "&m;&m;&m;">]><a>&n;</a>"#;
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
            ("<!DOCTYPE a><a/>", "document types are not supported"),
            ("<a><!DOCTYPE a></a>", "document types are not supported"),
            ("<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>", "document types are not supported"),
            ("<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>", "document types are not supported"),
            (entity_expansion, "document types are not supported"),
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
            let error = read(document).unwrap_err().to_string();
            assert!(error.contains(reason), "{document:.80}: {error}");
        }
    }

    #[test]
    fn read_comments_and_instructions_skips_them() {
        let text = "\u{feff}\n<?xml version='1.0' encoding='us-ascii'?><?style x?><!-- <b> -- -->\n<a><!-- & --><?p <?>x<![CDATA[&<]]>\r\n<!---->y</a ><!-- --><?end?>\n";
        assert_eq!(read(text).unwrap(), ("a".into(), json!("x&<\ny")));
        let nested = |depth: usize| format!("{}x{}", "<a>".repeat(depth), "</a>".repeat(depth));
        assert!(read(&nested(MAX_DEPTH + 1)).is_ok());
        assert!(matches!(read(&nested(MAX_DEPTH + 2)), Err(XmlError::Depth)));
    }

    #[test]
    fn write_forbidden_character_drops_it() {
        let written = write("a", &json!({ "@b": "1\u{0}\n2", "c": "\u{1b}[0m\u{ffff}'<&>\"\r\n" })).unwrap();
        let expected = "<a b=\"1&#10;2\"><c>[0m&apos;&lt;&amp;&gt;&quot;&#13;\n</c></a>";
        assert_eq!(String::from_utf8(written).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn write_then_read_returns_same_metadata(key in "[a-z_$][a-z_.$-]{0,8}", value in "[^\\p{C}]{0,20}") {
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
        fn read_any_text_does_not_panic(text in "\\PC{0,80}|[<>/&;a =\"'!\\[\\]-]{0,60}") {
            let _ = read(&text);
        }
    }
}
