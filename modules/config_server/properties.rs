//! Java's properties files, as `java.util.Properties` and Spring Boot read them: Latin-1, escapes, continuation lines,
//! and documents separated by `#---`.

#[derive(Debug, thiserror::Error)]
#[error("line {line}: {source}")]
pub(super) struct LineError {
    line: usize,
    source: EscapeError,
}

#[derive(Debug, thiserror::Error)]
#[error("`\\u{digits}` is no escape: expected four hexadecimal digits")]
struct EscapeError {
    digits: String,
}

/// The documents of a file, each with its keys in order. Fails on a malformed `\u` escape.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Vec<(String, String)>>, LineError> {
    // Spring Boot always reads Latin-1; a file must have the same meaning here
    let text: String = bytes.iter().copied().map(char::from).collect();
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = text.split('\n').collect();
    let mut documents = vec![Vec::new()];
    let mut rest = lines.iter().enumerate();
    while let Some((at, line)) = rest.next() {
        if is_separator(&lines, at) {
            documents.push(Vec::new());
            continue;
        }
        let line = line.trim_start_matches(is_blank);
        if line.is_empty() || is_comment(line) {
            continue;
        }
        let mut logical = line.to_string();
        while is_continued(&logical) {
            logical.pop();
            let Some((_, next)) = rest.next() else { break };
            logical.push_str(next.trim_start_matches(is_blank));
        }
        let pair = split_pair(&logical).map_err(|source| LineError { line: at + 1, source })?;
        if let Some(document) = documents.last_mut() {
            document.push(pair);
        }
    }
    documents.retain(|document| !document.is_empty());
    Ok(documents)
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

fn is_comment(line: &str) -> bool {
    line.starts_with(['#', '!'])
}

/// As in Spring Boot, a separator next to a comment line is part of the comment.
fn is_separator(lines: &[&str], at: usize) -> bool {
    let is_comment_at = |at: Option<usize>| at.and_then(|at| lines.get(at)).is_some_and(|line| is_comment(line));
    lines.get(at).is_some_and(|line| matches!(line.trim_end(), "#---" | "!---"))
        && !is_comment_at(at.checked_sub(1))
        && !is_comment_at(Some(at + 1))
}

fn is_continued(line: &str) -> bool {
    line.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1
}

fn split_pair(line: &str) -> Result<(String, String), EscapeError> {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let ends = !escaped && (is_blank(c) || c == '=' || c == ':');
        escaped = !escaped && c == '\\';
        ends
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(is_blank);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(is_blank);
    Ok((unescape(key)?, unescape(value)?))
}

fn unescape(text: &str) -> Result<String, EscapeError> {
    // UTF-16 code units, because two escapes encode a character outside the basic multilingual plane
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = match if c == '\\' { chars.next() } else { None } {
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let unit = u16::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4);
                units.push(unit.ok_or(EscapeError { digits })?);
                continue;
            }
            Some('t') => '\t',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('f') => '\u{c}',
            Some(other) => other,
            None => c,
        };
        units.extend(c.encode_utf16(&mut [0; 2]).iter());
    }
    Ok(String::from_utf16_lossy(&units))
}
