//! `${key}` and `${key:default}` in values, as Spring resolves them: nested, and again in what they lead to.

/// Nobody nests deeper.
const DEEPEST: usize = 32;
/// What resolving may grow to, in bytes: ten lines that each name the next twice would fill the memory.
const LARGEST: usize = 1 << 20;

/// Why placeholders cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceholderError {
    /// One in another, too often.
    #[error("placeholders are nested too deep")]
    TooDeep,
    /// They grow beyond all bounds.
    #[error("placeholders make it too large")]
    TooLarge,
    /// One that its own value names.
    #[error("the placeholder `{key}` leads back to itself")]
    Circle {
        /// The placeholder.
        key: String,
    },
}

/// The text with its placeholders resolved. One that leads nowhere stays as it is, `\${` is a plain
/// `${`. Refused: a circle, and what grows beyond all bounds.
pub fn resolve(text: &str, look_up: &dyn Fn(&str) -> Option<String>) -> Result<String, PlaceholderError> {
    Resolver { look_up, under_way: Vec::new(), made: 0 }.resolve(text, 0)
}

struct Resolver<'a> {
    look_up: &'a dyn Fn(&str) -> Option<String>,
    under_way: Vec<String>,
    made: usize,
}

impl Resolver<'_> {
    fn resolve(&mut self, text: &str, depth: usize) -> Result<String, PlaceholderError> {
        if depth > DEEPEST {
            return Err(PlaceholderError::TooDeep);
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let unescaped = before.strip_suffix("\\\\").or_else(|| before.strip_suffix('\\'));
            if let Some(before) = unescaped {
                out.push_str(before);
                out.push_str("${");
                rest = after;
                continue;
            }
            out.push_str(before);
            let Some((inner, behind)) = closed(after) else {
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
            rest = behind;
        }
        out.push_str(rest);
        self.made += out.len();
        if self.made > LARGEST { Err(PlaceholderError::TooLarge) } else { Ok(out) }
    }

    fn value(&mut self, name: &str, depth: usize) -> Result<Option<String>, PlaceholderError> {
        let parted = name.split_once(':');
        let found = (self.look_up)(name).map(|value| (name, value));
        let found = found.or_else(|| parted.and_then(|(key, _)| (self.look_up)(key).map(|value| (key, value))));
        let Some((key, value)) = found else { return Ok(parted.map(|(_, default)| default.to_string())) };
        if self.under_way.iter().any(|other| other == key) {
            return Err(PlaceholderError::Circle { key: key.to_string() });
        }
        self.under_way.push(key.to_string());
        let resolved = self.resolve(&value, depth + 1)?;
        self.under_way.pop();
        Ok(Some(resolved))
    }
}

/// What stands before the brace that closes, and what behind it.
fn closed(text: &str) -> Option<(&str, &str)> {
    let mut open = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => open += 1,
            '}' if open == 0 => return Some((text.get(..at)?, text.get(at + 1..)?)),
            '}' => open -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{PlaceholderError, resolve};

    fn with(text: &str) -> Result<String, PlaceholderError> {
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
    fn names_defaults_nesting_and_escapes() {
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
            assert_eq!(with(text).unwrap(), resolved, "{text}");
        }
    }

    #[test]
    fn circle_flood_and_depth_are_errors() {
        assert_eq!(with("${circle}"), Err(PlaceholderError::Circle { key: "circle".into() }));
        assert_eq!(with("${much}"), Err(PlaceholderError::TooLarge));
        assert_eq!(with(&format!("{}a{}", "${".repeat(40), "}".repeat(40))), Err(PlaceholderError::TooDeep));
    }
}
