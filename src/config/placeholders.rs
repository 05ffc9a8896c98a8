//! Placeholders `${key}` and `${key:default}`, resolved as in Spring: nested, and recursively in the values found.

/// Maximum nesting depth.
const MAX_DEPTH: usize = 32;
/// Limit of all resolved text, in bytes: placeholders that each repeat the next one grow exponentially.
const MAX_RESOLVED_BYTES: usize = 1 << 20;

/// Why placeholders cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceholderError {
    #[error("placeholders are nested too deeply")]
    TooDeep,
    #[error("the value with its placeholders resolved is too large")]
    TooLarge,
    #[error("the placeholder `{key}` refers to itself")]
    Circular { key: String },
}

/// Resolves the placeholders in a text. A placeholder without a value and without a default stays unchanged; `\${` is
/// a literal `${`.
pub fn resolve(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, PlaceholderError> {
    Resolver { lookup, resolving: Vec::new(), resolved_bytes: 0 }.resolve(text, 0)
}

struct Resolver<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    /// Keys under resolution, outermost first.
    resolving: Vec<String>,
    resolved_bytes: usize,
}

impl Resolver<'_> {
    fn resolve(&mut self, text: &str, depth: usize) -> Result<String, PlaceholderError> {
        if depth > MAX_DEPTH {
            return Err(PlaceholderError::TooDeep);
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let escaped = before.strip_suffix("\\\\").or_else(|| before.strip_suffix('\\'));
            if let Some(before) = escaped {
                out.push_str(before);
                out.push_str("${");
                rest = after;
                continue;
            }
            out.push_str(before);
            let Some((inner, remainder)) = split_at_closing_brace(after) else {
                out.push_str("${");
                rest = after;
                continue;
            };
            let name = self.resolve(inner, depth + 1)?;
            match self.value(&name, depth)? {
                Some(value) => out.push_str(&value),
                None => {
                    out.push_str("${");
                    out.push_str(inner);
                    out.push('}');
                }
            }
            rest = remainder;
        }
        out.push_str(rest);
        self.resolved_bytes += out.len();
        if self.resolved_bytes > MAX_RESOLVED_BYTES { Err(PlaceholderError::TooLarge) } else { Ok(out) }
    }

    fn value(&mut self, name: &str, depth: usize) -> Result<Option<String>, PlaceholderError> {
        let with_default = name.split_once(':');
        let found = (self.lookup)(name).map(|value| (name, value));
        let found = found.or_else(|| with_default.and_then(|(key, _)| (self.lookup)(key).map(|value| (key, value))));
        let Some((key, value)) = found else { return Ok(with_default.map(|(_, default)| default.to_string())) };
        if self.resolving.iter().any(|other| other == key) {
            return Err(PlaceholderError::Circular { key: key.to_string() });
        }
        self.resolving.push(key.to_string());
        let resolved = self.resolve(&value, depth + 1)?;
        self.resolving.pop();
        Ok(Some(resolved))
    }
}

/// The text before and after the closing brace.
fn split_at_closing_brace(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    for (position, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return Some((text.get(..position)?, text.get(position + 1..)?)),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{PlaceholderError, resolve};

    fn resolve_sample(text: &str) -> Result<String, PlaceholderError> {
        resolve(text, &|key| match key {
            "a" => Some("1".into()),
            "b" => Some("<${a}>".into()),
            "which" => Some("b".into()),
            "circle" => Some("${round}".into()),
            "round" => Some("${circle}".into()),
            "much" => Some("${many}".repeat(100)),
            "many" => Some("${plenty}".repeat(100)),
            "plenty" => Some("x".repeat(1000)),
            _ => None,
        })
    }

    #[test]
    fn placeholders_with_defaults_nesting_and_escapes_are_resolved() {
        for (text, resolved) in [
            ("${a} and ${b}", "1 and <1>"),
            ("${${which}}", "<1>"),
            ("${no:two}", "two"),
            ("${no:${b}}", "<1>"),
            ("${a:two}", "1"),
            ("${no:http://host}", "http://host"),
            ("${no} ${no:}|", "${no} |"),
            (r"\${a} \\${a}", "${a} ${a}"),
            ("${a", "${a"),
            ("{} ${no:{}}", "{} {}"),
        ] {
            assert_eq!(resolve_sample(text).unwrap(), resolved, "{text}");
        }
    }

    #[test]
    fn circular_too_large_or_too_deep_placeholders_are_rejected() {
        assert_eq!(resolve_sample("${circle}"), Err(PlaceholderError::Circular { key: "circle".into() }));
        assert_eq!(resolve_sample("${much}"), Err(PlaceholderError::TooLarge));
        assert_eq!(resolve_sample(&format!("{}a{}", "${".repeat(40), "}".repeat(40))), Err(PlaceholderError::TooDeep));
    }
}
